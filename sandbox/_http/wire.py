"""Messages between the Supervisor and a proxy, one packet each.

A proxy may be broken: the Supervisor takes what is exactly of one of these forms, no descriptor, and reads texts as
bytes of an enemy. A proxy believes the Supervisor.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Union

CONTROL = 3
"""Number of a proxy's end of the socket."""
MESSAGE_MAX = 16384
NO_RULE = 0xFFFF
_SETUP, _CONNECTION, _END = b"S", b"C", b"E"
_READY, _FAULT, _DECISION = b"R", b"F", b"D"
_ABOUT = struct.Struct("<QH")  # number, port
_FORM = struct.Struct("<?HHH16s255s512s")  # allowed, rule, port, status, method, host, path


class Connection(NamedTuple):
    """Of the guest's to a port of an address that it was told by these names; `number` is of one connection only. A
    socket comes with it, where SOCKETS waits with the two ends."""

    number: int
    port: int
    names: tuple[str, ...]


class Ready(NamedTuple):
    """The walls stand; `certificate` is the CA's, PEM."""

    certificate: bytes


class Fault(NamedTuple):
    text: bytes


class Decision(NamedTuple):
    """On one request: `rule` counts in the rules, `status` is what the guest is answered where it is refused. Texts are
    cut where they are too long."""

    allowed: bool
    rule: int
    port: int
    status: int
    method: bytes
    host: bytes
    path: bytes


Said = Union[Ready, Fault, Decision]

# ---- to a proxy -----------------------------------------------------------------------------------------------------

SETUP = _SETUP
"""The first message; a memfd with the rules and a pidfd of the Supervisor's process come with it."""


def pack_connection(about: Connection) -> bytes:
    return _CONNECTION + _ABOUT.pack(about.number, about.port) + "\0".join(about.names).encode("ascii")


def read_connection(data: bytes) -> Connection:
    if data[:1] != _CONNECTION:
        raise ValueError("no connection")
    names = data[1 + _ABOUT.size :].decode("ascii").split("\0")
    number, port = _ABOUT.unpack_from(data, 1)
    return Connection(number, port, tuple(filter(None, names)))


def pack_ends(numbers: Sequence[int]) -> Iterator[bytes]:
    """That these connections end, in messages of as many as fit."""
    for at in range(0, len(numbers), 1024):
        some = numbers[at : at + 1024]
        yield _END + struct.pack(f"<{len(some)}Q", *some)


def read_ends(data: bytes) -> tuple[int, ...]:
    """Nothing where it is another message."""
    return struct.unpack(f"<{len(data) // 8}Q", data[1:]) if data[:1] == _END else ()


SOCKETS = b"T"
"""The guest's end, and upstream."""


# ---- from a proxy ---------------------------------------------------------------------------------------------------


def pack_ready(certificate: bytes) -> bytes:
    return _READY + certificate


def pack_fault(text: str) -> bytes:
    return _FAULT + text.encode("utf-8", "backslashreplace")[:1024]


def pack_decision(decision: Decision) -> bytes:
    return _DECISION + _FORM.pack(*decision)


def read_said(data: bytes) -> Said:
    """ValueError: it is none."""
    kind, rest = data[:1], data[1:]
    if kind == _READY and rest.startswith(b"-----BEGIN CERTIFICATE-----\n") and rest.isascii() and len(rest) < 8192:
        return Ready(rest)
    if kind == _FAULT:
        return Fault(rest[:1024])
    if kind == _DECISION and len(rest) == _FORM.size:
        *numbers, method, host, path = _FORM.unpack(rest)
        return Decision(*numbers, *(text.rstrip(b"\0") for text in (method, host, path)))
    raise ValueError("what no proxy says")
