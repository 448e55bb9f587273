"""Published ports whose connections are relayed: we listen at the host's address, and connect to the guest's listener
in its slice."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from ipaddress import IPv4Address
from typing import NamedTuple, Optional

from .._loop import READABLE, WRITABLE, Loop
from .._publish import Publish
from ._names_of_sockets import Name, read_plain
from ._pump import RESET
from ._relay import ESTABLISHED, bounded
from ._sockets import is_settled, state_of

_BACKLOG, _MOST = 128, 128  # connections of which the guest's listener has no room yet
_REST = 0.1  # seconds until accept is tried again
_BIND_LATE = 24  # IP_BIND_ADDRESS_NO_PORT


class Listening(NamedTuple):
    """A listener of the guest's: where it is, and its socket's cookie."""

    at: Name
    cookie: int


class _Knock(NamedTuple):
    inner: socket.socket
    stranger: socket.socket
    rule: Publish
    peer: Name
    listening: Listening


Find = Callable[[int], Optional[Listening]]
Came = Callable[[socket.socket, socket.socket, Publish, Name], None]


class Inbound:
    """One guest's. In the loop's thread."""

    def __init__(
        self,
        loop: Loop,
        address: IPv4Address,
        listeners: Sequence[tuple[Publish, socket.socket]],
        find: Find,
        came: Came,
    ) -> None:
        """`find` tells where the guest listens at one of its ports; `came(inner, stranger, rule, peer)` takes two
        connected sockets."""
        self._loop, self._address, self._listeners = loop, str(address), listeners
        self._find, self._came = find, came
        self._open: set[int] = set()
        self._knocking: dict[int, _Knock] = {}

    def listen(self, port: int) -> None:
        """The guest listens at this port of its own."""
        for rule, listener in self._listeners:
            if rule.guest == port and listener.fileno() not in self._open:
                listener.setblocking(False)
                listener.listen(_BACKLOG)
                self._open.add(listener.fileno())
                self._loop.watch(listener.fileno(), partial(self._on_knock, rule, listener))

    def close(self) -> None:
        for fd in self._open:
            self._loop.forget(fd)
        self._open.clear()
        for fd in list(self._knocking):
            self._turn_away(fd)

    def forget_after_fork(self) -> None:
        """Close the descriptors, and nothing else."""
        for knock in self._knocking.values():
            knock.inner.close()
            knock.stranger.close()

    def _on_knock(self, rule: Publish, listener: socket.socket, _: int) -> None:
        with suppress(BlockingIOError, ConnectionError):
            try:
                stranger, name = listener.accept()
            except (BlockingIOError, ConnectionError):
                raise
            except OSError:  # no descriptor is free: it knocks on
                return self._rest(listener)
            peer = Name(read_plain(name[0]), name[1])
            try:
                listening = self._find(rule.guest)
                if listening is None:  # nobody listens any more: nor do we
                    self._loop.forget(listener.fileno())
                    self._open.discard(listener.fileno())
                    listener.shutdown(socket.SHUT_RD)
                if listening is None or not rule.admits(peer.address) or len(self._knocking) >= _MOST:
                    return reset(stranger)
                inner, error = self._connecting(listening.at)
            except OSError:
                return reset(stranger)
            fd = inner.fileno()
            self._knocking[fd] = _Knock(inner, stranger, rule, peer, listening)
            self._loop.watch(fd, partial(self._on_open, fd, False), READABLE | WRITABLE)
            if error in (0, errno.EINPROGRESS):
                self._on_open(fd, True)
            else:
                self._turn_away(fd)

    def _connecting(self, at: Name) -> tuple[socket.socket, int]:
        """A socket of ours and what connect said."""
        with ExitStack() as undo:
            inner = undo.enter_context(bounded(socket.AF_INET))
            inner.setsockopt(socket.IPPROTO_IP, _BIND_LATE, 1)  # a port that others use, too, to other ends
            inner.bind((self._address, 0))
            error = inner.connect_ex((str(at.address), at.port))
            undo.pop_all()
        return inner, error

    def _rest(self, listener: socket.socket) -> None:
        self._loop.want(listener.fileno(), None)
        self._loop.call_at(time.monotonic() + _REST, partial(self._resume, listener))

    def _resume(self, listener: socket.socket) -> None:
        if listener.fileno() in self._open:
            self._loop.want(listener.fileno(), READABLE)

    def _on_open(self, fd: int, at_once: bool, _: int = 0) -> None:
        knock = self._knocking[fd]
        if not is_settled(knock.inner):
            return
        if state_of(knock.inner) != ESTABLISHED or not self._met(knock, at_once):
            return self._turn_away(fd)
        self._loop.forget(fd)
        del self._knocking[fd]
        self._came(knock.inner, knock.stranger, knock.rule, knock.peer)

    def _met(self, knock: _Knock, at_once: bool) -> bool:
        """INVARIANT own-slice: is it the guest that was met? A listener that went while we waited for room has left the
        port to whoever of the host listens at every address. Where we have not waited it may have gone since."""
        try:
            return self._find(knock.rule.guest) in ((knock.listening, None) if at_once else (knock.listening,))
        except OSError:  # the kernel does not tell
            return False

    def _turn_away(self, fd: int) -> None:
        knock = self._knocking.pop(fd)
        self._loop.forget(fd)
        reset(knock.inner)
        reset(knock.stranger)


def reset(sock: socket.socket) -> None:
    """Close a connection, which its peer sees as reset."""
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    sock.close()
