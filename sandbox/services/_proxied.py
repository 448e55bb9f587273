"""Connections of a guest to hosts of HTTP rules: relayed to its proxy, which gets both ends."""

from __future__ import annotations

import errno
import math
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from ipaddress import IPv4Address

from .._loop import Loop
from .._messages import HTTPService
from .._verdicts import DEFAULT
from ._diag import Diag
from ._names_of_sockets import Name
from ._outward import Peers, Reach
from ._outward import Refused as RefusedPeers
from ._refused import Refused
from ._relay import Joined, Relays, share
from ._relayed import Ends, Shown
from ._sockets import cookie_of, name_of

_CLOSING = 4.0  # seconds
_LEAVING, _LOOK = 2.0, 0.005  # seconds: for a proxy to close what is revoked; between two looks
_SWEEP = 1024  # connections that it was given


class Proxied:
    """One guest's, with its proxy, which is its to close. `close`, `cut` and `settle` may be called from any thread,
    the rest in the loop's."""

    def __init__(self, loop: Loop, address: IPv4Address, http: HTTPService, diag: Diag) -> None:
        """`address` is the slice's last."""
        self._loop, self._http, self._diag = loop, http, diag
        self._relays = Relays(loop, address)
        self._ends = Shown()
        self._given: dict[int, Peers] = {}  # by the cookie of the end that speaks with the outside
        self._sweep_at = _SWEEP

    def taker(self, target: Name, reach: Reach, names: Sequence[str]) -> Joined:
        """What hands the two ends of a connection to the proxy, which may ask for these of the names that it was
        allowed by. INVARIANT requests-are-judged: what a rule of HTTP lets through goes there, or nowhere: Refused."""
        if not self._http.stands:
            raise Refused(f"{DEFAULT}: no proxy")
        return partial(self._give, {target: reach}, partial(self._http.take, port=target.port, names=names))

    def connect(self, sock: socket.socket, target: Name, taker: Joined) -> int:
        """0 or the errno of connect(2) without waiting; `sock` is bound in the slice."""
        if len(self._relays) >= share():
            return errno.ENOBUFS
        return self._relays.begin(sock, target, partial(self._joined, cookie_of(sock), target, taker))

    def ends_of(self, sock: socket.socket) -> Ends | None:
        return self._ends.get(cookie_of(sock))

    def _joined(
        self, cookie: int, target: Name, taker: Joined, inner: socket.socket, upstream: socket.socket
    ) -> None:
        self._ends.show(cookie, Ends(target, name_of(upstream)))
        taker(inner, upstream)

    def _give(self, peers: Peers, take: Joined, inner: socket.socket, upstream: socket.socket) -> None:
        self._given[cookie_of(upstream)] = peers
        if len(self._given) > self._sweep_at:
            with suppress(OSError):  # no descriptor is left: they are remembered
                alive = self._diag.alive()
                self._given = {given: each for given, each in self._given.items() if given in alive}
            self._sweep_at = max(_SWEEP, 2 * len(self._given))
        take(inner, upstream)

    def cut(self, stands: Callable[[str, int, Name], bool]) -> bool:
        """End what is being made and may not stand; the rest ends with the guest's own socket. False: it could not be
        done."""
        return self._loop.perform(lambda: self._relays.cut(partial(stands, "tcp")), _CLOSING)

    def settle(self, refused: RefusedPeers) -> None:
        """The proxy closes its connections to whom the rules refuse. INVARIANT revoked-is-cut: one that does not is
        ended, and with it all that it has."""
        lost = {given for given, peers in self._given.copy().items() if refused("tcp", peers)}
        told, ends_at = False, math.inf
        while lost and (kept := lost & self._diag.alive()):
            if time.monotonic() > ends_at:
                return self._http.close()
            told = told or self._http.end([*kept])
            ends_at = min(ends_at, time.monotonic() + _LEAVING)  # since it was asked first, which may wait
            time.sleep(_LOOK)

    def close(self, *, forked: bool = False) -> None:
        try:
            if forked:
                self._relays.forget_after_fork()
            else:
                self._loop.perform(self._relays.close, _CLOSING)  # one that does not answer does it when it does
        finally:
            self._http.close(forked=forked)
