"""Datagrams of a guest that go through sockets of ours, a pair for each peer of each of its sockets: one in its slice,
which the guest sends to, and one that is connected to the peer."""

from __future__ import annotations

import errno
import socket
from collections import OrderedDict
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from ipaddress import IPv4Address
from typing import NamedTuple

from .._loop import Loop
from ._flow import Flow
from ._ingress import in_slice
from ._inners import Inners
from ._names_of_sockets import Name
from ._relay import bounded, share
from ._sockets import cookie_of, name_of

_MOST = 256  # pairs of one guest; then the one that was sent to longest ago is closed
_SIZE, _PIECES = 1 << 16, 16  # bytes of a datagram, and how many in one turn
Key = tuple[int, Name]
Whose = Callable[[Name, Name], "bool | None"]


class Pair(NamedTuple):
    inner: socket.socket
    upstream: socket.socket
    rule: str
    at: Name


class Datagrams:
    """One guest's. A datagram waits for its turn where it comes too soon, and the kernel drops what is too much; beyond
    the limit in total each is dropped. In the loop's thread."""

    def __init__(
        self, loop: Loop, address: IPv4Address, flows: tuple[Flow, Flow], whose: Whose, lost: Callable[[Name], None]
    ) -> None:
        """`whose(at, asker)`: is who hears there what `asker` sends the guest's? None: nobody hears it. `lost` is told
        which of our names in the slice stands for nobody any more."""
        self._loop, self._inners, self._base = loop, Inners(address), int(address) & ~0xFF
        self._flows, self._whose, self._lost = flows, whose, lost
        self._pairs: OrderedDict[Key, Pair] = OrderedDict()

    def way(self, sock: socket.socket, target: Name, rule: str) -> Pair:
        """Where a socket that is bound in the slice finds a peer. OSError: not to be had, ENOBUFS: too many,
        EADDRNOTAVAIL: it is bound elsewhere."""
        key, at = (cookie_of(sock), target), name_of(sock)
        if not at.port or not in_slice(at.address, self._base):
            raise OSError(errno.EADDRNOTAVAIL, "")
        if key in self._pairs and self._pairs[key].at != at:
            self._close(key)  # it was bound anew
        if key not in self._pairs:
            if len(self._pairs) >= min(_MOST, share()):
                self._close(next(iter(self._pairs)))
            self._pairs[key] = self._made(key, at, rule)
        self._pairs.move_to_end(key)
        return self._pairs[key]

    def cut(self, stands: Callable[[int, Name], bool]) -> None:
        """Close the pairs of whose socket's cookie and peer this is not so."""
        for key in list(self._pairs):
            if not stands(*key):
                self._close(key)

    def close(self) -> None:
        """What has been sent goes first."""
        for key in list(self._pairs):
            self._move_out(key)
            self._close(key)
        self._inners.close()

    def forget_after_fork(self) -> None:
        """Close the descriptors, and nothing else."""
        for pair in self._pairs.values():
            for sock in (pair.inner, pair.upstream):
                sock.close()
        self._inners.close()

    def _made(self, key: Key, at: Name, rule: str) -> Pair:
        target = key[1]
        with ExitStack() as undo:
            family = socket.AF_INET if target.address.version == 4 else socket.AF_INET6
            upstream = undo.enter_context(bounded(family, socket.SOCK_DGRAM))
            upstream.connect((str(target.address), target.port))
            inner = self._inners.take(at)
            undo.pop_all()
        self._loop.watch(inner.fileno(), partial(self._move_out, key))
        self._loop.watch(upstream.fileno(), partial(self._move_back, key))
        return Pair(inner, upstream, rule, at)

    def _move_out(self, key: Key, _: int = 0) -> None:
        pair = self._pairs[key]
        self._move(key, pair.inner, pair.upstream, self._flows[0], (True, None))  # sent, and then closed

    def _move_back(self, key: Key, _: int) -> None:
        pair = self._pairs[key]
        self._move(key, pair.upstream, pair.inner, self._flows[1], (True,))

    def _move(
        self, key: Key, source: socket.socket, other: socket.socket, flow: Flow, at_home: tuple[bool | None, ...]
    ) -> None:
        """INVARIANT own-slice: while the guest's socket does not hear us, whoever of the host is bound to every address
        may: so it is asked for before each goes on."""
        for _ in range(_PIECES):
            if flow.delays(source):
                return
            try:
                data = source.recv(_SIZE)
            except BlockingIOError:
                return
            except OSError:
                continue  # a peer that was not there when it was sent to
            if self._hears(key) not in at_home:
                return self._close(key)
            if flow.takes(len(data)):
                with suppress(OSError):
                    flow.moved(other.send(data), self._pairs[key].rule)

    def _hears(self, key: Key) -> bool | None:
        pair = self._pairs[key]
        try:
            return self._whose(pair.at, name_of(pair.inner))
        except OSError:  # the kernel does not tell
            return False

    def _close(self, key: Key) -> None:
        pair = self._pairs.pop(key, None)
        if pair is not None:
            self._lost(name_of(pair.inner))
            for sock in (pair.inner, pair.upstream):
                self._loop.forget(sock.fileno())
            self._inners.give(pair.inner)
            pair.upstream.close()
