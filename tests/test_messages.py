"""Messages of a sentry: what is well formed becomes an event; anything else is Malformed and leaves no descriptor."""

from __future__ import annotations

import errno
import os
import signal
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox import _inbox
from sandbox._core import Malformed, Message, MessageType, Serve
from sandbox._messages import (
    WALLS,
    Drain,
    Event,
    Exited,
    Failed,
    Fault,
    Fetched,
    Ready,
    Refused,
    ServeFile,
    ServeProc,
    Started,
)

READY = struct.pack("16iii", *[0] * 16, 7, 1)
USAGE = struct.pack("3q", 1_500_000, 250_000, 2048)


def test_ready() -> None:
    """Walls by name, and why the others do not stand."""
    text = struct.pack("16iii", 0, *[errno.ENOSYS] * 15, 0, 0)
    event = _inbox.parse(Message(MessageType.READY, 0, 1 << 4, text=text))
    assert isinstance(event, Ready)
    assert event.walls == ("pidns",) and event.missing["landlock"] == errno.ENOSYS and "pidns" not in event.missing


def test_walls_and_bits_are_inverse() -> None:
    assert _inbox.wall_names(_inbox.wall_bits()) == WALLS
    assert _inbox.wall_bits(("landlock",)) == 2


def test_exited() -> None:
    """A wait status becomes a return code, a signal a negative one."""
    event = _inbox.parse(Message(MessageType.EXITED, 5, 3 << 8, 0, USAGE))
    assert isinstance(event, Exited)
    assert (event.command, event.returncode, event.exceeded) == (5, 3, None)
    assert (event.usage.user, event.usage.system, event.usage.peak_memory) == (1.5, 0.25, 2 << 20)
    killed = _inbox.parse(Message(MessageType.EXITED, 5, int(signal.SIGKILL), 1, USAGE))
    assert isinstance(killed, Exited)
    assert (killed.returncode, killed.exceeded) == (-9, "memory")


def test_others() -> None:
    """The type counts: a Guest goes by it, and tuples of two types may be equal."""
    parsed: dict[Message, Event] = {
        Message(MessageType.STARTED, 1, 77): Started(1, 77, None),
        Message(MessageType.FAILED, 1, errno.ENOENT, 1): Failed(1, errno.ENOENT, True),
        Message(MessageType.SERVE, 9, Serve.FILE, 3): ServeFile(9, 3),
        Message(MessageType.SERVE, 9, Serve.PROC, 3, b"3/maps"): ServeProc(9, 3, b"3/maps", None),
        Message(MessageType.FETCHED, 4, -errno.EACCES): Fetched(4, errno.EACCES, None),
        Message(MessageType.DRAIN): Drain(),
    }
    for message, expected in parsed.items():
        event = _inbox.parse(message)
        assert (type(event), event) == (type(expected), expected)


def test_fault_is_safe_to_print() -> None:
    """A hostile sentry's text cannot drive a terminal."""
    event = _inbox.parse(Message(MessageType.FAULT, 0, 5, text=b"a\x1b[2J\xff\n"))
    assert isinstance(event, Fault) and event == Fault(5, "a\\x1b[2J\\xff\\n")


BAD: dict[str, Message] = {
    "type of the Supervisor": Message(MessageType.RUN, 1),
    "ready: walls unknown": Message(MessageType.READY, 0, 1 << 20, text=READY),
    "ready: wall zero": Message(MessageType.READY, 0, 1, text=READY),
    "ready: short": Message(MessageType.READY, 0, 0, text=READY[:-1]),
    "ready: long": Message(MessageType.READY, 0, 0, text=READY + b"x"),
    "ready: errno": Message(MessageType.READY, 0, 0, text=struct.pack("16iii", *[-5] * 16, 7, 1)),
    "fault: errno": Message(MessageType.FAULT, 0, -1),
    "started: pid 0": Message(MessageType.STARTED, 1, 0),
    "started: pid": Message(MessageType.STARTED, 1, 1 << 40),
    "exited: stopped": Message(MessageType.EXITED, 1, 0x137F, 0, USAGE),
    "exited: status": Message(MessageType.EXITED, 1, 1 << 20, 0, USAGE),
    "exited: limit": Message(MessageType.EXITED, 1, 0, 99, USAGE),
    "exited: no usage": Message(MessageType.EXITED, 1, 0, 0, b""),
    "exited: usage below zero": Message(MessageType.EXITED, 1, 0, 0, struct.pack("3q", -1, 0, 0)),
    "failed: no errno": Message(MessageType.FAILED, 1, 0),
    "failed: where": Message(MessageType.FAILED, 1, 2, 7),
    "serve: service": Message(MessageType.SERVE, 1, 9, 0),
    "serve: handle": Message(MessageType.SERVE, 1, Serve.FILE, -1),
    "serve: no name": Message(MessageType.SERVE, 1, Serve.PROC, 1),
    "serve: NUL": Message(MessageType.SERVE, 1, Serve.PROC, 1, b"a\0b"),
    "serve: long": Message(MessageType.SERVE, 1, Serve.PROC, 1, b"a" * 4096),
    "fetched: positive": Message(MessageType.FETCHED, 1, 5),
    "fetched: nothing": Message(MessageType.FETCHED, 1, 0),
    "drain: text": Message(MessageType.DRAIN, text=b"x"),
}


@pytest.mark.parametrize("name", BAD)
def test_malformed(name: str) -> None:
    with pytest.raises(Malformed):
        _inbox.parse(BAD[name])


@pytest.mark.parametrize("kind", [MessageType.READY, MessageType.EXITED, MessageType.DRAIN, MessageType.FAILED])
def test_descriptors_where_none_belong(kind: MessageType) -> None:
    """They are closed."""
    reader, writer = os.pipe()
    with pytest.raises(Malformed):
        _inbox.parse(Message(kind, 1, 0, 0, b"", [reader]))
    with pytest.raises(OSError):
        os.fstat(reader)
    os.close(writer)


NUMBERS = st.integers(-(1 << 63), (1 << 63) - 1)


@given(st.integers(0, 30), st.integers(0, (1 << 64) - 1), NUMBERS, NUMBERS, st.binary(max_size=300), st.integers(0, 3))
def test_anything_is_an_event_or_malformed(
    kind: int, number: int, value: int, value2: int, text: bytes, fds: int
) -> None:
    """No message raises anything else, and none that is malformed keeps a descriptor."""
    given_fds = [os.open(os.devnull, os.O_RDONLY) for _ in range(fds)]
    try:
        _inbox.parse(Message(kind, number, value, value2, text, given_fds))
    except Malformed:
        for fd in given_fds:
            with pytest.raises(OSError):
                os.fstat(fd)
    else:
        for fd in given_fds:
            os.close(fd)


def test_refused_names_its_errno() -> None:
    assert str(Refused(errno.EACCES)) == "EACCES" and str(Refused(4000)) == "4000"
