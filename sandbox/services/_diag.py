"""Who is bound at an address, and which sockets there are: questions to the kernel's sock_diag(7)."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address
from itertools import product
from typing import NamedTuple

from .._addresses import Address
from ._names_of_sockets import four

SOCK_DIAG, _BY_FAMILY, _REQUEST, _DUMP, _DONE = 4, 20, 1, 0x300, 3
_FAMILIES = (socket.AF_INET, socket.AF_INET6)
_FOUR, _SIX = map(int, _FAMILIES)
_TCP = int(socket.IPPROTO_TCP)
_EVERY_STATE, _TIME_WAIT, _NO_COOKIE = 0xFFFFFFFF, 6, b"\xff" * 8
_HEAD = struct.Struct("=IHHII")  # struct nlmsghdr
_QUESTION = struct.Struct("=IHHIIBBBxIHH16s16s4x8s")  # and struct inet_diag_req_v2
_ERROR = struct.Struct("=i")  # the first of struct nlmsgerr
_ID = struct.Struct("=4x16s16x4xQ")  # of struct inet_diag_sockid: the address that a socket is bound to, and its cookie
_ID_AT = _HEAD.size + 4
_INODE_AT = _ID_AT + 48 + 16
INFO = 2  # INET_DIAG_INFO: struct tcp_info
_RECEIVED_AT, _SENT_AT = 128, 200  # in it: bytes received, then segments sent; bytes sent, then those sent again


def _question(there: tuple[Address, int], asker: tuple[Address, int], protocol: int, number: int) -> bytes:
    """TCP wants the address as the source of the socket that is sought, UDP as its destination."""
    (source, port), (other, other_port) = (there, asker) if protocol == _TCP else (asker, there)
    family = _FOUR if there[0].version == 4 else _SIX
    head = _QUESTION.size, _BY_FAMILY, _REQUEST, number, 0, family, protocol, 0, _EVERY_STATE
    return _QUESTION.pack(*head, socket.htons(port), socket.htons(other_port), source.packed, other.packed, _NO_COOKIE)


class Found(NamedTuple):
    address: IPv4Address
    """0.0.0.0: it is bound to every address, or to one of IPv6"""
    cookie: int
    six: bool
    """of IPv6"""


class Diag:
    """A netlink socket to ask by. Not for several threads at once."""

    def __init__(self) -> None:
        self._netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, SOCK_DIAG)
        self._netlink.setblocking(False)
        self._number = 0

    def find(self, there: tuple[Address, int], asker: tuple[Address, int], protocol: int) -> Found | None:
        """The socket that a packet from `asker` would come to. OSError: the kernel does not tell."""
        self._number = self._number + 1 & 0xFFFFFFFF
        self._netlink.send(_question(there, asker, protocol, self._number))
        while _HEAD.unpack_from(answer := self._netlink.recv(4096))[3] != self._number:
            continue  # of a question whose answer did not come in time
        return _read(answer)

    def alive(self) -> set[int]:
        """The cookies of all TCP and UDP sockets that have a port and that somebody holds."""
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, SOCK_DIAG) as netlink:
            kinds = list(product(_FAMILIES, (socket.IPPROTO_TCP, socket.IPPROTO_UDP)))
            # Twice: a list goes on by index, and so passes over a socket where one before it is closed meanwhile.
            listed = (message for kind in [*kinds, *kinds] for message in dumped(netlink, *kind))
            # One without an inode was closed by all, and TCP has not ended yet.
            return {cookie_in(message) for message in listed if message[_INODE_AT : _INODE_AT + 4] != bytes(4)}

    def close(self) -> None:
        self._netlink.close()


def dumped(netlink: socket.socket, family: int, protocol: int, extensions: int = 0) -> Iterator[bytes]:
    """A message for each socket that has a port; `extensions` are bits of what else it is to tell. None for what is in
    TIME_WAIT, of which a host has many: nobody holds it, and it has the cookie of the socket that it was, of which the
    kernel is about to tell, and no numbers."""
    body = struct.pack("=BBBxI", family, protocol, extensions, _EVERY_STATE & ~(1 << _TIME_WAIT)) + bytes(48)
    netlink.send(_HEAD.pack(_HEAD.size + len(body), _BY_FAMILY, _REQUEST | _DUMP, 1, 0) + body)
    while True:
        for kind, message in messages_in(netlink.recv(1 << 17)):
            if kind == _DONE:
                return
            if kind != _BY_FAMILY:
                raise OSError(errno.EIO, "sock_diag does not list sockets")
            yield message


def messages_in(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Of what one recv gave: the type of each, and all of it."""
    while len(data) >= _HEAD.size:
        size, kind, *_ = _HEAD.unpack_from(data)
        yield kind, data[:size]
        data = data[size + 3 & ~3 :]


def cookie_in(message: bytes) -> int:
    return int(_ID.unpack_from(message, _ID_AT)[1])


def carried_in(message: bytes) -> tuple[int, int] | None:
    """Bytes of data that a TCP socket has sent and received, where the message has its INFO. None: unknown; a socket
    that was reset from its own end, which forgets it, has sent no segment. What it has received counts one more where
    its peer has ended the stream."""
    at = _INODE_AT + 4
    while at + 4 <= len(message):
        size, kind = struct.unpack_from("=HH", message, at)
        if kind == INFO and size - 4 >= _SENT_AT + 16:
            received, segments = struct.unpack_from("=QI", message, at + 4 + _RECEIVED_AT)
            sent, again = struct.unpack_from("=QQ", message, at + 4 + _SENT_AT)
            return (sent - again, received) if segments else None
        at += max(4, size + 3 & ~3)
    return None


def _read(answer: bytes) -> Found | None:
    if len(answer) < _ID_AT + _ID.size or _HEAD.unpack_from(answer)[1] != _BY_FAMILY:
        error = -_ERROR.unpack_from(answer, _HEAD.size)[0]
        if error == errno.ENOENT:
            return None
        raise OSError(error, "sock_diag")
    source, cookie = _ID.unpack_from(answer, _ID_AT)
    six = answer[_HEAD.size] == _SIX
    return Found(four(source[12:] if six else source[:4]), cookie, six)
