"""The way of a connection or a datagram to its goal: the address that a guest's socket has for it, and where it goes
first."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address

from .._messages import NetAnswer, NetAsk
from ._goals import Goal, Goals
from ._hearing import Hearing
from ._home import Home
from ._names_of_sockets import Name, read_name, read_plain, write_name
from ._relayed import Relayed
from ._slice import ONE, Slice
from ._sockets import bind_anywhere, come_home, take_mapped


class Routes:
    """One guest's. In the Supervisor's thread."""

    def __init__(self, there: Slice, home: Home, goals: Goals, hearing: Hearing, relayed: Relayed | None) -> None:
        self._slice, self._home, self._goals, self._hearing, self._relayed = there, home, goals, hearing, relayed

    def reach(self, sock: socket.socket, ask: NetAsk) -> Goal:
        """The target, and a socket that may speak and listen to it."""
        name = read_name(ask.address, sock.family)
        goal = self._goals.goal(name, sock, ask)
        target = goal.name
        if isinstance(target.address, IPv4Address):
            take_mapped(sock)
        if goal.inside:
            # At a published port of IPv4, too: there the guest is known by its slice.
            if target.address.version == 4:
                own = self._slice.own(name)
                self._home.stand(sock, self._slice.beside(own.address) if own is not None else self._slice.at(ONE))
        elif sock.type == socket.SOCK_DGRAM:
            if self._relayed is None and sock.getsockname()[1] == 0:
                bind_anywhere(sock)
            self._hearing.let_in(sock, target)
        return goal

    def through(self, sock: socket.socket, goal: Goal) -> Name:
        """Where datagrams for a target go first."""
        if self._relayed is None or goal.inside:
            return goal.name
        take_mapped(sock)
        come_home(sock, Name(self._slice.at(ONE), 0))  # a send without an address has bound it
        self._home.stand(sock, self._slice.at(ONE))
        return self._relayed.way(sock, goal.name, goal.rule)

    def send(self, sock: socket.socket, ask: NetAsk) -> NetAnswer:
        if sock.type != socket.SOCK_DGRAM:
            return NetAnswer(address=ask.address)  # the kernel passes it over, or says that it is not connected
        goal = self.reach(sock, ask)
        target = self.through(sock, goal)
        return NetAnswer(address=write_name(target, sock.family) + self._source(sock, target), rule=goal.rule)

    def _source(self, sock: socket.socket, target: Name) -> bytes:
        """What a datagram comes from where its socket is bound to every address: the slice lets in no other."""
        if not self._slice.holds(target.address) or not read_plain(sock.getsockname()[0]).is_unspecified:
            return b""
        return self._slice.beside(target.address).packed
