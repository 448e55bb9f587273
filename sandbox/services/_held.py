"""How many of the sockets that a guest was given it still holds."""

from __future__ import annotations

import errno
import select
import socket


class Held:
    """At most `most` at once. An epoll forgets what it watches when the last copy of the descriptor is closed, in
    whichever process or message that was, and lists the rest in /proc (proc(5), fdinfo)."""

    def __init__(self, most: int) -> None:
        self._most, self._since = most, 0
        self._epoll = select.epoll()

    def add(self, sock: socket.socket) -> None:
        """OSError: EMFILE, as many are held as may be."""
        if self._since >= self._most:
            self._since = self._count()
        if self._since >= self._most:
            raise OSError(errno.EMFILE, "")
        self._epoll.register(sock.fileno(), 0)
        self._since += 1

    def close(self) -> None:
        self._epoll.close()

    def _count(self) -> int:
        with open(f"/proc/self/fdinfo/{self._epoll.fileno()}", "rb") as listing:
            return sum(line.startswith(b"tfd:") for line in listing)
