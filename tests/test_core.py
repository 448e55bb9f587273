"""What crosses to C: messages, commands, records; and that a hostile other side is refused without a leak."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator

import pytest

from sandbox import _core
from sandbox._core import Malformed, Message, MessageType
from sandbox._core.binding import ffi, lib

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with left, right:
        yield left, right


def open_descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def test_a_message_arrives_whole(pair: Pair) -> None:
    with open(os.devnull) as null:
        _core.send(pair[0], Message(MessageType.SERVE, 1 << 63, -5, 7, b"text\0\xff", [null.fileno()] * 3))
        got = _core.receive(pair[1])
        assert got is not None
        assert got[:5] == (MessageType.SERVE, 1 << 63, -5, 7, b"text\0\xff")
        assert len(got.fds) == 3
        for fd in got.fds:
            assert not os.get_inheritable(fd)
            assert os.path.sameopenfile(fd, null.fileno())
            os.close(fd)


def test_the_end_is_none(pair: Pair) -> None:
    pair[0].close()
    assert _core.receive(pair[1]) is None


def test_the_largest_message(pair: Pair) -> None:
    text = b"x" * _core.TEXT_MAX
    _core.send(pair[0], Message(MessageType.FAULT, text=text))
    got = _core.receive(pair[1])
    assert got is not None and got.text == text
    with pytest.raises(ValueError, match="too long"):
        _core.send(pair[0], Message(MessageType.FAULT, text=text + b"x"))
    with pytest.raises(ValueError, match="too long"):
        _core.send(pair[0], Message(MessageType.FAULT, fds=[0] * (_core.MESSAGE_FDS + 1)))


def head(kind: int, length: int) -> bytes:
    return struct.pack("=IIQqq", kind, length, 0, 0, 0)


@pytest.mark.parametrize(
    "packet",
    [
        b"x",
        head(MessageType.READY, 0)[:-1],
        head(MessageType.READY, 1),
        head(MessageType.READY, 0) + b"more",
        head(MessageType.READY, 0xFFFFFFFF) + b"text",
        head(0, 0),
        head(lib.SBX_MSG_COUNT, 0),
        head(0xFFFFFFFF, 0),
        head(MessageType.READY, lib.SBX_MESSAGE_MAX) + b"x" * lib.SBX_MESSAGE_MAX,
    ],
)
def test_what_is_no_message_is_refused_without_a_leak(pair: Pair, packet: bytes) -> None:
    before = open_descriptors()
    rights = struct.pack("2i", pair[0].fileno(), pair[1].fileno())
    pair[0].sendmsg([packet], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
    with pytest.raises(Malformed):
        _core.receive(pair[1])
    assert open_descriptors() == before


def test_too_many_descriptors_are_refused_without_a_leak(pair: Pair) -> None:
    before = open_descriptors()
    rights = struct.pack("40i", *[pair[0].fileno()] * 40)
    pair[0].sendmsg([head(MessageType.READY, 0)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
    with pytest.raises(Malformed, match="too long"):
        _core.receive(pair[1])
    assert open_descriptors() == before


def test_ready_and_usage() -> None:
    ready = _core.unpack_ready(struct.pack("16i2i", *range(16), 6, 1))
    assert ready == (tuple(range(lib.SBX_WALL_COUNT)), 6, True)
    assert _core.unpack_usage(struct.pack("3q", 1, 2, 3)) == (1, 2, 3)
    for short in (b"", b"x" * 71, b"x" * 73):
        with pytest.raises(Malformed):
            _core.unpack_ready(short)
    with pytest.raises(Malformed):
        _core.unpack_usage(b"")


def test_a_command_is_laid_out_as_the_contract_says() -> None:
    data = _core.pack_command(
        [b"ls", b""], [b"A=1"], program=b"/bin/ls", cwd=b"/work", umask=0o27, flags=4, fds=[0, 1, 9]
    )
    command = ffi.cast("struct sbx_command *", ffi.from_buffer(data))
    assert (command.argc, command.envc, command.umask, command.flags) == (2, 1, 0o27, 4)
    assert list(command.fd)[: command.fd_count] == [0, 1, 9]
    assert data[command.strings :] == b"ls\0\0A=1\0/work\0/bin/ls\0"
    assert data[command.program :] == b"/bin/ls\0"
    assert data[command.cwd :].startswith(b"/work\0")
    with pytest.raises(ValueError, match="null byte"):
        _core.pack_command([b"a\0b"], [], program=b"/a", cwd=b"/")
    with pytest.raises(ValueError, match="descriptors"):
        _core.pack_command([b"a"], [], program=b"/a", cwd=b"/", fds=range(65))


def record(sequence: int, *paths: bytes, mount: int = 3) -> bytes:
    body = b"".join(path + b"\0" for path in paths)
    size = -(-(ffi.sizeof("struct sbx_record") + len(body)) // 8) * 8
    fixed = struct.pack(
        "=IIQQIIiHBBQQII", lib.SBX_RECORD_MAGIC, size, 1000, sequence, 42, 257, 2, mount, 2, len(paths), 5000, 0, 0o1101, 0
    )
    return (fixed + body).ljust(size, b"\0")


def append(trail: _core.Trail, data: bytes) -> None:
    """What a sentry does, through a mapping of its own."""
    capacity = trail._capacity
    at = trail._head.head
    for i, byte in enumerate(data):
        trail._memory[lib.SBX_TRAIL_DATA + (at + i) % capacity] = byte
    trail._head.head = at + len(data)


def test_records_come_out_as_they_went_in() -> None:
    trail = _core.Trail(1 << 16)
    written = 0
    for n in range(1, 4000):
        append(trail, record(n, b"/etc/passwd", b"\xff" * (n % 50)) if n % 3 else record(n, mount=0xFFFF))
        if n % 300 == 0 or n == 3999:
            for each in _core.records(trail.drain()):
                written += 1
                assert each.sequence == written
                assert each.paths == ((b"/etc/passwd", b"\xff" * (written % 50)) if written % 3 else ())
                assert each.mount == (3 if written % 3 else None)
                assert (each.nr, each.error, each.pid, each.time_ns, each.duration_ns) == (257, 2, 42, 1000, 5000)
                assert each.flags == 0o1101
    assert written == 3999
    assert trail.drain() == b""
    trail.close()


def test_a_trail_cannot_be_cut_and_its_head_is_not_believed() -> None:
    trail = _core.Trail(1 << 16)
    with pytest.raises(OSError):
        os.ftruncate(trail.fd, 0)
    trail._head.tail = 1 << 40
    append(trail, record(1))
    assert len(list(_core.records(trail.drain()))) == 1
    for wild in (0, 1 << 20, (1 << 64) - 1):
        trail._head.head = wild
        with pytest.raises(Malformed):
            trail.drain()
    trail.close()
    trail.close()


def test_counts() -> None:
    trail = _core.Trail(1 << 16)
    trail._head.count[257][3] = 12
    trail._head.count[2][1] = 1
    assert trail.counts() == {2: (1, 0, 0), 257: (0, 0, 12)}
    trail.close()


@pytest.mark.parametrize(
    "data",
    [
        b"x" * 10,
        b"\0" * 64,
        record(1)[:-8],
        record(1) + b"\0" * 8,
        record(1, b"/a").replace(b"/a\0", b"aaa").replace(b"\0" * 5, b"a" * 5),
        struct.pack("=IIQQIIiHBBQQII", lib.SBX_RECORD_MAGIC, 64, 0, 1, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0),
        struct.pack("=IIQQIIiHBBQQ", lib.SBX_RECORD_MAGIC, 56, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0),
    ],
)
def test_what_is_no_record_is_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        list(_core.records(data))


def test_spawn_says_what_failed(tmp_path) -> None:
    with socket.socket(socket.AF_UNIX) as sock, pytest.raises(FileNotFoundError):
        _core.spawn(str(tmp_path / "missing"), sock.fileno(), 0, ["missing"])


def test_sweep_finds_nothing_where_there_is_nothing() -> None:
    assert _core.sweep(0x7EADBEEF << 32) == 0
