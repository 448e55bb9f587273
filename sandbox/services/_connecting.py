"""connect(2) of a guest's socket: to the guest's own, or outward, where whom it may speak with is remembered."""

from __future__ import annotations

import errno
import socket

from .._messages import NetAnswer, NetAsk
from ._dialing import Dialing
from ._goals import Goal
from ._home import PROTOCOLS
from ._judging import Judging
from ._meter import Meter
from ._names_of_sockets import Name
from ._outward import Outwards, Reach
from ._relayed_names import RelayedNames
from ._routes import Routes
from ._slice import Slice
from ._sockets import begin_connect, come_home, sockaddr_of

_RELAYED = b"\1"  # in the answer to a connect (core.h)


class Connecting:
    """One guest's. In the Supervisor's thread."""

    def __init__(
        self,
        there: Slice,
        outward: Outwards,
        judging: Judging,
        meter: Meter,
        routes: Routes,
        dialing: Dialing,
        names: RelayedNames,
    ) -> None:
        self._slice, self._outward, self._judging, self._meter = there, outward, judging, meter
        self._routes, self._dialing, self._names = routes, dialing, names

    def connect(self, sock: socket.socket, ask: NetAsk) -> NetAnswer:
        goal = self._routes.reach(sock, ask)
        if goal.inside and sock.type == socket.SOCK_DGRAM:
            come_home(sock, Name(self._slice.beside(goal.name.address), 0))
        inside = goal.inside
        error = begin_connect(sock, sockaddr_of(sock, goal.name)) if inside else self._connect_outward(sock, goal)
        direct = inside or sock.type == socket.SOCK_DGRAM or not self._dialing.is_relayed(goal)
        return NetAnswer(-error, rule=goal.rule, address=b"" if direct else _RELAYED)

    def _connect_outward(self, sock: socket.socket, goal: Goal) -> int:
        """Whom it may be connected to is remembered before, and only forgotten where it surely is not."""
        outward = self._outward.of(sock, PROTOCOLS[sock.type])
        taker = self._dialing.taker(goal) if goal.http else None
        if sock.type == socket.SOCK_STREAM:
            self._meter.connecting()
        target, before = goal.name, outward.connected
        reach = Reach(self._judging.names_by((), target), taker is not None)
        perhaps = reach if before.get(target, reach).proxied else reach._replace(proxied=False)  # if it stood before
        outward.connected = {**before, target: perhaps}
        error = self._dialing.begin(sock, goal, taker)
        if error not in (0, errno.EINPROGRESS):
            outward.connected = before
        elif error == errno.EINPROGRESS:
            outward.connected = {target: reach}
        elif self._names.peer_of(sock) == target:  # else 0 is of one that was begun before
            outward.connected = {target: perhaps}
        return error
