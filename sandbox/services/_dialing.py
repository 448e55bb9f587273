"""How a connection to the outside begins: a guest's socket makes it itself, or a relay does."""

from __future__ import annotations

import errno
import socket

from .._verdicts import DEFAULT
from ._goals import Goal
from ._home import Home
from ._ingress import attach
from ._judging import Judging
from ._proxied import Proxied
from ._refused import Refused
from ._relay import CLOSE, Joined
from ._relayed import Relayed
from ._routes import Routes
from ._slice import ONE, Slice
from ._sockets import begin_connect, cookie_of, sockaddr_of, state_of, take_mapped
from ._tcp_ends import Carriage


class Dialing:
    """One guest's. In the Supervisor's thread."""

    def __init__(
        self,
        there: Slice,
        home: Home,
        judging: Judging,
        routes: Routes,
        carriage: Carriage | None,
        relayed: Relayed | None,
        proxied: Proxied | None,
    ) -> None:
        self._slice, self._home, self._judging, self._routes = there, home, judging, routes
        self._carriage, self._relayed, self._proxied = carriage, relayed, proxied

    def is_relayed(self, goal: Goal) -> bool:
        """Where a connection goes there."""
        return self._relayed is not None or goal.http

    def taker(self, goal: Goal) -> Joined:
        if self._proxied is None:
            raise Refused(f"{DEFAULT}: no proxy")
        return self._proxied.taker(goal.name, *self._judging.requestable(goal.name))

    def begin(self, sock: socket.socket, goal: Goal, taker: Joined | None) -> int:
        """0 or the errno of connect(2), without waiting."""
        anew = self._carriage is not None and sock.type == socket.SOCK_STREAM and state_of(sock) == CLOSE
        error = self._begin_by(sock, goal, taker)
        if anew and self._carriage is not None and error in (0, errno.EINPROGRESS):
            self._carriage.begin(cookie_of(sock), goal.rule)
        return error

    def _begin_by(self, sock: socket.socket, goal: Goal, taker: Joined | None) -> int:
        if sock.type == socket.SOCK_DGRAM or (self._relayed is None and taker is None):
            if sock.type == socket.SOCK_STREAM and self._home.has_bound(sock) and state_of(sock) == CLOSE:
                attach(sock, self._slice.base, [goal.name.address])  # its answer; a listener hears the slice alone
            return begin_connect(sock, sockaddr_of(sock, self._routes.through(sock, goal)))
        take_mapped(sock)
        self._home.stand(sock, self._slice.at(ONE))
        if self._relayed is not None:
            return self._relayed.connect(sock, goal.name, goal.rule, taker)
        assert self._proxied is not None and taker is not None
        return self._proxied.connect(sock, goal.name, taker)
