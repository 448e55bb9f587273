"""Making a guest's sockets: of TCP and UDP, in the host's network."""

from __future__ import annotations

import errno
import os
import socket

from .._messages import NetAnswer, NetAsk
from ._held import Held
from ._ingress import attach
from ._outward import Outwards

FAMILIES = (socket.AF_INET, socket.AF_INET6)
_KINDS = (
    *((socket.SOCK_STREAM, protocol) for protocol in (0, socket.IPPROTO_TCP)),
    *((socket.SOCK_DGRAM, protocol) for protocol in (0, socket.IPPROTO_UDP)),
)


class Making:
    """One guest's, whose slice begins at `base`."""

    def __init__(self, base: int, outward: Outwards, held: Held | None) -> None:
        self._base, self._outward, self._held = base, outward, held

    def make(self, ask: NetAsk) -> NetAnswer:
        kind = ask.type & ~socket.SOCK_NONBLOCK
        if ask.family not in FAMILIES or (kind, ask.protocol) not in _KINDS:
            return NetAnswer(-errno.EPROTONOSUPPORT)
        made = socket.socket(ask.family, ask.type, ask.protocol)
        if self._held is not None:
            try:
                self._held.add(made)
            except OSError:
                made.close()
                raise
        if made.gettimeout() is not None:  # whatever the caller's default is
            os.set_blocking(made.fileno(), not ask.type & socket.SOCK_NONBLOCK)
        if kind == socket.SOCK_DGRAM:
            attach(made, self._base, ())
            self._outward.of(made, "udp")
        return NetAnswer(fd=made.detach())
