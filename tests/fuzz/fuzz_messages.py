"""Packets of a hostile sentry, through a real socket to the Supervisor's reader. What must hold: an event that is well
formed or Malformed, nothing else, and no descriptor stays open that an event does not own."""

from __future__ import annotations

import os
import socket
import struct

from drive import Input, instrumented, lowest_free, run

with instrumented():
    from sandbox import _core
    from sandbox._core import Malformed, MessageType
    from sandbox._inbox import parse

HEAD = struct.Struct("=IIQqq")
OURS, THEIRS = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
NULL = os.open("/dev/null", os.O_RDONLY)
FIXED = (_core.TEXT_MAX + HEAD.size, 65536)


def packet(data: Input) -> bytes:
    mode = data.number()
    if mode & 1:
        return data.rest()
    wide = 8 if mode & 2 else 2
    kind = data.number() % (max(MessageType) + 2)
    number, value, value2 = data.number(wide), data.number(wide, signed=True), data.number(wide, signed=True)
    text = data.rest()
    if mode & 4:
        text = text.ljust(FIXED[mode >> 7], b"\0")
    elif mode & 8:
        text = text.ljust(mode >> 4 << 3, b"\0")
    return HEAD.pack(kind, len(text), number, value, value2) + text


def test(data: bytes) -> None:
    taken = Input(data)
    count = taken.number() % 20
    free = lowest_free()
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"{count}i", *[NULL] * count))] if count else []
    THEIRS.sendmsg([packet(taken)], rights)
    try:
        message = _core.receive(OURS)
        event = None if message is None else parse(message)
    except Malformed as error:
        assert str(error)
    else:
        owned = [getattr(event, name, None) for name in ("pidfd", "source", "fd")]
        for fd in owned:
            if fd is not None:
                os.close(fd)
        assert repr(event)
    assert lowest_free() == free, "a descriptor was left open"


if __name__ == "__main__":
    run("messages", test)
