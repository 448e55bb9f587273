"""Bytes between two sockets of ours, counted and within limits; nobody looks at one."""

from __future__ import annotations

import errno
import select
import socket
import struct
from collections.abc import Callable

from .._loop import READABLE, WRITABLE, Loop
from ._flow import Flow

_PIECE, _PIECES = 1 << 16, 4  # bytes at once, and how many such in one turn: others have theirs
RESET = struct.pack("ii", 1, 0)  # of SO_LINGER: close by RST
_buffer = memoryview(bytearray(_PIECE))
"""Nothing stays in it from one call to the next, and all are in the loop's thread."""


class _Way:
    """Out of one socket into the other. What does not go in at once is kept, and no more is taken meanwhile."""

    def __init__(self, source: socket.socket, target: socket.socket, flow: Flow, rule: str) -> None:
        self.source, self.target = source, target
        self._flow, self._rule = flow, rule
        self.rest = b""
        self.over = self.paused = False  # over: the end of the stream has been passed on, and nothing is left

    def move(self, turn: Callable[[], None]) -> None:
        """As much as goes, within a turn. OSError: an end is lost, or the limit exceeded."""
        self.paused = False
        for _ in range(_PIECES):
            if self.over:
                self._look()
            if (self.rest and not self._put(memoryview(self.rest))) or self.over or not self._take(turn):
                return

    def _look(self) -> None:
        """Nothing more is read there: a reset would not be seen."""
        error = self.source.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, "")

    def is_deserted(self) -> bool:
        """Has all of a local source come, and nobody holds its other end? It says so for ever, and is not at fault."""
        if not self.over or self.source.family != socket.AF_UNIX:
            return False
        poll = select.poll()
        poll.register(self.source, 0)
        return bool(poll.poll(0))

    def _take(self, turn: Callable[[], None]) -> bool:
        spent = self._flow.spent
        room = 1 if spent else self._flow.room(_PIECE)  # one more is one too many
        if not room:
            self.paused = True
            self._flow.wait(turn)
            return False
        try:
            got = self.source.recv_into(_buffer, room)
        except BlockingIOError:
            return False
        if got == 0:
            self.over = True
            self.target.shutdown(socket.SHUT_WR)
            return False
        if spent:
            self._flow.cuts += 1
            raise OSError(errno.EDQUOT, "")
        self._flow.moved(got, self._rule)
        return self._put(_buffer[:got])

    def _put(self, data: memoryview) -> bool:
        """Is all of it gone?"""
        try:
            sent = self.target.send(data, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            sent = 0
        self.rest = bytes(data[sent:])
        return not self.rest


class Pump:
    """Between `inner`, which a guest is connected to, and `upstream`; both are connected TCP sockets, the latter also a
    local one, and now its own. An end of stream and a reset are passed on. `turn` begins; `ended` is called when it has
    closed them. In the loop's thread."""

    def __init__(
        self,
        loop: Loop,
        inner: socket.socket,
        upstream: socket.socket,
        flows: tuple[Flow, Flow],
        rule: str,
        ended: Callable[[Pump], None],
    ) -> None:
        """`flows`: what the guest sends and what it receives."""
        out, back = flows
        self._loop, self._ended, self._left, self._closed = loop, ended, False, False
        self._ways = _Way(inner, upstream, out, rule), _Way(upstream, inner, back, rule)
        for way in self._ways:
            way.source.setblocking(False)
            way.source.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)  # else an urgent byte would be lost
            if way.source.family != socket.AF_UNIX:
                way.source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            loop.watch(way.source.fileno(), self._on_event)
        _tell_when_gone(inner)

    def turn(self) -> None:
        if self._closed:
            return
        try:
            for way in self._ways:
                way.move(self.turn)
        except OSError:
            return self.end(reset=True)
        out, back = self._ways
        if (out.over and (self._left or back.over)) or back.is_deserted():
            return self.end()
        for way, other in (self._ways, reversed(self._ways)):
            self._loop.want(way.source.fileno(), _events(way, other))

    def leave(self) -> None:
        """The guest is gone: what it had sent goes on, and nobody waits for an answer."""
        self._left = True
        self.turn()

    def end(self, *, reset: bool = False) -> None:
        if self._closed:
            return
        for way in self._ways:
            self._loop.forget(way.source.fileno())
            if reset:
                way.source.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.forget_after_fork()
        self._ended(self)

    def forget_after_fork(self) -> None:
        """Close the descriptors, and nothing else."""
        self._closed = True
        for way in self._ways:
            way.source.close()

    def _on_event(self, _: int) -> None:
        self.turn()


def _events(way: _Way, other: _Way) -> int | None:
    """What a socket is waited for, by the way out of it and the other into it. INVARIANT no-spin: while neither goes on
    there, its failure is not waited for either, since nothing would be done about it."""
    events = (WRITABLE if other.rest else 0) | (0 if way.over or way.rest or way.paused else READABLE)
    return events if events or way.over else None


def _tell_when_gone(inner: socket.socket) -> None:
    """A guest's socket that it has closed is forgotten by the kernel after a minute, and answers no more: then nobody
    will ever read what upstream may send."""
    inner.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in ((socket.TCP_KEEPIDLE, 75), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 2)):
        inner.setsockopt(socket.IPPROTO_TCP, option, value)
