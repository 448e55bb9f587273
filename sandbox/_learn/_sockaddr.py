"""Structures of the kernel that sockets are spoken of in, read from a program's memory and from /proc."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from sandbox._addresses import plain

from ._task import Task

_LARGEST_MESSAGE = 65536
_MOST_BUFFERS = 64
_MESSAGE, _MESSAGES = 56, 64  # bytes of struct msghdr and mmsghdr


class Name(NamedTuple):
    address: str
    port: int


class Message(NamedTuple):
    name: Name | None
    buffers: list[tuple[int, int]]


def inet(raw: bytes) -> Name | None:
    """The address and port of a struct sockaddr, or None."""
    family = int.from_bytes(raw[:2], "little")
    first, end = {int(socket.AF_INET): (4, 8), int(socket.AF_INET6): (8, 24)}.get(family, (0, 0))
    if not end or len(raw) < end:
        return None
    return Name(str(plain(raw[first:end])), int.from_bytes(raw[2:4], "big"))


def local(raw: bytes) -> str:
    """The path of a struct sockaddr_un; nothing for an abstract one."""
    if int.from_bytes(raw[:2], "little") != socket.AF_UNIX:
        return ""
    return os.fsdecode(raw[2:].partition(b"\0")[0])


def of_call(task: Task, arguments: tuple[int, ...]) -> Iterator[Message]:
    size = min(arguments[2], _LARGEST_MESSAGE)
    name = inet(task.read(arguments[4], 28)) if arguments[4] else None
    yield Message(name, [(arguments[1], size)])


def of_header(task: Task, arguments: tuple[int, ...]) -> Iterator[Message]:
    yield _header(task, arguments[1])


def of_headers(task: Task, arguments: tuple[int, ...]) -> Iterator[Message]:
    for index in range(min(arguments[2] & 0xFFFFFFFF, _MOST_BUFFERS)):
        yield _header(task, arguments[1] + index * _MESSAGES)


def _header(task: Task, address: int) -> Message:
    raw = task.read(address, _MESSAGE).ljust(_MESSAGE, b"\0")
    name, size, at, count = struct.unpack_from("QIxxxxQQ", raw)
    peer = inet(task.read(name, min(size, 128))) if name else None
    return Message(peer, vector(task, at, count))


def vector(task: Task, address: int, count: int) -> list[tuple[int, int]]:
    """The buffers of an array of struct iovec."""
    listed = task.read(address, 16 * min(count, _MOST_BUFFERS))
    buffers = [struct.unpack_from("QQ", listed, at) for at in range(0, len(listed) - 15, 16)]
    return [(base, min(length, _LARGEST_MESSAGE)) for base, length in buffers]


def listening(tid: int, inode: str) -> Name | None:
    """Where a listening socket is bound, as /proc/TID/net says it."""
    number = inode[len("socket:[") : -1]
    for table in ("tcp", "tcp6"):
        try:
            with open(f"/proc/{tid}/net/{table}", encoding="ascii") as file:
                rows = [line.split() for line in file]
        except OSError:
            continue
        for row in rows:
            if len(row) > 9 and row[9] == number:
                address, _, port = row[1].partition(":")
                return Name(_address(bytes.fromhex(address)), int(port, 16))
    return None


def _address(raw: bytes) -> str:
    """Written there in words of the machine's own order."""
    words = b"".join(raw[at : at + 4][::-1] for at in range(0, len(raw), 4))
    return str(IPv4Address(words) if len(words) == 4 else plain(IPv6Address(words)))

