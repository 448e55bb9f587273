"""The names that a guest is shown where its peer is a relay of ours."""

from __future__ import annotations

import errno
import socket

from .._messages import NetAnswer, NetAsk
from ._names_of_sockets import Name, read_name, write_name
from ._proxied import Proxied
from ._relayed import Ends, Relayed
from ._sockets import peer_of
from ._visitors import Visitors


class RelayedNames:
    """One guest's. In the Supervisor's thread."""

    def __init__(self, visitors: Visitors, relayed: Relayed | None, proxied: Proxied | None) -> None:
        self._visitors, self._relayed, self._proxied = visitors, relayed, proxied

    def name(self, sock: socket.socket, ask: NetAsk) -> NetAnswer:
        ends = self._ends_of(sock, read_name(ask.address, sock.family))
        if ends is None:
            return NetAnswer(-errno.ENOTCONN)
        shown = ends.own if ask.family else ends.peer
        if sock.family == socket.AF_INET and shown.address.version == 6:
            return NetAnswer(-errno.EAFNOSUPPORT)  # whoever came by IPv6 to a listener of IPv4 only has no name there
        return NetAnswer(address=write_name(shown, sock.family))

    def peer_of(self, sock: socket.socket) -> Name | None:
        peer = peer_of(sock)
        ends = self._ends_of(sock, peer) if peer is not None else None
        return ends.peer if ends is not None else peer

    def _ends_of(self, sock: socket.socket, peer: Name) -> Ends | None:
        if sock.type == socket.SOCK_DGRAM and (ends := self._visitors.ends_of(peer)) is not None:
            return ends
        if self._relayed is not None:
            return self._relayed.ends_of(sock, peer)
        return self._proxied.ends_of(sock) if self._proxied is not None else None
