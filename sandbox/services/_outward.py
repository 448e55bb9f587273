"""Which sockets of a guest speak with the outside, and with whom: so that a rule that is taken back ends what it had
allowed."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from .._addresses import Address
from ._diag import Diag
from ._names_of_sockets import Name
from ._sockets import borrowed, cookie_of, dissolve

_SWEEP, _MOST = 1024, 16384
_LOOKS, _LOOKING = 3, 5.0  # at the descriptors of a guest, which may move them meanwhile; seconds in all
_PIDFD_GETFD = 438
_LIBC = ctypes.CDLL(None, use_errno=True)
_INODE = re.compile(r"socket:\[([0-9]+)\]")


class Reach(NamedTuple):
    """How a peer was allowed: by these names of its address; `proxied`: for requests that a proxy judges."""

    names: tuple[str, ...]
    proxied: bool = False


Peers = Mapping[Name, Reach]
Refused = Callable[[str, Peers], list[Name]]
Hear = Callable[[socket.socket, set[Address]], None]


@dataclass
class Outward:
    """`peers`: whom a UDP socket has sent to, the last few; `connected`: whom it speaks with by calls that nobody
    judges."""

    protocol: str
    inode: int
    peers: dict[Name, Reach] = field(default_factory=dict)
    connected: dict[Name, Reach] = field(default_factory=dict)
    shares: dict[int, bytes] = field(default_factory=dict)

    def every(self) -> dict[Name, Reach]:
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
        known = self._sockets.get(cookie)
        if known is not None:
            return known
        if len(self._sockets) >= self._sweep_at:
            self._sweep()
        return self._sockets.setdefault(cookie, Outward(protocol, os.fstat(sock.fileno()).st_ino))

    def _sweep(self) -> None:
        alive = self._diag.alive()
        self._sockets = {cookie: outward for cookie, outward in self._sockets.items() if cookie in alive}
        self._sweep_at = min(max(_SWEEP, 2 * len(self._sockets)), _MOST)
        if len(self._sockets) >= _MOST:
            raise OSError(errno.ENOBUFS, "")

    def peers_of(self, cookie: int) -> Peers:
        outward = self._sockets.get(cookie)
        return {} if outward is None else outward.every()

    def __contains__(self, cookie: int) -> bool:
        return cookie in self._sockets

    def cut(self, root: int, lock: threading.Lock, refused: Refused, hear: Hear) -> bool:
        """Part the sockets that process `root` or a descendant of it holds from the peers that `refused` gives of each;
        `hear` makes one hear these addresses alone. False: one that stands is held where it cannot be reached."""
        with lock:
            every = [(cookie, each.inode, each.protocol, each.every()) for cookie, each in self._sockets.items()]
        standing = {cookie: inode for cookie, inode, protocol, peers in every if refused(protocol, peers)}
        deadline = time.monotonic() + _LOOKING
        for _ in range(_LOOKS):
            inodes = set(standing.values())
            for sock in sockets_of(root, inodes) if standing else ():
                with sock, lock:
                    if self._part(sock, refused, hear):
                        standing.pop(cookie_of(sock), None)
                if time.monotonic() > deadline or not standing:
                    break
        return not standing or not standing.keys() & self._diag.alive()

    def _part(self, sock: socket.socket, refused: Refused, hear: Hear) -> bool:
        """Is it done?"""
        outward = self._sockets.get(cookie_of(sock))
        if outward is None:
            return False  # another with the number, or it was forgotten: it has no port
        lost = set(refused(outward.protocol, outward.every()))
        for peer in lost & outward.peers.keys():
            del outward.peers[peer]
        if sock.type == socket.SOCK_DGRAM:
            hear(sock, {peer.address for peer in outward.every() if peer not in lost})
        if not lost & outward.connected.keys():
            return True
        if not part(sock):
            return False
        outward.connected = {}
        return True


def part(sock: socket.socket) -> bool:
    """Dissolve the association: TCP is reset, and waiters wake (connect(2), AF_UNSPEC). Some kernels answer EBUSY while
    a thread waits on the socket: then it is shut down first, which ends the wait."""
    for attempt in range(3):
        if dissolve(sock) and not _is_connected(sock):
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
    process = os.pidfd_open(pid)
    try:
        copy = _LIBC.syscall(_PIDFD_GETFD, process, fd, 0)
    finally:
        os.close(process)
    if copy < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    try:
        return borrowed(copy)
    finally:
        os.close(copy)
