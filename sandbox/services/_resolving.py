"""The place of a guest's resolver: datagrams and streams at one address of its slice, on the Supervisor's loop."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from ipaddress import IPv4Address

from .._loop import Loop
from ._ingress import attach, in_slice

Ask = Callable[..., None]  # Resolver.ask
_STREAMS_MAX = 4
_QUERY_MAX = 1024
_BUFFER_MAX = 16 * _QUERY_MAX
_NEXT = 0.001  # seconds between two questions of one stream
_LATER = 0.025  # and until it is listened to again, while who gets the guest's records does not keep up


class Resolving:
    """Hands what a guest asks to `ask`, unless it `is_behind`: then its questions wait where the kernel keeps them. It
    is used on the loop's thread only, but for making and closing it."""

    def __init__(
        self, loop: Loop, address: IPv4Address, base: int, ask: Ask, is_behind: Callable[[], bool] = lambda: False
    ) -> None:
        self._loop, self._base, self._ask, self._is_behind = loop, base, ask, is_behind
        self._closing = threading.Lock()
        self._datagrams, self._listener = _bound(str(address), base)
        self.port: int = self._datagrams.getsockname()[1]
        self._streams: dict[int, tuple[socket.socket, bytearray]] = {}
        loop.watch(self._datagrams.fileno(), self._on_datagram)
        loop.watch(self._listener.fileno(), self._on_stream)

    def close(self, *, forked: bool = False) -> None:
        """In a forked child the loop is the parent's: nothing is taken from it."""
        if forked:
            self._closing = threading.Lock()  # a thread that is not here may hold the other
        with self._closing:
            for sock in (self._datagrams, self._listener, *(stream for stream, _ in self._streams.values())):
                if not forked:
                    self._loop.forget(sock.fileno())
                sock.close()
            self._streams.clear()

    def _rests(self, sock: socket.socket, ready: Callable[[int], None]) -> bool:
        """Is nothing to be taken from it now?"""
        if not self._is_behind():
            return False
        self._loop.forget(sock.fileno())
        self._loop.call_at(time.monotonic() + _LATER, partial(self._listens, sock, ready))
        return True

    def _listens(self, sock: socket.socket, ready: Callable[[int], None]) -> None:
        with self._closing:
            if sock.fileno() >= 0:
                self._loop.watch(sock.fileno(), ready)

    def _on_datagram(self, _: int) -> None:
        if self._rests(self._datagrams, self._on_datagram):
            return
        with suppress(OSError):
            query, peer = self._datagrams.recvfrom(_QUERY_MAX)
            self._ask(query, partial(self._answer, peer), stream=False)

    def _answer(self, peer: tuple[str, int], answer: bytes) -> None:
        with suppress(OSError):
            self._datagrams.sendto(answer, peer)

    def _on_stream(self, _: int) -> None:
        with suppress(OSError):
            stream, peer = self._listener.accept()
            if not in_slice(IPv4Address(peer[0]), self._base):
                return stream.close()
            if len(self._streams) >= _STREAMS_MAX:
                self._end(next(iter(self._streams)))  # the oldest: whoever holds many must not keep others out
            stream.setblocking(False)
            self._streams[stream.fileno()] = stream, bytearray()
            self._loop.watch(stream.fileno(), partial(self._on_bytes, stream.fileno()))

    def _end(self, fd: int) -> None:
        stream, _ = self._streams.pop(fd)
        self._loop.forget(fd)
        stream.close()

    def _on_bytes(self, fd: int, _: int) -> None:
        stream, buffer = self._streams[fd]
        if self._rests(stream, partial(self._on_bytes, fd)):
            return
        try:
            data = stream.recv(_QUERY_MAX)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            return self._end(fd)
        buffer += data
        self._on_message(fd, stream)

    def _on_message(self, fd: int, stream: socket.socket) -> None:
        """One question in a turn of the loop, which is everybody's."""
        if self._streams.get(fd, (None,))[0] is not stream:
            return  # it has ended
        if self._is_behind():
            self._loop.call_at(time.monotonic() + _LATER, partial(self._on_message, fd, stream))
            return
        buffer = self._streams[fd][1]
        size = 2 + int.from_bytes(buffer[:2], "big") if len(buffer) >= 2 else 2 + _QUERY_MAX
        if len(buffer) >= 2 and size > 2 + _QUERY_MAX or len(buffer) > _BUFFER_MAX:
            return self._end(fd)
        if len(buffer) < size:
            return
        query = bytes(buffer[2:size])
        del buffer[:size]
        self._ask(query, partial(self._answer_stream, stream), stream=True)
        if buffer:
            self._loop.call_at(time.monotonic() + _NEXT, partial(self._on_message, fd, stream))

    def _answer_stream(self, stream: socket.socket, answer: bytes) -> None:
        """A guest that does not read its answers loses them, and with a part of one its stream's sense."""
        with suppress(OSError):
            stream.send(len(answer).to_bytes(2, "big") + answer)


def _bound(address: str, base: int) -> tuple[socket.socket, socket.socket]:
    """The same port for both. OSError: there is none."""
    for _ in range(16):
        pair = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            for sock in pair:
                attach(sock, base, ())
                sock.setblocking(False)
                sock.bind((address, pair[0].getsockname()[1]))
            pair[1].listen(_STREAMS_MAX)
            return pair
        except OSError as error:
            failed = error
            for sock in pair:
                sock.close()
    raise failed
