"""Datagrams of a guest that go through sockets of ours, a pair for each peer of each of its sockets: one in its slice,
which the guest sends to, and one that is connected to the peer."""

from __future__ import annotations

import socket
from collections import OrderedDict
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from ipaddress import IPv4Address
from typing import NamedTuple

from .._loop import READABLE, Loop
from ._flow import Flow
from ._names_of_sockets import Name
from ._relay import bounded, share
from ._sockets import cookie_of, name_of

_MOST = 256  # pairs of one guest; then the one that was sent to longest ago is closed
_SIZE, _PIECES = 1 << 16, 16  # bytes of a datagram, and how many in one turn
Key = tuple[int, Name]


class Pair(NamedTuple):
    inner: socket.socket
    upstream: socket.socket
    rule: str


class Datagrams:
    """One guest's. A datagram waits for its turn where it comes too soon, and the kernel drops what is too much; beyond
    the limit in total each is dropped. In the loop's thread."""

    def __init__(
        self, loop: Loop, address: IPv4Address, flows: tuple[Flow, Flow], lost: Callable[[Name], None]
    ) -> None:
        """`lost` is told which of our names in the slice stands for nobody any more."""
        self._loop, self._address, self._flows, self._lost = loop, str(address), flows, lost
        self._pairs: OrderedDict[Key, Pair] = OrderedDict()

    def way(self, sock: socket.socket, target: Name, rule: str) -> Pair:
        """Where a socket that is bound in the slice finds a peer. OSError: not to be had, ENOBUFS: too many."""
        key = cookie_of(sock), target
        if key not in self._pairs:
            self._pairs[key] = self._made(key, name_of(sock), rule)
        self._pairs.move_to_end(key)
        if len(self._pairs) > min(_MOST, share()):
            self._close(next(iter(self._pairs)))
        return self._pairs[key]

    def cut(self, stands: Callable[[int, Name], bool]) -> None:
        """Close the pairs of whose socket's cookie and peer this is not so."""
        for key in list(self._pairs):
            if not stands(*key):
                self._close(key)

    def close(self) -> None:
        """What has been sent goes first."""
        for key, (inner, upstream, rule) in list(self._pairs.items()):
            self._move(inner, upstream, self._flows[0], rule)
            self._close(key)

    def forget_after_fork(self) -> None:
        """Close the descriptors, and nothing else."""
        for inner, upstream, _ in self._pairs.values():
            inner.close()
            upstream.close()

    def _made(self, key: Key, at: Name, rule: str) -> Pair:
        target = key[1]
        with ExitStack() as undo:
            inner = undo.enter_context(bounded(socket.AF_INET, socket.SOCK_DGRAM))
            family = socket.AF_INET if target.address.version == 4 else socket.AF_INET6
            upstream = undo.enter_context(bounded(family, socket.SOCK_DGRAM))
            inner.bind((self._address, 0))
            inner.connect((str(at.address), at.port))
            upstream.connect((str(target.address), target.port))
            undo.pop_all()
        out, back = self._flows
        for source, other, flow in ((inner, upstream, out), (upstream, inner, back)):
            self._loop.watch(source.fileno(), partial(self._move, source, other, flow, rule))
        return Pair(inner, upstream, rule)

    def _move(self, source: socket.socket, other: socket.socket, flow: Flow, rule: str, _: int = 0) -> None:
        for _ in range(_PIECES):
            if not flow.spent and not flow.room(1):
                self._loop.want(source.fileno(), None)
                return flow.wait(partial(self._again, source))
            try:
                data = source.recv(_SIZE)
                if flow.takes(len(data)):
                    flow.moved(other.send(data), rule)
            except BlockingIOError:
                return
            except OSError:
                continue  # a peer that was not there when it was sent to

    def _again(self, source: socket.socket) -> None:
        if source.fileno() >= 0:
            self._loop.want(source.fileno(), READABLE)

    def _close(self, key: Key) -> None:
        pair = self._pairs.pop(key, None)
        if pair is not None:
            self._lost(name_of(pair.inner))
            for sock in (pair.inner, pair.upstream):
                self._loop.forget(sock.fileno())
                sock.close()
