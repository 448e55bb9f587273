"""The Supervisor: one for each process, one thread for all guests, made when the first guest is."""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace

from ._audit import AuditTarget
from ._building import Building, Order
from ._core import Option
from ._errors import GuestFault, SandboxError
from ._filter_options import RELIED, behind
from ._guest import Guest
from ._loop import Loop
from ._metrics import Metrics, Totals, with_running
from ._policy import Policy
from ._workers import Workers

_WORKERS = 32
_EXIT_GRACE = 5.0


class Supervisor:
    def __init__(self) -> None:
        self._loop = Loop("sandbox-supervisor")
        self._workers = Workers(_WORKERS)
        self._guests: set[Guest] = set()
        self._totals = Totals()
        self._building = Building(self._loop, self._workers, self._totals, self._gone)
        self._lock = threading.Lock()
        self._first = threading.Lock()
        self._options: Option | None = None  # that the walls here allow; None before the first guest

    def start(self, order: Order) -> Guest:
        """A new guest. It may still be on its way: see Guest.wait_ready."""
        if self._options is not None:
            return self._launch(order, self._options)
        with self._first:
            if self._options is None:
                return self._try_out(order)
        return self._launch(order, self._options)

    def _try_out(self, order: Order) -> Guest:
        """The first guest shows which walls stand here. It is made with the filter for all of them; where one is
        missing it has run nothing yet and is made again."""
        guest = self._launch(order, behind(RELIED.values()))
        with suppress(SandboxError):
            guest.wait_ready()
        if guest.ready is None:
            return guest  # its waiters get what was wrong
        allowed = behind(guest.walls)
        if set(order.walls) == set(Order.walls):
            self._options = allowed
        if not isinstance(guest.failure, GuestFault):
            return guest  # it stands, or another attempt would fail as well
        guest.wait_ended()
        return self._launch(order, allowed)

    def _launch(self, order: Order, options: Option) -> Guest:
        with ExitStack() as undo:
            guest, setup, ours = self._building.build(order, options, self._options or Option(0), undo)
            undo.pop_all()
        with self._lock:
            self._guests.add(guest)
            self._totals.begins()
        try:
            guest.begin(setup)
        finally:
            for fd in ours:
                os.close(fd)
        return guest

    def _gone(self, guest: Guest) -> None:
        counted, moved = guest.summary(), guest.moved()
        with self._lock:
            self._guests.discard(guest)
            self._totals.ends(guest, counted, moved)

    def metrics(self) -> Metrics:
        """Guests are asked without our lock."""
        with self._lock:
            guests = list(self._guests)
            found = self._totals.metrics(len(guests))
        return with_running(found, guests)

    def end_all(self) -> None:
        """End every guest and wait until nothing of any is left."""
        with self._lock:
            guests = list(self._guests)
        for guest in guests:
            guest.end()
        deadline = time.monotonic() + _EXIT_GRACE
        for guest in guests:
            guest.wait_ended(max(0.0, deadline - time.monotonic()))

    def hold(self) -> None:
        self._lock.acquire()

    def release(self) -> None:
        self._lock.release()

    def forget_after_fork(self) -> None:
        for guest in self._guests:
            with suppress(OSError):
                guest.forget_after_fork()
        self._loop.close_after_fork()


# ---- one for each process ---------------------------------------------------------------------------------------

_current: Supervisor | None = None
_making = threading.Lock()


def supervisor() -> Supervisor:
    """The Supervisor of this process."""
    global _current
    with _making:
        if _current is None:
            _current = Supervisor()
        return _current


def metrics() -> Metrics:
    """Numbers of all guests of this process, those that are gone included; a forked child begins anew.

    >>> metrics().guests >= 0
    True
    """
    return Metrics() if _current is None else _current.metrics()


def start_guest(
    policy: Policy, audit: AuditTarget | None = None, walls: Sequence[str] | None = None, *, trace: bool = False
) -> Guest:
    """Start a guest of a policy, with the Supervisor of this process."""
    order = Order(policy, audit, trace=trace)
    return supervisor().start(order if walls is None else replace(order, walls=tuple(walls)))


def _before_fork() -> None:
    _making.acquire()
    if _current is not None:
        _current.hold()


def _after_in_parent() -> None:
    if _current is not None:
        _current.release()
    _making.release()


def _after_in_child() -> None:
    global _current, _making
    if _current is not None:
        _current.forget_after_fork()
    _current = None
    _making = threading.Lock()


def _at_exit() -> None:
    if _current is not None:
        _current.end_all()


os.register_at_fork(before=_before_fork, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
atexit.register(_at_exit)
