"""What of a guest goes through relays: its connections with the outside where bytes are limited."""

from __future__ import annotations

import errno
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from ipaddress import IPv4Address
from typing import NamedTuple, Union

from .._loop import Loop
from .._publish import Publish
from ._datagrams import Datagrams, Whose
from ._inbound import Find, Inbound, reset
from ._meter import Meter
from ._names_of_sockets import Name
from ._pump import Pump
from ._relay import Joined, Relays, share
from ._sockets import cookie_of, name_of

_LINGER = 4.0  # seconds that what a guest has sent may need when it has ended
_ENDS_MAX = 16384
Key = Union[int, "tuple[int, Name]"]
"""What a relay is found by: the cookie of the guest's socket, or the kind and the name of ours."""


class Ends(NamedTuple):
    """What a guest is shown as the two ends of a connection that is relayed."""

    peer: Name
    own: Name


class Shown(OrderedDict[Key, Ends]):
    """The ends of a guest's relayed connections, of so many the latest."""

    def show(self, key: Key, ends: Ends) -> None:
        self[key] = ends
        if len(self) > _ENDS_MAX:
            self.popitem(last=False)


class Relayed:
    """One guest's. `close` and `cut` may be called from any thread, the rest in the loop's."""

    def __init__(
        self,
        loop: Loop,
        address: IPv4Address,
        meter: Meter,
        listeners: Sequence[tuple[Publish, socket.socket]],
        find: Find,
        whose: Whose,
    ) -> None:
        """`address` is the slice's last; `listeners` and `find` as Inbound has them, `whose` as Datagrams has it."""
        self._loop, self._meter = loop, meter
        self._relays = Relays(loop, address)
        self._inbound = Inbound(loop, address, listeners, find, self._came)
        self._pumps: dict[Pump, tuple[Key, Ends]] = {}
        self._datagrams = Datagrams(loop, address, meter.flows, whose, self._lost)
        self._ends = Shown()
        self._left = False
        self._gone = threading.Event()

    @property
    def lingers(self) -> bool:
        """Is there anything that is still to be sent, perhaps?"""
        return bool(self._pumps)

    def connect(self, sock: socket.socket, target: Name, rule: str, taker: Joined | None = None) -> int:
        """0 or the errno of connect(2) without waiting; `sock` is bound in the slice. `taker` gets the end that is not
        the guest's, and upstream, where requests are judged in between."""
        if len(self._pumps) + len(self._relays) >= share():
            return errno.ENOBUFS
        return self._relays.begin(sock, target, partial(self._joined, cookie_of(sock), target, rule, taker))

    def listen(self, port: int) -> None:
        """The guest listens at this port of its own, which may be published."""
        self._inbound.listen(port)

    def way(self, sock: socket.socket, target: Name, rule: str) -> Name:
        """Where datagrams for a target are to be sent by `sock`, which is bound in the slice."""
        pair = self._datagrams.way(sock, target, rule)
        at = name_of(pair.inner)
        self._ends.show((socket.SOCK_DGRAM, at), Ends(target, name_of(pair.upstream)))
        return at

    def cut(self, stands: Callable[[str, int, Name], bool]) -> bool:
        """End what the guest began, of whose protocol, socket's cookie and target this is not so. False: it could not
        be done."""
        return self._loop.perform(partial(self._cut_here, stands), _LINGER)

    def _cut_here(self, stands: Callable[[str, int, Name], bool]) -> None:
        self._datagrams.cut(partial(stands, "udp"))
        self._relays.cut(partial(stands, "tcp"))
        for pump, (key, ends) in list(self._pumps.items()):
            if isinstance(key, int) and not stands("tcp", key, ends.peer):
                pump.end(reset=True)

    def ends_of(self, sock: socket.socket, peer: Name) -> Ends | None:
        """For a socket whose peer is, to the kernel, a relay at `peer`."""
        return self._ends.get((sock.type, peer)) or self._ends.get(cookie_of(sock))

    def _joined(
        self,
        cookie: int,
        target: Name,
        rule: str,
        taker: Joined | None,
        inner: socket.socket,
        upstream: socket.socket,
    ) -> None:
        ends = Ends(target, name_of(upstream))
        if taker is not None:
            try:
                ours, theirs = socket.socketpair()
            except OSError:  # no descriptor is left
                reset(inner)
                return reset(upstream)
            taker(theirs, upstream)
            upstream = ours
        self._pump(cookie, ends, rule, inner, upstream)

    def _came(self, inner: socket.socket, stranger: socket.socket, rule: Publish, peer: Name) -> None:
        if len(self._pumps) < share() and self._meter.accepted(str(rule)):
            own = Name(name_of(stranger).address, rule.guest)
            self._pump((socket.SOCK_STREAM, name_of(inner)), Ends(peer, own), str(rule), inner, stranger)
        else:
            inner.close()
            reset(stranger)

    def _pump(self, key: Key, ends: Ends, rule: str, inner: socket.socket, outer: socket.socket) -> None:
        self._ends.show(key, ends)
        pump = Pump(self._loop, inner, outer, self._meter.flows, rule, self._ended)
        self._pumps[pump] = key, ends
        pump.turn()

    def _lost(self, at: Name) -> None:
        self._ends.pop((socket.SOCK_DGRAM, at), None)

    def _ended(self, pump: Pump) -> None:
        key, _ = self._pumps.pop(pump, (None, None))
        if isinstance(key, tuple):  # a name of ours, which another may have next
            self._ends.pop(key, None)
        if self._left and not self._pumps:
            self._finish()

    # ---- the end --------------------------------------------------------------------------------------------------

    def close(self, *, forked: bool = False) -> None:
        """What the guest has sent goes on for a while; outside of the loop's thread this waits for it."""
        if forked:
            self._relays.forget_after_fork()
            self._inbound.forget_after_fork()
            self._datagrams.forget_after_fork()
            for pump in self._pumps:
                pump.forget_after_fork()
            return
        if self._loop.is_current():
            return self._leave()
        self._loop.call_at(time.monotonic(), self._leave)
        self._gone.wait(2 * _LINGER)

    def _leave(self) -> None:
        self._left = True
        self._relays.close()
        self._inbound.close()
        self._datagrams.close()
        timer = self._loop.call_at(time.monotonic() + _LINGER, self._give_up)
        for pump in list(self._pumps):
            pump.leave()
        if not self._pumps:
            timer.cancel()
            self._finish()

    def _give_up(self) -> None:
        for pump in list(self._pumps):
            pump.end(reset=True)

    def _finish(self) -> None:
        for flow in self._meter.flows:
            flow.close()
        self._gone.set()
