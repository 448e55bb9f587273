"""Messages of a sentry, checked. A sentry is not trusted: what is not exactly as csrc/core.h says is Malformed, and
what identifiers mean is looked up by the guest that the socket belongs to, never believed."""

from __future__ import annotations

import os
from collections.abc import Callable

from . import _core
from ._core import Malformed, Message, MessageType
from ._messages import (
    LIMITS,
    WALLS,
    Drain,
    Event,
    Exited,
    Failed,
    Fault,
    Fetched,
    NetAsk,
    Ready,
    ServeFile,
    ServeProc,
    Started,
    Usage,
)
from ._paths import printable

_PID_MAX = 1 << 22
_ERRNO_MAX = 4095
_FAULT_TEXT = 1024
_NET_KINDS = {int(op): op.name.lower() for op in _core.NetOp if op}


def _need(condition: bool, what: str) -> None:
    if not condition:
        raise Malformed(what)


def wall_names(bits: int) -> tuple[str, ...]:
    return tuple(name for index, name in enumerate(WALLS, 1) if bits & (1 << index))


def wall_bits(names: tuple[str, ...] = WALLS) -> int:
    return sum(1 << (WALLS.index(name) + 1) for name in set(names))


def _ready(message: Message) -> Event:
    _need(0 <= message.value <= wall_bits() | 1 and not message.value & 1, "unknown walls")
    told = _core.unpack_ready(message.text)
    missing = {name: told.wall_error[index] for index, name in enumerate(WALLS, 1) if not message.value & (1 << index)}
    _need(all(0 <= error <= _ERRNO_MAX for error in missing.values()), "errno of a wall out of range")
    _need(0 <= told.landlock_abi < 1000, "Landlock ABI out of range")
    return Ready(wall_names(message.value), missing, told.landlock_abi, told.borrow)


def _fault(message: Message) -> Event:
    _need(0 <= message.value <= _ERRNO_MAX, "errno of a fault out of range")
    text = message.text[:_FAULT_TEXT].rstrip(b"\0")
    return Fault(message.value, printable(os.fsdecode(text)))


def _started(message: Message) -> Event:
    _need(0 < message.value < _PID_MAX and not message.text, "process id out of range")
    return Started(message.number, message.value, message.fds[0] if message.fds else None)


def _exited(message: Message) -> Event:
    status, exceeded = message.value, message.value2
    _need(0 <= status <= 0xFFFF and (os.WIFEXITED(status) or os.WIFSIGNALED(status)), "no wait status")
    _need(0 <= exceeded <= len(LIMITS), "unknown limit")
    used = _core.unpack_usage(message.text)
    _need(min(used) >= 0, "usage below zero")
    returncode = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)
    usage = Usage(used.user_us / 1e6, used.system_us / 1e6, used.peak_kib * 1024)
    return Exited(message.number, returncode, LIMITS[exceeded - 1] if exceeded else None, usage)


def _failed(message: Message) -> Event:
    _need(0 < message.value <= _ERRNO_MAX and message.value2 in (0, 1) and not message.text, "errno out of range")
    return Failed(message.number, message.value, bool(message.value2))


def _serve(message: Message) -> Event:
    if message.value == _core.Serve.FILE:
        _need(message.value2 >= 0 and not message.fds, "file request")
        return ServeFile(message.number, message.value2)
    if message.value == _core.Serve.NET:
        return _net(message)
    _need(message.value == _core.Serve.PROC, "request to an unknown service")
    umask, pid = divmod(message.value2, 1 << 32)
    _need(0 <= pid < _PID_MAX and 0 <= umask <= 0o777, "process id or umask out of range")
    _need(0 < len(message.text) < 4096 and b"\0" not in message.text, "name of a virtual file")
    return ServeProc(message.number, pid, message.text, message.fds[0] if message.fds else None, umask)


def _net(message: Message) -> Event:
    asked = _core.unpack_net(message.text)
    kind = _NET_KINDS.get(asked.op, "")
    _need(kind != "", "operation on the network")
    _need(len(message.fds) == (kind != "socket"), "descriptor where none, or none where one belongs")
    return NetAsk(message.number, kind, *asked[1:], message.fds[0] if message.fds else None)


def _fetched(message: Message) -> Event:
    _need(-_ERRNO_MAX <= message.value <= 0 and not message.text, "errno out of range")
    _need(len(message.fds) == (1 if message.value == 0 else 0), "descriptor where none, or none where one belongs")
    return Fetched(message.number, -message.value, message.fds[0] if message.fds else None)


def _drain(message: Message) -> Event:
    _need(not message.text, "text of a drain request")
    return Drain()


_PARSERS: dict[int, tuple[Callable[[Message], Event], int]] = {
    MessageType.READY: (_ready, 0),
    MessageType.FAULT: (_fault, 0),
    MessageType.STARTED: (_started, 1),
    MessageType.EXITED: (_exited, 0),
    MessageType.FAILED: (_failed, 0),
    MessageType.SERVE: (_serve, 1),
    MessageType.FETCHED: (_fetched, 1),
    MessageType.DRAIN: (_drain, 0),
}
"""How each type is read, and how many descriptors it may carry."""


def parse(message: Message) -> Event:
    """The event that a message means; its descriptors are the event's. Malformed: they are closed."""
    parser, most = _PARSERS.get(message.type, (None, 0))
    try:
        if parser is None:
            raise Malformed(f"message of type {message.type}, which no sentry sends")
        if len(message.fds) > most:
            raise Malformed(f"{len(message.fds)} descriptors where {most} may be")
        return parser(message)
    except Malformed as error:
        for fd in message.fds:
            os.close(fd)
        name = MessageType(message.type).name if message.type in MessageType._value2member_map_ else "?"
        raise Malformed(f"{name}: {error}") from None
