"""What the Supervisor hears from a sentry and what a service says: frozen values, no numbers of the wire, no I/O."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, Union

from ._rules import Rules

WALLS = ("landlock", "landlock-scope", "userns", "pidns", "netns", "ipcns", "utsns", "mountns", "cgroup")
"""Names of the walls in the order of enum sbx_wall, which starts at 1."""

LIMITS = ("memory", "processes", "cpu_seconds", "scratch_bytes", "file_size")
"""Limits that a sentry may name as exceeded, in the order of enum sbx_exceeded, which starts at 1."""


class Refused(Exception):
    """A service's answer that is an errno.

    >>> str(Refused(errno.ENOENT))
    'ENOENT'
    """

    def __init__(self, error: int) -> None:
        super().__init__(error)
        self.error = error

    def __str__(self) -> str:
        return errno.errorcode.get(self.error, str(self.error))


@dataclass(frozen=True)
class Request:
    """A virtual file is opened. `name` is the name within the service, `handle` the File's number or the process id,
    `source` the bytes of the kernel's own file, or None where there is none; `umask` that of the process shown."""

    handle: int
    name: bytes
    source: bytes | None = None
    umask: int = 0


class Service(Protocol):
    """Makes the content of a virtual file, or raises Refused."""

    def content(self, request: Request) -> bytes: ...


@dataclass(frozen=True)
class NetworkUsage:
    """What a guest used of a network with rules: sockets made, connections begun to the outside (of UDP: peers sent
    to), connections taken at published ports, what was refused (calls, requests of HTTP, names, and addresses that
    they lead to), and how much each rule decided.

    `sent` and `received` are the bytes of these connections, `carried` the same of each rule. They are exact where a
    limit on bytes is set. Else they are the kernel's numbers of TCP, in which a peer that ends its stream counts as one
    byte received more; None, and `carried` empty, where these do not tell all: after datagrams to the outside, a socket
    that the guest has reset or connected anew, or more ends of connections at once than the kernel keeps for us. The
    guest's own loopback is not counted."""

    sockets: int = 0
    connections: int = 0
    accepted: int = 0
    refused: int = 0
    rules: Mapping[str, int] = field(default_factory=dict)
    sent: int | None = None
    received: int | None = None
    carried: Mapping[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Usage:
    """What a command used, with everything that it waited for: processor seconds, and the peak of memory in bytes,
    0 where it is not known. `network` is the whole guest's, None where it has no network with rules."""

    user: float = 0.0
    system: float = 0.0
    peak_memory: int = 0
    network: NetworkUsage | None = None


class Ready(NamedTuple):
    walls: tuple[str, ...]
    missing: dict[str, int]
    """errno by the name of each wall that does not stand"""
    landlock_abi: int
    borrow: bool


class Fault(NamedTuple):
    error: int
    text: str


class Started(NamedTuple):
    command: int
    pid: int
    pidfd: int | None


class Exited(NamedTuple):
    command: int
    returncode: int
    exceeded: str | None
    usage: Usage


class Failed(NamedTuple):
    command: int
    error: int
    at_cwd: bool


class ServeFile(NamedTuple):
    request: int
    handle: int


class ServeProc(NamedTuple):
    request: int
    pid: int
    name: bytes
    source: int | None
    umask: int = 0


class NetAsk(NamedTuple):
    """A call on a TCP or UDP socket. `kind`: socket, bind, connect, listen, send, option, admit, name; `address` is a
    sockaddr."""

    request: int
    kind: str
    family: int
    type: int
    protocol: int
    address: bytes
    fd: int | None


class NetAnswer(NamedTuple):
    """0 or -errno, and what comes with it: a new socket, an address, the rule that decided."""

    value: int = 0
    fd: int | None = None
    address: bytes = b""
    rule: str = ""


class HTTPService(Protocol):
    """The process that judges a guest's requests."""

    @property
    def stands(self) -> bool: ...

    def take(self, inner: socket.socket, upstream: socket.socket, port: int, names: Sequence[str]) -> None: ...

    def end(self, cookies: Sequence[int]) -> bool: ...

    def close(self, *, forked: bool = False) -> None: ...


class Judged(NamedTuple):
    """What was decided for a guest without a call, and by which rule: "http", a request, by its proxy; "resolve", a
    question for a name, by its resolver. `what` is any text of the guest's."""

    kind: str
    allowed: bool
    rule: str
    what: bytes


class Listener(Protocol):
    """The guest, as who decides without a call knows it."""

    def judged(self, judged: Judged) -> None: ...

    def is_behind(self) -> bool:
        """Does somebody who gets its records not keep up? Then nothing more is decided."""


class NetService(Protocol):
    """Answers at once: it runs in the Supervisor's own thread. The descriptor of `ask` stays the caller's."""

    def handle(self, ask: NetAsk) -> NetAnswer: ...

    @property
    def rules(self) -> Rules: ...

    @property
    def usage(self) -> NetworkUsage: ...

    def change(self, change: Callable[[Rules], Rules]) -> None: ...

    @property
    def lingers(self) -> bool: ...

    def attach(self, listener: Listener) -> None: ...

    def judged(self, judged: Judged) -> None: ...

    def cut(self, root: int) -> bool: ...

    def close(self, *, forked: bool = False) -> None: ...


class Fetched(NamedTuple):
    request: int
    error: int
    fd: int | None


class Drain(NamedTuple):
    pass


Event = Union[Ready, Fault, Started, Exited, Failed, ServeFile, ServeProc, NetAsk, Fetched, Drain]
