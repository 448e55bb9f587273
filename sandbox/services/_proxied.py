"""Connections of a guest to hosts of HTTP rules: relayed to its proxy, which gets both ends."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Sequence
from functools import partial
from ipaddress import IPv4Address

from .._loop import Loop
from .._messages import HTTPService
from .._verdicts import DEFAULT
from ._names_of_sockets import Name
from ._refused import Refused
from ._relay import Joined, Relays, share
from ._relayed import Ends, Shown
from ._sockets import cookie_of, name_of

_CLOSING = 4.0  # seconds


class Proxied:
    """One guest's, with its proxy, which is its to close. `close` and `cut` may be called from any thread, the rest in
    the loop's."""

    def __init__(self, loop: Loop, address: IPv4Address, http: HTTPService) -> None:
        """`address` is the slice's last."""
        self._loop, self._http = loop, http
        self._relays = Relays(loop, address)
        self._ends = Shown()

    def taker(self, target: Name, names: Sequence[str]) -> Joined:
        """What hands the two ends of a connection to the proxy. INVARIANT requests-are-judged: what a rule of HTTP lets
        through goes there, or nowhere: Refused."""
        if not self._http.stands:
            raise Refused(f"{DEFAULT}: no proxy")
        return partial(self._http.take, port=target.port, names=names)

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

    def cut(self, stands: Callable[[str, int, Name], bool]) -> bool:
        """End what is being made and may not stand; the rest ends with the guest's own socket. False: it could not be
        done."""
        return self._loop.perform(lambda: self._relays.cut(partial(stands, "tcp")), _CLOSING)

    def close(self, *, forked: bool = False) -> None:
        try:
            if forked:
                self._relays.forget_after_fork()
            else:
                self._loop.perform(self._relays.close, _CLOSING)  # one that does not answer does it when it does
        finally:
            self._http.close(forked=forked)
