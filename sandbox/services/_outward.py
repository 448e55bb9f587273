"""Which sockets of a guest speak with the outside, and with whom: so that a rule that is taken back ends what it had
allowed."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import socket
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from .._addresses import Address
from ._diag import Diag
from ._names_of_sockets import Name
from ._sockets import borrowed, cookie_of

_SWEEP, _MOST = 1024, 16384
_PIDFD_GETFD = 438
_INODE = re.compile(r"socket:\[([0-9]+)\]")


@dataclass
class Outward:
    """`peers`: whom a UDP socket has sent to, the last few, and by which names it was allowed; `connected`: whom it
    speaks with by calls that nobody judges."""

    protocol: str
    inode: int
    peers: dict[Name, tuple[str, ...]] = field(default_factory=dict)
    connected: dict[Name, tuple[str, ...]] = field(default_factory=dict)
    shares: dict[int, bytes] = field(default_factory=dict)

    def every(self) -> dict[Name, tuple[str, ...]]:
        return {**self.peers, **self.connected}

    def addresses(self) -> set[Address]:
        """Whom it may hear."""
        return {peer.address for peer in self.every()}


class Outwards:
    """By the kernel's cookie. What has ended is forgotten when many have been made."""

    def __init__(self, diag: Diag) -> None:
        self._diag = diag
        self._sockets: dict[int, Outward] = {}
        self._sweep_at = _SWEEP

    def of(self, sock: socket.socket, protocol: str) -> Outward:
        """ENOBUFS: too many stand."""
        cookie = cookie_of(sock)
        if cookie not in self._sockets and len(self._sockets) >= self._sweep_at:
            self._sweep()
        return self._sockets.setdefault(cookie, Outward(protocol, os.fstat(sock.fileno()).st_ino))

    def _sweep(self) -> None:
        alive = self._diag.alive()
        self._sockets = {cookie: outward for cookie, outward in self._sockets.items() if cookie in alive}
        self._sweep_at = min(max(_SWEEP, 2 * len(self._sockets)), _MOST)
        if len(self._sockets) >= _MOST:
            raise OSError(errno.ENOBUFS, "")

    def __contains__(self, cookie: int) -> bool:
        return cookie in self._sockets

    def snapshot(self) -> list[tuple[int, int, str, dict[Name, tuple[str, ...]]]]:
        """Cookie, inode, protocol and peers of each."""
        return [(cookie, each.inode, each.protocol, each.every()) for cookie, each in self._sockets.items()]

    def get(self, cookie: int) -> Outward | None:
        return self._sockets.get(cookie)


def part(sock: socket.socket) -> bool:
    """Dissolve the association: TCP is reset, and waiters wake (connect(2), AF_UNSPEC). Some kernels answer EBUSY while
    a thread waits on the socket: then it is shut down first, which ends the wait."""
    for attempt in range(3):
        if ctypes.CDLL(None, use_errno=True).connect(sock.fileno(), bytes(16), 16) == 0 and not _is_connected(sock):
            return True
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
        time.sleep(0.001 * attempt)
    return False


def _is_connected(sock: socket.socket) -> bool:
    try:
        sock.getpeername()
    except OSError as error:
        return error.errno != errno.ENOTCONN
    return True


# ---- descriptors of other processes ---------------------------------------------------------------------------------


def sockets_of(root: int, inodes: Collection[int]) -> Iterator[socket.socket]:
    """The sockets with these inodes that a process or a descendant of it holds, but for those that cannot be had."""
    for pid in _tree(root):
        for fd, inode in _socket_numbers(pid):
            if inode in inodes:
                with suppress(OSError):
                    yield _taken(pid, fd)


def _tree(root: int) -> Sequence[int]:
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdecimal():
            with suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
                children.setdefault(int(file.read().rpartition(b")")[2].split()[1]), []).append(int(name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def _socket_numbers(pid: int) -> Iterator[tuple[int, int]]:
    with suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                match = _INODE.fullmatch(os.readlink(f"/proc/{pid}/fd/{name}"))
                if match:
                    yield int(name), int(match[1])


def _taken(pid: int, fd: int) -> socket.socket:
    libc = ctypes.CDLL(None, use_errno=True)
    process = os.pidfd_open(pid)
    try:
        copy = libc.syscall(_PIDFD_GETFD, process, fd, 0)
    finally:
        os.close(process)
    if copy < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    try:
        return borrowed(copy)
    finally:
        os.close(copy)
