"""Whom a guest's socket hears, beside the guest itself."""

from __future__ import annotations

import socket
from collections.abc import Iterable

from .._addresses import Address
from ._ingress import attach
from ._judging import Judging
from ._meter import Meter
from ._names_of_sockets import Name
from ._outward import Outward, Outwards, Reach
from ._relayed import Relayed
from ._sockets import cookie_of
from ._tcp_ends import Carriage

_PEERS_MAX = 64  # of a UDP socket


class Hearing:
    """One guest's, whose slice begins at `base`."""

    def __init__(
        self,
        base: int,
        outward: Outwards,
        judging: Judging,
        meter: Meter,
        carriage: Carriage | None,
        relayed: Relayed | None,
    ) -> None:
        self._base, self._outward, self._judging = base, outward, judging
        self._meter, self._carriage, self._relayed = meter, carriage, relayed

    def let_in(self, sock: socket.socket, peer: Name) -> None:
        """Answers of whom it sends to; of the last few, where these are many."""
        self._meter.sending()
        if self._carriage is not None:
            self._carriage.lose()
        outward = self._outward.of(sock, "udp")
        known = outward.peers.get(peer)
        if known is None:
            self._meter.connecting()
        reach = Reach(self._judging.names_by(known.names if known else (), peer))
        if reach == known and peer == next(reversed(outward.peers)):
            return  # it hears them already
        before = outward.addresses() if reach != known else None
        # Whom it has sent to last is the last to be forgotten. Made anew: others look without the lock, and miss none.
        outward.peers = {**{each: by for each, by in outward.peers.items() if each != peer}, peer: reach}
        if before is None:
            return
        self._forget_oldest(sock, outward)
        if outward.addresses() != before:
            self.hear(sock, outward.addresses())

    def _forget_oldest(self, sock: socket.socket, outward: Outward) -> None:
        forgotten = list(outward.peers)[:-_PEERS_MAX]
        for oldest in forgotten:
            del outward.peers[oldest]
        if forgotten and self._relayed is not None:
            mine, every = cookie_of(sock), outward.every()
            self._relayed.cut(lambda _, cookie, peer: cookie != mine or peer in every)

    def hear(self, sock: socket.socket, peers: Iterable[Address]) -> None:
        """The guest, and of others these alone; of those that are relayed none is heard without us."""
        attach(sock, self._base, peers if self._relayed is None else ())
