"""What TCP connections carried that nobody relays: the kernel tells it of each when it is no more (sock_diag(7),
SKNLGRP_INET_TCP_DESTROY), and of those that stand when it is asked."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from functools import partial

from .._loop import Loop
from ._diag import INFO, SOCK_DIAG, carried_in, cookie_in, dumped, messages_in
from ._ingress import deafen, detach

_GROUPS = 1 << 0 | 1 << 2  # TCP of IPv4 and of IPv6
_HEARD = 1 << 22  # bytes of messages that wait; less where the machine allows no more
_LOOKS, _PATIENCE = 8, 0.1  # at those that stand, and seconds after each: the kernel tells of an end a little later

Carried = tuple[int, int]


class TcpEnds:
    """One for all guests: a message comes for every TCP socket of the host's network. While no guest has a connection,
    which is most of the time where they speak on their own loopback, none is let in to wake us."""

    def __init__(self) -> None:
        self._guests: set[Carriage] = set()
        self._netlink: socket.socket | None = None
        self._deaf = False
        self._lock = threading.Lock()

    def join(self, guest: Carriage, loop: Loop) -> None:
        with self._lock:
            self._guests.add(guest)
            if self._netlink is None:
                try:
                    self._netlink, self._deaf = _subscribed(), False
                except OSError:  # a kernel that tells nobody
                    return guest.lose()
                loop.watch(self._netlink.fileno(), self._hear)

    def listen(self) -> None:
        """A connection is to be told of, which has not ended yet."""
        with self._lock:
            if self._deaf and self._netlink is not None:
                detach(self._netlink)
                self._deaf = False

    def leave(self, guest: Carriage, loop: Loop) -> None:
        with self._lock:
            self._guests.discard(guest)
            if not self._guests and self._netlink is not None:
                loop.forget(self._netlink.fileno())
                self._netlink.close()
                self._netlink = None

    def forget_after_fork(self) -> None:
        """Close the descriptor, and nothing else."""
        self._lock = threading.Lock()
        self._guests.clear()
        if self._netlink is not None:
            self._netlink.close()
            self._netlink = None

    def _hear(self, _: int) -> None:
        with self._lock:
            if self._netlink is None:
                return
            try:
                data = self._netlink.recv(1 << 16)
                told = {cookie_in(message): message for _, message in messages_in(data)}
            except BlockingIOError:
                return
            except OSError:  # ENOBUFS: there were more than had room
                told = None
            if told is not None and not any(guest.stands for guest in self._guests):
                with suppress(OSError):
                    deafen(self._netlink)
                    self._deaf = True
                return
            for guest in self._guests:
                guest.hear(told)


def _subscribed() -> socket.socket:
    with ExitStack() as undo:
        netlink = undo.enter_context(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, SOCK_DIAG))
        netlink.setblocking(False)
        netlink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _HEARD)
        netlink.bind((0, _GROUPS))
        undo.pop_all()
    return netlink


_ends = TcpEnds()


class Carriage:
    """What one guest's connections carried. `hear` and `begin` are called in the loop's thread, the rest in any."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._changed = threading.Condition()
        self._standing: dict[int, str] = {}
        self._carried: dict[str, Carried] = {}
        self._known, self._closed = True, False
        _ends.join(self, loop)

    @property
    def stands(self) -> bool:
        return bool(self._standing)

    def begin(self, cookie: int, rule: str) -> None:
        """A socket, which is held, has a new connection. What it carried before, in another, is not told any more."""
        _ends.listen()
        with self._changed:
            self._know(cookie not in self._standing)
            if self._known:
                self._standing[cookie] = rule

    def lose(self) -> None:
        """Something is carried of which nobody tells."""
        if not self._known:
            return
        with self._changed:
            self._know(False)
            self._changed.notify_all()

    def _know(self, known: bool) -> None:
        """What was once unknown stays so: then none is remembered."""
        self._known = self._known and known
        if not self._known:
            self._standing.clear()

    def hear(self, told: Mapping[int, bytes] | None) -> None:
        """Of sockets that are no more, what the kernel tells; None: some were missed."""
        with self._changed:
            ended = told or {}
            if told is not None and not self._standing.keys() & ended.keys():
                return
            self._know(told is not None)
            for cookie in self._standing.keys() & ended.keys():  # none where it was not known before
                self._add(self._carried, self._standing.pop(cookie), carried_in(ended[cookie]))
            self._know(self._known)
            self._changed.notify_all()

    def carried(self) -> Mapping[str, Carried] | None:
        """Bytes sent and received by each rule; None: not known."""
        for look in range(1, _LOOKS + 1):
            standing = _standing() if self._standing and self._known and not self._closed else {}
            with self._changed:
                told = self._closed or self._changed.wait_for(partial(self._is_told, standing), _PATIENCE)
                if told or look == _LOOKS:
                    return self._with(standing)
        return None

    def _is_told(self, standing: Mapping[int, Carried | None]) -> bool:
        """Of each that has not ended, or is there nothing to know?"""
        return not self._known or self._standing.keys() <= standing.keys()

    def _with(self, standing: Mapping[int, Carried | None]) -> Mapping[str, Carried] | None:
        carried = dict(self._carried)
        for cookie, rule in self._standing.items():
            self._add(carried, rule, standing.get(cookie))
        return carried if self._known else None

    def close(self) -> None:
        """After this what has been carried is what `carried` says."""
        carried = self.carried()
        _ends.leave(self, self._loop)
        with self._changed:
            self._closed, self._known = True, carried is not None
            self._carried, self._standing = dict(carried or {}), {}

    def _add(self, to: dict[str, Carried], rule: str, found: Carried | None) -> None:
        self._known = self._known and found is not None
        old, new = to.get(rule, (0, 0)), found or (0, 0)
        to[rule] = old[0] + new[0], old[1] + new[1]


def forget_after_fork() -> None:
    _ends.forget_after_fork()


def _standing() -> dict[int, Carried | None]:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, SOCK_DIAG) as netlink:
        families = (socket.AF_INET, socket.AF_INET6) * 2  # a list passes over some where others end meanwhile
        listed = (each for family in families for each in dumped(netlink, family, socket.IPPROTO_TCP, 1 << INFO - 1))
        return {cookie_in(message): carried_in(message) for message in listed}
