"""UDP sockets of ours in a guest's slice, one for each peer, to which the guest's sockets may be connected."""

from __future__ import annotations

import socket
from contextlib import ExitStack, suppress
from ipaddress import IPv4Address

from ._ingress import attach
from ._names_of_sockets import Name
from ._relay import bounded

_NOWHERE = 0  # 0.0.0.0/24: nothing comes from there
_QUEUED = 1024  # datagrams that one may hold, at most


class Inners:
    """One guest's. INVARIANT own-slice: the port of one that is closed may be had by whoever of the host is bound to
    every address, while a socket of the guest's is still connected to it. So each stays for as long as the guest, deaf
    while nobody uses it, and is used again before another is made."""

    def __init__(self, address: IPv4Address) -> None:
        """`address` is the slice's last."""
        self._address, self._base = str(address), int(address) & ~0xFF
        self._idle: list[socket.socket] = []

    def take(self, at: Name) -> socket.socket:
        """One that is connected to a socket of the guest's. OSError: there is none."""
        inner = self._idle.pop() if self._idle else self._made()
        try:
            inner.connect((str(at.address), at.port))
            attach(inner, self._base, ())
        except OSError:
            self.give(inner)
            raise
        return inner

    def give(self, inner: socket.socket) -> None:
        """It is not used any more."""
        with suppress(OSError):
            attach(inner, _NOWHERE, ())
        with suppress(BlockingIOError):
            for _ in range(_QUEUED):
                _drop_one(inner)
        self._idle.append(inner)

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def _made(self) -> socket.socket:
        with ExitStack() as undo:
            inner = undo.enter_context(bounded(socket.AF_INET, socket.SOCK_DGRAM))
            inner.bind((self._address, 0))
            undo.pop_all()
        return inner


def _drop_one(sock: socket.socket) -> None:
    try:
        sock.recv(1)
    except BlockingIOError:
        raise
    except OSError:
        return  # an answer that nobody was there for
