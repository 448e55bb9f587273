"""What is done to a guest's socket with one call or a few, without waiting."""

from __future__ import annotations

import ctypes
import errno
import os
import select
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import IPv4Address

from ._names_of_sockets import Name, read_plain

_COOKIE = 57  # SO_COOKIE
_LIBC = ctypes.CDLL(None, use_errno=True)
SHARES = (socket.SO_REUSEADDR, socket.SO_REUSEPORT)
_AT_ONCE = struct.pack("ll", 0, 1)


def cookie_of(sock: socket.socket) -> int:
    """The kernel's number of a socket, which no other ever has."""
    return int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, _COOKIE, 8), "little")


def state_of(sock: socket.socket) -> int:
    """Of TCP, as the kernel numbers them: 1 is established."""
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]


def peer_of(sock: socket.socket) -> Name | None:
    """Whom it is connected to, if it is."""
    with suppress(OSError):
        return _named(sock.getpeername())
    return None


def name_of(sock: socket.socket) -> Name:
    return _named(sock.getsockname())


def _named(name: tuple[str, int]) -> Name:
    return Name(read_plain(name[0]), name[1])


class _Plain(socket.socket):
    """Its family and type are numbers: to find their names takes a microsecond, for each look."""

    family = socket.SocketType.family  # type: ignore[assignment]
    type = socket.SocketType.type  # type: ignore[assignment]


def borrowed(fd: int) -> socket.socket:
    """A socket object on a copy of a guest's descriptor. OSError: it is no socket."""
    copy = os.dup(fd)
    try:
        blocking = os.get_blocking(copy)
        sock = _Plain(fileno=copy)
    except OSError:
        os.close(copy)
        raise
    if sock.gettimeout() is not None:  # the caller's default has become the guest's
        os.set_blocking(copy, blocking)
    return sock


def is_free(name: Name, sock: socket.socket) -> bool:
    """But for connections of TCP that are over, where the guest said SO_REUSEADDR."""
    with socket.socket(socket.AF_INET, sock.type) as probe:
        if sock.type == socket.SOCK_STREAM and sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((str(name.address), name.port))
        except OSError as error:
            return error.errno != errno.EADDRINUSE  # EACCES: the guest's own bind will say so
    return True


@contextmanager
def alone(sock: socket.socket) -> Iterator[None]:
    """A port that the kernel chooses is shared with nobody of the host's."""
    shares = [option for option in SHARES if sock.getsockopt(socket.SOL_SOCKET, option)]
    for option in shares:
        sock.setsockopt(socket.SOL_SOCKET, option, 0)
    try:
        yield
    finally:
        for option in shares:
            sock.setsockopt(socket.SOL_SOCKET, option, 1)


def bind_anywhere(sock: socket.socket) -> None:
    with alone(sock):
        sock.bind(("", 0))


def come_home(sock: socket.socket, home: Name) -> None:
    """Move a socket of UDP that is bound to every address, at a port that the kernel chose, to this one address: once
    connected, it would speak from the host's. What the kernel chose is given up with an association (dissolve)."""
    address, port = sock.getsockname()[:2]
    if not port or not read_plain(address).is_unspecified or not dissolve(sock):
        return
    with alone(sock):
        try:
            sock.bind(sockaddr_of(sock, home._replace(port=port)))
        except OSError:  # somebody else has it there
            sock.bind(sockaddr_of(sock, home))


def dissolve(sock: socket.socket) -> bool:
    """Its association (connect(2), AF_UNSPEC)."""
    return bool(_LIBC.connect(sock.fileno(), bytes(16), 16) == 0)


def take_mapped(sock: socket.socket) -> None:
    if sock.family == socket.AF_INET6:
        with suppress(OSError):  # it is bound already
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)


def sockaddr_of(sock: socket.socket, name: Name) -> tuple[str, int]:
    mapped = sock.family == socket.AF_INET6 and isinstance(name.address, IPv4Address)
    return f"::ffff:{name.address}" if mapped else str(name.address), name.port


@contextmanager
def without_waiting(sock: socket.socket) -> Iterator[None]:
    """What is done on a guest's socket does not wait."""
    blocking, patience = os.get_blocking(sock.fileno()), sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, 16)
    # The guest may clear O_NONBLOCK meanwhile, but not change the time-out: then it is one tick of the kernel's.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _AT_ONCE)
    sock.setblocking(False)
    try:
        yield
    finally:
        os.set_blocking(sock.fileno(), blocking)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, patience)


def begin_connect(sock: socket.socket, address: tuple[str, int]) -> int:
    """Begin to connect, without waiting: 0 or the errno. Who does not block hears how it ends by another call."""
    blocking = os.get_blocking(sock.fileno())
    with without_waiting(sock):
        error = sock.connect_ex(address)
        if error == errno.EINPROGRESS and blocking:  # the kernel calls it connected when it has been asked again
            error = sock.connect_ex(address)
            return errno.EINPROGRESS if error == errno.EALREADY else error
        return error


def is_settled(sock: socket.socket, patience: int = 0) -> bool:
    """Has a connect come to an end, good or bad, within these milliseconds?"""
    poll = select.poll()
    poll.register(sock, select.POLLOUT)
    return bool(poll.poll(patience))
