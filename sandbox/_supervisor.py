"""The Supervisor: one for each process, one thread for all guests, made when the first guest is."""

from __future__ import annotations

import atexit
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from . import _core, _filter
from ._addresses import OWN
from ._audit import AuditTarget
from ._cgroup import Cgroup
from ._cgroup import create as create_cgroup
from ._core import Message, MessageType, Option
from ._describe import describe, describe_network
from ._errors import GuestFault, SandboxError
from ._guest import Guest
from ._http_proxy import HTTPProxy
from ._inbox import wall_bits, wall_names
from ._loop import Loop
from ._memfd import memfd, sealed
from ._messages import Request, Service
from ._metrics import MeteredSink, Metrics, Totals, with_running
from ._network import is_served
from ._parts import Parts
from ._plan import OUTPUT_BYTES, Plan, compile_policy
from ._policy import Policy
from ._remove import make_scratch, remove_tree
from ._rules import Rules
from ._trust import Trust
from ._workers import Workers
from .services.files import FileService
from .services.proc import ProcService

SENTRY = str(Path(__file__).with_name("sentry"))
STUB = str(Path(__file__).with_name("stub"))
if TYPE_CHECKING:
    from .services.net import Internet

_WORKERS = 32
_EXIT_GRACE = 5.0
_RELIED = {Option.EMPTY_ROOT: "mountns", Option.PID_NAMESPACE: "pidns", Option.IPC_NAMESPACE: "ipcns",
           Option.NETWORK_NAMESPACE: "netns"}  # fmt: skip
"""The wall that must stand where a guest's filter has an option."""
_SOCKETS = {
    _core.Network.NONE: Option.PLAIN_LISTEN,
    _core.Network.LOOPBACK: Option.PLAIN_LISTEN | Option.NETWORK | Option.LOOPBACK,
    _core.Network.SERVED: Option.NETWORK,
}


@dataclass(frozen=True)
class Order:
    """What a guest is to be: `walls` may be tried, the others are left out."""

    plan: Plan
    policy: Policy
    audit: AuditTarget | None = None
    walls: tuple[str, ...] = wall_names(wall_bits())
    trace: bool = False  # records are kept, also without `audit`, for who asks for events


class _Lazily:
    """A service that is made for its first request: most guests ask for none."""

    def __init__(self, make: Callable[[], Service]) -> None:
        self._make = make
        self._service: Service | None = None

    def content(self, request: Request) -> bytes:
        service = self._service = self._service or self._make()
        return service.content(request)


