"""Calls on sockets, as peers, servers and names."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from sandbox._addresses import plain
from sandbox._core import syscalls

from . import _dns
from ._files import AT_FDCWD, Files
from ._seen import Seen
from ._task import Enter, Leave, Task
from ._walk import forms

_KIND = 0xF  # of a socket's type, without its flags
_PROTOCOLS = {socket.SOCK_STREAM: "tcp", socket.SOCK_DGRAM: "udp"}
_LARGEST_MESSAGE = 65536
_MOST_BUFFERS = 64
_MESSAGE, _MESSAGES = 56, 64  # bytes of struct msghdr and mmsghdr


class _Name(NamedTuple):
    address: str
    port: int


class _Message(NamedTuple):
    name: _Name | None
    buffers: list[tuple[int, int]]


_Read = Callable[[Task, "tuple[int, ...]"], Iterator[_Message]]


class Sockets:
    """Sockets are told apart by their inodes, so that it does not matter who holds them by which number."""

    def __init__(self, seen: Seen, files: Files) -> None:
        self._seen = seen
        self._files = files
        self._kinds: dict[str, str] = {}
        self._connected: dict[str, _Name] = {}
        self._asking: set[str] = set()
        self._chosen: set[str] = set()

    def calls(self) -> Iterator[tuple[int, Enter]]:
        numbers = {row.name: row.nr for row in syscalls()}
        enters = {"socket": self._socket, "connect": self._connect, "bind": self._bind, "listen": self._listen}
        sends = {"sendto": _of_call, "sendmsg": _of_header, "sendmmsg": _of_headers}
        receives = {"recvfrom": _of_call, "recvmsg": _of_header, "recvmmsg": _of_headers}
        for name, enter in enters.items():
            yield numbers[name], enter
        for name, read in sends.items():
            yield numbers[name], self._sending(name, read)
        for name, read in receives.items():
            yield numbers[name], self._receiving(read)

    def _socket(self, task: Task, arguments: tuple[int, ...]) -> Leave | None:
        protocol = _PROTOCOLS.get(socket.SocketKind(arguments[1] & _KIND)) if 0 < arguments[1] & _KIND < 6 else None
        if arguments[0] not in (socket.AF_INET, socket.AF_INET6) or protocol is None:
            return None

        def leave(result: int) -> None:
            if result >= 0:
                self._seen.peak("open_files", result + 1)
                self._kinds[task.link(f"fd/{result}")] = protocol

        return leave

    def _connect(self, task: Task, arguments: tuple[int, ...]) -> Leave | None:
        name = _inet(raw := task.read(arguments[1], min(arguments[2], 128)))
        inode = task.link(f"fd/{arguments[0]}")
        if name is None:
            path = _local(raw)
            return (lambda result: self._local_peer(task, path, result)) if path else None

        def leave(result: int) -> None:
            if result not in (0, -errno.EINPROGRESS, -errno.EINTR):
                return
            self._connected[inode] = name
            if self._kinds.get(inode, "tcp") == "tcp" and name.port != _dns.PORT:
                self._peer("tcp", name, f"{task.program} connect")

        return leave

    def _local_peer(self, task: Task, path: str, result: int) -> None:
        real = forms(task.absolute(AT_FDCWD, path), True)[-1]
        if result == 0 and not self._files.is_made(real):
            self._seen.notes.add(f"left out: {task.program} connected to the host's socket {real}")

    def _bind(self, task: Task, arguments: tuple[int, ...]) -> Leave | None:
        raw = task.read(arguments[1], min(arguments[2], 128))
        name, path = _inet(raw), _local(raw)
        inode = task.link(f"fd/{arguments[0]}")
        if path:
            absolute = forms(task.absolute(AT_FDCWD, path), False)
            return lambda result: self._files.change(absolute, f"{task.program} bind", False) if result == 0 else None
        if name is None or not name.port:
            return None

        def leave(result: int) -> None:
            if result == 0:
                self._chosen.add(inode)
                if self._kinds.get(inode) == "udp":
                    self._seen.servers.setdefault(("udp", *name), set()).add(f"{task.program} bind")

        return leave

    def _listen(self, task: Task, arguments: tuple[int, ...]) -> Leave | None:
        inode = task.link(f"fd/{arguments[0]}")
        if self._kinds.get(inode) != "tcp":
            return None

        def leave(result: int) -> None:
            name = _listening(task.tid, inode) if result == 0 else None
            if name is not None:
                servers = self._seen.servers if inode in self._chosen else self._seen.fleeting
                servers.setdefault(("tcp", *name), set()).add(f"{task.program} listen")

        return leave

    def _sending(self, call: str, read: _Read) -> Enter:
        def enter(task: Task, arguments: tuple[int, ...]) -> None:
            inode = task.link(f"fd/{arguments[0]}")
            protocol = self._kinds.get(inode)
            if protocol is None:
                return
            for message in read(task, arguments):
                name = message.name or self._connected.get(inode)
                if name is not None and name.port == _dns.PORT:
                    self._asking.add(inode)
                elif name is not None and protocol == "udp":
                    self._peer("udp", name, f"{task.program} {call}")

        return enter

    def _receiving(self, read: _Read) -> Enter:
        def enter(task: Task, arguments: tuple[int, ...]) -> Leave | None:
            inode = task.link(f"fd/{arguments[0]}")
            if inode not in self._asking:
                return None
            messages = list(read(task, arguments))
            return lambda result: self._answered(task, messages, result, self._kinds.get(inode) == "tcp")

        return enter

    def _answered(self, task: Task, messages: list[_Message], result: int, stream: bool) -> None:
        """Of one message the result is its length; of several it is their number, and what is past a message is
        nothing that its reader minds."""
        for message in messages if result > 0 else ():
            wire = b"".join(task.read(*each) for each in message.buffers)
            wire = wire[:result] if len(messages) == 1 else wire
            for start in (2, 0) if stream else (0,):  # a stream's messages begin with their length
                told = _dns.told(wire[start:])
                if told is not None:
                    self._seen.names.setdefault(told[0], set()).update(told[1])
                    self._seen.askers.setdefault(told[0], set()).add(f"{task.program} DNS")

    def _peer(self, protocol: str, name: _Name, by: str) -> None:
        self._seen.peers.setdefault((protocol, *name), set()).add(by)


# ---- structures of the kernel -------------------------------------------------------------------------------------


def _inet(raw: bytes) -> _Name | None:
    """The address and port of a struct sockaddr, or None."""
    family = int.from_bytes(raw[:2], "little")
    first, end = {int(socket.AF_INET): (4, 8), int(socket.AF_INET6): (8, 24)}.get(family, (0, 0))
    if not end or len(raw) < end:
        return None
    return _Name(str(plain(raw[first:end])), int.from_bytes(raw[2:4], "big"))


def _local(raw: bytes) -> str:
    """The path of a struct sockaddr_un; nothing for an abstract one."""
    if int.from_bytes(raw[:2], "little") != socket.AF_UNIX:
        return ""
    return os.fsdecode(raw[2:].partition(b"\0")[0])


def _of_call(task: Task, arguments: tuple[int, ...]) -> Iterator[_Message]:
    size = min(arguments[2], _LARGEST_MESSAGE)
    name = _inet(task.read(arguments[4], 28)) if arguments[4] else None
    yield _Message(name, [(arguments[1], size)])


def _of_header(task: Task, arguments: tuple[int, ...]) -> Iterator[_Message]:
    yield _header(task, arguments[1])


def _of_headers(task: Task, arguments: tuple[int, ...]) -> Iterator[_Message]:
    for index in range(min(arguments[2] & 0xFFFFFFFF, _MOST_BUFFERS)):
        yield _header(task, arguments[1] + index * _MESSAGES)


def _header(task: Task, address: int) -> _Message:
    raw = task.read(address, _MESSAGE).ljust(_MESSAGE, b"\0")
    name, size, vector, count = struct.unpack_from("QIxxxxQQ", raw)
    listed = task.read(vector, 16 * min(count, _MOST_BUFFERS))
    buffers = [struct.unpack_from("QQ", listed, at) for at in range(0, len(listed) - 15, 16)]
    peer = _inet(task.read(name, min(size, 128))) if name else None
    return _Message(peer, [(base, min(length, _LARGEST_MESSAGE)) for base, length in buffers])


def _listening(tid: int, inode: str) -> _Name | None:
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
                return _Name(_address(bytes.fromhex(address)), int(port, 16))
    return None


def _address(raw: bytes) -> str:
    """Written there in words of the machine's own order."""
    words = b"".join(raw[at : at + 4][::-1] for at in range(0, len(raw), 4))
    return str(IPv4Address(words) if len(words) == 4 else plain(IPv6Address(words)))

