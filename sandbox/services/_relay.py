"""Connections of a guest that end here: its socket is connected to one of ours, and another of ours to the target.

The guest's connect behaves as if it went there. Its socket is sent to a listener in its slice whose queue is full, so
that the kernel drops what knocks: it waits, as for a target that has not answered. When the target has, a socket of
ours at that listener's address connects to the guest's (TCP's simultaneous open), and both stand at once."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import socket
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from ipaddress import IPv4Address
from typing import NamedTuple

from .._loop import READABLE, WRITABLE, Loop
from ._names_of_sockets import Name, write_name
from ._pump import RESET
from ._sockets import (
    SHARES,
    begin_connect,
    borrowed,
    cookie_of,
    is_settled,
    name_of,
    peer_of,
    sockaddr_of,
    state_of,
    without_waiting,
)

_AT_ONCE = ctypes.PyDLL(None)  # other threads do not run between two calls
_FILLS = 10  # milliseconds that a connection of the loopback may need; more where somebody drops what comes
_PARTED = bytes(16)  # an address of AF_UNSPEC
ESTABLISHED, SYN_SENT, CLOSE = 1, 2, 7
_MOST = 1024  # connections of a guest that are relayed: each needs memory of the kernel's, too

Joined = Callable[[socket.socket, socket.socket], None]


class _Park(NamedTuple):
    """Where guests' sockets wait: a listener, the connection that fills its queue, and a port where nobody listens."""

    listener: socket.socket
    filler: socket.socket
    closed: socket.socket

    @property
    def name(self) -> Name:
        return name_of(self.listener)


def _park(address: IPv4Address) -> _Park:
    with ExitStack() as undo:
        listener, filler, closed = (undo.enter_context(socket.socket()) for _ in range(3))
        _share(listener)
        listener.bind((str(address), 0))
        listener.listen(0)
        filler.setblocking(False)
        filler.connect_ex(listener.getsockname())
        if not is_settled(filler, _FILLS) or state_of(filler) != ESTABLISHED:
            raise OSError(errno.EAGAIN, "")
        closed.bind((str(address), 0))
        undo.pop_all()
    return _Park(listener, filler, closed)


def _share(sock: socket.socket) -> None:
    for option in SHARES:
        sock.setsockopt(socket.SOL_SOCKET, option, 1)


class _Joining:
    """One that is being made: `sock` is a copy of the guest's, at `at`; `inner` is there when upstream has answered."""

    def __init__(self, sock: socket.socket, upstream: socket.socket, target: Name, joined: Joined) -> None:
        self.sock, self.upstream, self.target, self.joined = sock, upstream, target, joined
        self.at = name_of(sock)
        self.inner: socket.socket | None = None

    def sockets(self) -> list[socket.socket]:
        return [sock for sock in (self.sock, self.upstream, self.inner) if sock is not None]

    def waits(self) -> bool:
        """Is the guest's socket as it was when this began?"""
        return state_of(self.sock) == SYN_SENT and name_of(self.sock) == self.at

    def met(self) -> bool:
        """INVARIANT own-slice: is the guest's socket the other end? It may have given up before it was met, and then
        whoever of the host listens at every address was."""
        assert self.inner is not None
        stands = state_of(self.sock) not in (CLOSE, SYN_SENT) and name_of(self.sock) == self.at
        return stands and peer_of(self.sock) == name_of(self.inner)


