"""Where a call of a guest's goes, and the rule that lets it."""

from __future__ import annotations

import errno
import socket
from typing import NamedTuple

from .._addresses import reached
from .._messages import NetAsk
from ._diag import Diag
from ._home import PROTOCOLS, Home
from ._judging import Judging
from ._names_of_sockets import Name
from ._published import Published
from ._refused import Refused
from ._slice import Slice
from ._visitors import Visitors


class Goal(NamedTuple):
    """Where a connect or a datagram goes, and the rule that lets it; `inside`: to the guest's own; `http`: requests
    only."""

    name: Name
    rule: str
    inside: bool = False
    http: bool = False


class Goals:
    """One guest's. In the Supervisor's thread."""

    def __init__(
        self, there: Slice, diag: Diag, published: Published, home: Home, visitors: Visitors, judging: Judging
    ) -> None:
        self._slice, self._diag, self._published, self._home = there, diag, published, home
        self._visitors, self._judging = visitors, judging

    def goal(self, name: Name, sock: socket.socket, ask: NetAsk) -> Goal:
        """Whoever listens in the guest, or has sent to its published port, else what a rule allows."""
        way = self._visitors.way(sock, name) if sock.type == socket.SOCK_DGRAM else None
        if way is not None:
            return Goal(*way, inside=True)
        own = self._slice.own(name)
        if own is not None and own.port == 0:
            return Goal(own, "loopback", True)  # where nobody can be: the kernel says so
        found = self._standing(name, own, sock) if own is not None else None
        if found is not None:
            return Goal(found, "loopback", True)
        host = name._replace(address=reached(name.address))
        verdict = self._judging.verdict(PROTOCOLS[sock.type], host)
        if verdict.allowed:
            return Goal(host, verdict.rule, http=verdict.http)
        if own is not None:  # INVARIANT own-slice: whoever of the host is bound to every address would be reached there
            if ask.kind == "send":
                return Goal(self._slice.nobody, "loopback", True)  # which takes it, as nobody would
            raise OSError(errno.ECONNREFUSED, "")
        raise Refused(verdict.rule)

    def _standing(self, name: Name, own: Name, sock: socket.socket) -> Name | None:
        """Where the guest is met at a name of its own."""
        six = name.address.version == 6
        found = next((at for at in (own, self._slice.dual(own)) if self._home.stands(at, sock, six=six)), None)
        return found or next(self._published.targets(name, sock, self._diag), None)
