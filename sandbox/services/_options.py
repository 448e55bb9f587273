"""Options of a guest's socket that the Supervisor sets, or not."""

from __future__ import annotations

import errno
import socket

from .._messages import NetAnswer, NetAsk
from ._sockets import SHARES, borrowed

_OPTIONS = (socket.SO_LINGER, socket.SO_SNDTIMEO, *SHARES)


def set_option(sock: socket.socket, ask: NetAsk) -> NetAnswer:
    """INVARIANT no-linger: SO_LINGER may wait for nothing, since what a guest leaves behind is closed in this thread: a
    time of more than nothing is none."""
    if ask.family not in _OPTIONS:
        return NetAnswer(-errno.ENOPROTOOPT)
    waits = ask.family == socket.SO_LINGER and any(ask.address[4:8])
    sock.setsockopt(socket.SOL_SOCKET, ask.family, bytes(8) if waits else ask.address)
    return NetAnswer()


def without_network(ask: NetAsk) -> NetAnswer | None:
    """What is served where the guest's network is not. None: nothing but this."""
    if ask.kind != "option" or ask.family != socket.SO_LINGER or ask.fd is None:
        return None
    try:
        with borrowed(ask.fd) as sock:
            return set_option(sock, ask)
    except OSError as error:
        return NetAnswer(-abs(error.errno or errno.EIO))