class Relays:
    """Of one guest, whose slice has `address`. All is done in the loop's thread."""

    def __init__(self, loop: Loop, address: IPv4Address) -> None:
        self._loop, self._address = loop, address
        self._parked: _Park | None = None
        self._joining: dict[int, _Joining] = {}

    def __len__(self) -> int:
        """How many are being made."""
        return len(self._joining)

    def begin(self, sock: socket.socket, target: Name, joined: Joined) -> int:
        """Connect `sock`, which is bound in the slice, to `target`: 0 or an errno, as connect(2) without waiting.

        `joined(inner, upstream)` is called once both stand, perhaps before this returns: two connected sockets, then
        the callee's, that do not block; what the guest sends comes out of `inner`. ENOBUFS: more than a guest's
        `share` are being made, or three quarters of the descriptors that this process may have are in use."""
        cookie, at = cookie_of(sock), sockaddr_of(sock, self._place().name)
        if state_of(sock) != CLOSE:
            return begin_connect(sock, at)  # already, or connected: what Linux says of it
        self._drop(cookie)
        if len(self) >= share():
            return errno.ENOBUFS
        if name_of(sock).address.version != 4:
            return errno.EADDRNOTAVAIL
        with ExitStack() as undo:
            upstream = undo.enter_context(bounded(socket.AF_INET if target.address.version == 4 else socket.AF_INET6))
            error = upstream.connect_ex((str(target.address), target.port))
            if error not in (0, errno.EINPROGRESS):
                return error
            error = begin_connect(sock, at)
            if error != errno.EINPROGRESS:
                return error
            joining = _Joining(undo.enter_context(borrowed(sock.fileno())), upstream, target, joined)
            undo.pop_all()
        self._joining[cookie] = joining
        self._loop.watch(upstream.fileno(), partial(self._on_upstream, cookie), READABLE | WRITABLE)
        self._on_upstream(cookie, 0)
        waits = cookie in self._joining or not os.get_blocking(sock.fileno())
        return errno.EINPROGRESS if waits else begin_connect(sock, at)

    def cut(self, stands: Callable[[int, Name], bool]) -> None:
        """Give up those of whose socket's cookie and target this is not so."""
        for cookie, joining in list(self._joining.items()):
            if not stands(cookie, joining.target):
                self._drop(cookie)

    def close(self) -> None:
        """What is being made will not be."""
        for cookie in list(self._joining):
            self._drop(cookie)
        self.forget_after_fork()

    def forget_after_fork(self) -> None:
        """Close the descriptors, and nothing else."""
        for sock in [sock for joining in self._joining.values() for sock in joining.sockets()]:
            sock.close()
        self._joining.clear()
        for sock in self._parked or ():
            sock.close()

    def _place(self) -> _Park:
        self._parked = self._parked or _park(self._address)
        return self._parked

    def _drop(self, cookie: int) -> None:
        joining = self._joining.pop(cookie, None)
        for sock in joining.sockets() if joining is not None else ():
            self._loop.forget(sock.fileno())
            sock.close()

    def _on_upstream(self, cookie: int, _: int) -> None:
        joining = self._joining[cookie]
        if not joining.waits():
            self._drop(cookie)  # the guest has given up
        elif is_settled(joining.upstream):
            error = joining.upstream.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                self._fail(joining, error)
                self._drop(cookie)
            else:
                self._meet(cookie, joining)

    def _fail(self, joining: _Joining, error: int) -> None:
        """Refused, to the guest, whatever it was; but what takes too long takes as long for the guest's own socket. In
        between that is reset, for some microseconds, since the kernel has no other way out of its wait."""
        if error != errno.ETIMEDOUT:
            fd, refusing = joining.sock.fileno(), write_name(name_of(self._place().closed), joining.sock.family)
            with without_waiting(joining.sock):
                _AT_ONCE.connect(fd, _PARTED, len(_PARTED))
                _AT_ONCE.connect(fd, refusing, len(refusing))

    def _meet(self, cookie: int, joining: _Joining) -> None:
        self._loop.forget(joining.upstream.fileno())
        try:
            inner = joining.inner = bounded(socket.AF_INET)
            _share(inner)
            inner.bind((str(self._address), self._place().name.port))
            inner.connect_ex((str(joining.at.address), joining.at.port))
        except OSError as error:
            self._fail(joining, error.errno or errno.EIO)
            return self._drop(cookie)
        self._loop.watch(inner.fileno(), partial(self._on_inner, cookie), READABLE | WRITABLE)
        self._on_inner(cookie, 0)

    def _on_inner(self, cookie: int, _: int) -> None:
        joining = self._joining[cookie]
        if joining.inner is None or not is_settled(joining.inner):
            return
        if state_of(joining.inner) != ESTABLISHED:
            return self._drop(cookie)
        if not joining.met():
            for sock in (joining.inner, joining.upstream):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            return self._drop(cookie)
        inner, upstream, joining.inner = joining.inner, joining.upstream, None
        self._loop.forget(inner.fileno())
        del self._joining[cookie]
        joining.sock.close()
        joining.joined(inner, upstream)


def _descriptors() -> int:
    """How many this process may have."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 1 << 20 if most == resource.RLIM_INFINITY else most


def share() -> int:
    """How many connections of one guest may be relayed at once, of two descriptors each: others need some, too."""
    return min(_MOST, max(16, _descriptors() // 8))


def bounded(family: int, kind: int = socket.SOCK_STREAM) -> socket.socket:
    """A socket of ours that does not block. It gets the lowest free number, which so tells how many descriptors there
    are: ENOBUFS where few are left for the caller's own."""
    made = socket.socket(family, kind)
    made.setblocking(False)
    if made.fileno() > _descriptors() * 3 // 4:
        made.close()
        raise OSError(errno.ENOBUFS, "")
    return made
