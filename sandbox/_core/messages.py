"""Messages between the Supervisor and a sentry: one packet each, descriptors beside it.

A sentry is not trusted: what is not well formed raises Malformed, and its descriptors are closed.
"""

from __future__ import annotations

import os
import socket
from array import array
from collections.abc import Sequence
from typing import NamedTuple

from .binding import Malformed, layout, lib, read_struct

MESSAGE_FDS: int = lib.SBX_MESSAGE_FDS
_HEAD, _NET = layout("struct sbx_message"), layout("struct sbx_net")
_MOST, _ROOM = int(lib.SBX_MESSAGE_MAX), socket.CMSG_SPACE(4 * MESSAGE_FDS)
_CUT = int(socket.MSG_TRUNC | socket.MSG_CTRUNC)
_TYPES = range(lib.SBX_MSG_NONE + 1, lib.SBX_MSG_COUNT)
TEXT_MAX: int = _MOST - _HEAD.size


class Message(NamedTuple):
    type: int
    number: int = 0
    value: int = 0
    value2: int = 0
    text: bytes = b""
    fds: Sequence[int] = ()


class Ready(NamedTuple):
    wall_error: tuple[int, ...]  # by Wall: 0 stands, else the errno why not
    landlock_abi: int
    borrow: bool


class Net(NamedTuple):
    op: int
    family: int
    type: int
    protocol: int
    address: bytes


class Usage(NamedTuple):
    user_us: int
    system_us: int
    peak_kib: int


def send(sock: socket.socket, message: Message) -> None:
    """Send one message. The descriptors stay the caller's. OSError where the sentry is gone or does not read."""
    if len(message.text) > TEXT_MAX or len(message.fds) > MESSAGE_FDS:
        raise ValueError("message too long")
    head = _HEAD.pack(message.type, len(message.text), message.number, message.value, message.value2)
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", message.fds))] if message.fds else []
    sent = sock.sendmsg([head, message.text], rights, socket.MSG_NOSIGNAL)
    assert sent == len(head) + len(message.text)


def receive(sock: socket.socket) -> Message | None:
    """The next message, its descriptors close-on-exec and now the caller's; None at the end of the stream."""
    data, ancillary, flags, _ = sock.recvmsg(_MOST, _ROOM, socket.MSG_CMSG_CLOEXEC)
    fds = [fd for level, kind, body in ancillary for fd in _descriptors(level, kind, body)]
    try:
        if not data:
            if fds:
                raise Malformed("an empty message with descriptors")
            return None
        if flags & _CUT:
            raise Malformed("a message that is too long")
        if len(data) < _HEAD.size:
            raise Malformed(f"a message of {len(data)} bytes")
        kind, length, number, value, value2 = _HEAD.unpack_from(data)
        text = data[_HEAD.size :]
        if length != len(text):
            raise Malformed(f"a message of {len(text)} bytes that claims {length}")
        if kind not in _TYPES:
            raise Malformed(f"a message of unknown type {kind}")
        return Message(kind, number, value, value2, text, fds)
    except BaseException:
        for fd in fds:
            os.close(fd)
        raise


def unpack_ready(text: bytes) -> Ready:
    ready = read_struct("struct sbx_ready *", text, exact=True)
    return Ready(tuple(ready.wall_error)[: lib.SBX_WALL_COUNT], ready.landlock_abi, bool(ready.borrow))


def unpack_usage(text: bytes) -> Usage:
    usage = read_struct("struct sbx_usage *", text, exact=True)
    return Usage(usage.user_us, usage.system_us, usage.peak_kib)


def unpack_net(text: bytes) -> Net:
    if len(text) != _NET.size:
        raise Malformed(f"{len(text)} bytes where struct sbx_net has {_NET.size}")
    op, family, kind, protocol, length, address = _NET.unpack(text)
    if length > len(address):
        raise Malformed("an address that is too long")
    return Net(op, family, kind, protocol, address[:length])


def _descriptors(level: int, kind: int, body: bytes) -> list[int]:
    if (level, kind) != (socket.SOL_SOCKET, socket.SCM_RIGHTS):
        return []
    return memoryview(body[: len(body) & ~3]).cast("i").tolist()