class Supervisor:
    def __init__(self) -> None:
        self._loop = Loop("sandbox-supervisor")
        self._workers = Workers(_WORKERS)
        self._guests: set[Guest] = set()
        self._totals = Totals()
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
        options = Option(0)
        for option in _RELIED:
            options |= option
        guest = self._launch(order, options)
        with suppress(SandboxError):
            guest.wait_ready()
        if guest.ready is None:
            return guest  # its waiters get what was wrong
        allowed = Option(0)
        for option, wall in _RELIED.items():
            allowed |= option if wall in guest.walls else Option(0)
        if set(order.walls) == set(Order.walls):
            self._options = allowed
        if not isinstance(guest.failure, GuestFault):
            return guest  # it stands, or another attempt would fail as well
        guest.wait_ended()
        return self._launch(order, allowed)

    def _launch(self, order: Order, options: Option) -> Guest:
        with ExitStack() as undo:
            guest, setup, ours = self._make(order, options, undo)
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

    def _make(self, order: Order, options: Option, undo: ExitStack) -> tuple[Guest, list[Message], list[int]]:
        """Everything for a guest, its sentry included. `undo` takes it back where a later step fails."""
        plan, tag = order.plan, secrets.randbits(31) + 1 << 32
        for option, wall in _RELIED.items():
            options &= ~Option(0 if wall in order.walls else option)
        if plan.network is _core.Network.LOOPBACK and not options & Option.NETWORK_NAMESPACE:
            plan = replace(plan, network=_core.Network.SERVED)  # of the host's loopback a slice is the guest's
        if plan.network is _core.Network.NONE:
            options &= ~Option.NETWORK_NAMESPACE  # it has no use for it
        options |= _SOCKETS[plan.network]
        net, http = self._network(order, undo) if plan.network is _core.Network.SERVED else (None, None)
        trail = _core.Trail()
        undo.callback(trail.close)
        # Where a mount namespace is known to stand, all scratch is a tmpfs in it.
        scratch = "" if self._options and Option.EMPTY_ROOT in self._options & options else make_scratch()
        undo.callback(remove_tree, scratch)
        cgroup = self._cgroup(order, tag)
        if cgroup is not None:
            undo.callback(cgroup.remove)
        about = _about(order) if order.trace or order.audit is not None else None
        sink = None
        if order.audit is not None and about is not None:
            sink = MeteredSink(self._totals, order.audit, tag, about)
            undo.callback(sink.close)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        undo.callback(ours.close)
        with theirs:
            pid, pidfd, spawned = _spawn(theirs.fileno(), wall_bits(order.walls))
        undo.callback(_discard, pid, pidfd)
        ours.setblocking(False)
        cgroup = _enter(cgroup, pid)
        walls = wall_names(spawned)
        if "pidns" not in walls:
            options &= ~(Option.PID_NAMESPACE | Option.EMPTY_ROOT)  # the host's /proc tells of all
        parts = Parts(
            socket=ours,
            pid=pid,
            pidfd=pidfd,
            tag=tag,
            spawned_walls=walls,
            scratch=scratch,
            cgroup=cgroup,
            trail=trail,
            sink=sink,
            files=FileService([_bound(each, http) for each in plan.functions], plan.function_names),
            proc=_Lazily(lambda: ProcService(plan.mounted(scratch))),
            require=order.policy.require,
            assumed=tuple(wall for option, wall in _RELIED.items() if option in options),
            wall_seconds=plan.wall_seconds,
            output_bytes=order.policy.limits.output_bytes or OUTPUT_BYTES,
            file_count=len(plan.functions),
            watch_memory=cgroup is not None and plan.limits.memory > 0,
            net=net,
        )
        packed = plan.pack(
            filters=(*_filter.guest_programs(int(options)), _filter.sentry_program()),
            tag=tag,
            walls=wall_bits(order.walls),
            scratch=scratch,
            cgroup=cgroup.path if cgroup else "",
            audit=about is not None,
            slice_=net.slice.base if net else 0,
            resolver=net.slice.resolver if net else 0,
            address=int(net.slice.address or 0) if net else 0,
            publishes=net.publishes if net else (),
        )
        messages, fds = _setup(packed, plan.contents, trail.fd)
        guest = Guest(parts, self._loop, self._workers, self._gone, about)
        if net is not None:
            net.attach(guest)
        if http is not None:
            http.attach(guest)
        return guest, messages, fds

    def _network(self, order: Order, undo: ExitStack) -> tuple[Internet, HTTPProxy | None]:
        from .services.net import Internet  # dnspython takes longer to import than everything else

        rules = Rules.compile(order.policy.network)
        writable = [place.source for place in order.plan.places if place.writable and place.source]
        http = HTTPProxy(self._loop, rules, order.walls, writable) if rules.requests else None
        with ExitStack() as failed:
            if http is not None:
                failed.callback(http.close)
            address = OWN if is_served(order.policy.network) else None
            net = Internet(rules, self._loop, order.policy.limits, http, address)
            failed.pop_all()
        undo.callback(net.close)
        return net, http

    def _cgroup(self, order: Order, tag: int) -> Cgroup | None:
        limits = order.plan.limits
        wanted = limits.memory or limits.processes or "cgroup" in order.policy.require
        return create_cgroup(tag, limits) if wanted and "cgroup" in order.walls else None

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


def _about(order: Order) -> dict[str, object]:
    """What a reader of a guest's records has to know."""
    places = order.plan.places
    mounts, rules = [place.guest for place in places], [describe(place) for place in places]
    return {"pid": os.getpid(), "mounts": mounts, "rules": rules, "network": describe_network(order.policy.network)}


def _bound(function: Callable[[], bytes], http: HTTPProxy | None) -> Callable[[], bytes]:
    """A file of the guest's, now that its proxy is there."""
    return http.content(function) if isinstance(function, Trust) and http is not None else function


def _spawn(sock: int, walls: int) -> tuple[int, int, int]:
    try:
        return _core.spawn(SENTRY, sock, walls)
    except OSError as error:
        raise SandboxError(f"sentry {SENTRY}: cannot be started: {error.strerror}") from error


def _discard(pid: int, pidfd: int) -> None:
    with suppress(OSError):
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.waitpid(pid, 0)
    os.close(pidfd)


def _enter(cgroup: Cgroup | None, pid: int) -> Cgroup | None:
    """Put the sentry, which has no child yet, into the cgroup; without one the sentry counts."""
    if cgroup is None:
        return None
    try:
        cgroup.add(pid)
    except OSError:
        cgroup.remove()
        return None
    return cgroup


def _setup(plan: bytes, contents: Sequence[bytes], trail: int) -> tuple[list[Message], list[int]]:
    """The first messages to a sentry, and the descriptors that are to be closed when they are sent."""
    with ExitStack() as undo:
        fds: list[int] = []

        def own(fd: int) -> int:
            undo.callback(os.close, fd)
            fds.append(fd)
            return fd

        first = [own(sealed(plan, "sandbox-plan")), own(os.open(STUB, os.O_RDONLY | os.O_CLOEXEC)), trail]
        first.append(own(os.pidfd_open(os.getpid())))
        files = [own(memfd(content, "sandbox-bytes")) for content in contents]
        messages = [Message(MessageType.SETUP, fds=first)]
        for at in range(0, len(files), _core.MESSAGE_FDS):
            messages.append(Message(MessageType.FILES, fds=files[at : at + _core.MESSAGE_FDS]))
        undo.pop_all()
    return messages, fds


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
    """Compile a policy and start a guest of it, with the Supervisor of this process."""
    order = Order(compile_policy(policy), policy, audit, trace=trace)
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
