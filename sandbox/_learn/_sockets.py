"""Calls on sockets, as peers, servers and names."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator

from sandbox._core import syscalls

from . import _dns
from ._files import AT_FDCWD, Files
from ._plain import Plain
from ._seen import Seen
from ._sockaddr import Message, Name, inet, listening, local, of_call, of_header, of_headers
from ._task import Enter, Leave, Task, signed

_KIND = 0xF  # of a socket's type, without its flags
_FAMILIES = (socket.AF_INET, socket.AF_INET6)
_PROTOCOLS = {int(socket.SOCK_STREAM): "tcp", int(socket.SOCK_DGRAM): "udp"}
_Read = Callable[[Task, "tuple[int, ...]"], Iterator[Message]]


class Sockets:
    """Sockets are told apart by their inodes, so that it does not matter who holds them by which number."""

    def __init__(self, seen: Seen, files: Files) -> None:
        self._seen = seen
        self._files = files
        self._kinds: dict[str, str] = {}
        self._connected: dict[str, Name] = {}
        self._asking: set[str] = set()
        self.plain = Plain(self._read)
        self._chosen: set[str] = set()

    def calls(self) -> Iterator[tuple[int, Enter]]:
        numbers = {row.name: row.nr for row in syscalls()}
        enters = {"socket": self._socket, "connect": self._connect, "bind": self._bind, "listen": self._listen}
        sends = {"sendto": of_call, "sendmsg": of_header, "sendmmsg": of_headers}
        receives = {"recvfrom": of_call, "recvmsg": of_header, "recvmmsg": of_headers}
        for name, enter in enters.items():
            yield numbers[name], enter
        for name, read in sends.items():
            yield numbers[name], self._sending(name, read)
        for name, read in receives.items():
            yield numbers[name], self._receiving(read)

    def _socket(self, task: Task, arguments: tuple[int, ...]) -> Leave | None:
        protocol = _PROTOCOLS.get(arguments[1] & _KIND)
        if signed(arguments[0]) not in _FAMILIES or protocol is None:
            return None

        def leave(result: int) -> None:
            if result >= 0:
                self._seen.peak("open_files", result + 1)
                self._kinds[task.link(f"fd/{result}")] = protocol

        return leave

    def _connect(self, task: Task, arguments: tuple[int, ...]) -> Leave | None:
        name = inet(raw := task.read(arguments[1], min(arguments[2], 128)))
        inode = _inode(task, arguments)
        if name is None:
            path = local(raw)
            return (lambda result: self._local_peer(task, path, result)) if path else None

        def leave(result: int) -> None:
            if result not in (0, -errno.EINPROGRESS, -errno.EINTR):
                return
            self._connected[inode] = name
            if name.port == _dns.PORT:
                self.plain.connected(task, inode)
            if self._kinds.get(inode, "tcp") == "tcp" and name.port != _dns.PORT:
                self._peer("tcp", name, f"{task.program} connect")

        return leave

    def _local_peer(self, task: Task, path: str, result: int) -> None:
        real = self._files.walk(task, task.absolute(AT_FDCWD, path), True, "connect")[-1]
        if result == 0 and not self._files.is_made(real):
            self._seen.notes.add(f"left out: {task.program} connected to the host's socket {real}")

    def _bind(self, task: Task, arguments: tuple[int, ...]) -> Leave | None:
        raw = task.read(arguments[1], min(arguments[2], 128))
        name, path = inet(raw), local(raw)
        inode = _inode(task, arguments)
        if path:
            absolute = self._files.walk(task, task.absolute(AT_FDCWD, path), False, "bind")
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
        inode = _inode(task, arguments)
        if self._kinds.get(inode) != "tcp":
            return None

        def leave(result: int) -> None:
            name = listening(task.tid, inode) if result == 0 else None
            if name is not None:
                servers = self._seen.servers if inode in self._chosen else self._seen.fleeting
                servers.setdefault(("tcp", *name), set()).add(f"{task.program} listen")

        return leave

    def _sending(self, call: str, read: _Read) -> Enter:
        def enter(task: Task, arguments: tuple[int, ...]) -> None:
            inode = _inode(task, arguments)
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
            inode = _inode(task, arguments)
            if inode not in self._asking:
                return None
            messages = list(read(task, arguments))
            return lambda result: self._answered(task, messages, result, self._kinds.get(inode) == "tcp")

        return enter

    def _answered(self, task: Task, messages: list[Message], result: int, stream: bool) -> None:
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

    def _read(self, task: Task, inode: str, buffers: list[tuple[int, int]], result: int) -> None:
        self._answered(task, [Message(None, buffers)], result, self._kinds.get(inode) == "tcp")

    def _peer(self, protocol: str, name: Name, by: str) -> None:
        self._seen.peers.setdefault((protocol, *name), set()).add(by)


def _inode(task: Task, arguments: tuple[int, ...]) -> str:
    return task.link(f"fd/{signed(arguments[0])}")
