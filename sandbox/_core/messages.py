"""Messages between the Supervisor and a sentry: one packet each, descriptors beside it.

A sentry is not trusted: what is not well formed raises Malformed, and its descriptors are closed.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from typing import NamedTuple

from .binding import Malformed, ffi, lib, read_struct

MESSAGE_FDS: int = lib.SBX_MESSAGE_FDS
TEXT_MAX: int = lib.SBX_MESSAGE_MAX - ffi.sizeof("struct sbx_message")


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
    head = ffi.new(
        "struct sbx_message *",
        (message.type, len(message.text), message.number, message.value, message.value2),
    )
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, b"".join(_int(fd) for fd in message.fds))] if message.fds else []
    sent = sock.sendmsg([ffi.buffer(head)[:], message.text], rights, socket.MSG_NOSIGNAL)
    assert sent == ffi.sizeof("struct sbx_message") + len(message.text)


def receive(sock: socket.socket) -> Message | None:
    """The next message, its descriptors close-on-exec and now the caller's; None at the end of the stream."""
    data, ancillary, flags, _ = sock.recvmsg(
        lib.SBX_MESSAGE_MAX, socket.CMSG_SPACE(4 * MESSAGE_FDS), socket.MSG_CMSG_CLOEXEC
    )
    fds = [fd for level, kind, body in ancillary for fd in _descriptors(level, kind, body)]
    try:
        if not data:
            if fds:
                raise Malformed("an empty message with descriptors")
            return None
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            raise Malformed("a message that is too long")
        head = read_struct("struct sbx_message *", data)
        text = data[ffi.sizeof("struct sbx_message") :]
        if head.length != len(text):
            raise Malformed(f"a message of {len(text)} bytes that claims {head.length}")
        if not lib.SBX_MSG_NONE < head.type < lib.SBX_MSG_COUNT:
            raise Malformed(f"a message of unknown type {head.type}")
        return Message(head.type, head.number, head.value, head.value2, text, fds)
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
    asked = read_struct("struct sbx_net *", text, exact=True)
    if asked.length > len(asked.address):
        raise Malformed("an address that is too long")
    address = ffi.buffer(asked.address)[: asked.length]
    return Net(asked.op, asked.family, asked.type, asked.protocol, address)


def _int(value: int) -> bytes:
    return ffi.buffer(ffi.new("int *", value))[:]  # type: ignore[no-any-return]


def _descriptors(level: int, kind: int, body: bytes) -> list[int]:
    if (level, kind) != (socket.SOL_SOCKET, socket.SCM_RIGHTS):
        return []
    return list(ffi.unpack(ffi.cast("int *", ffi.from_buffer(body)), len(body) // ffi.sizeof("int")))
