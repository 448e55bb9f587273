"""The trail as a broken sentry writes it, and audit files. What must hold: records that are whole or Malformed, a ring
whose head is anywhere is read inside its memory only, what was written well is read as it was, and of a damaged file
nothing but SandboxError comes."""

from __future__ import annotations

import io
import json
import struct

from drive import Input, instrumented, run

with instrumented():
    from sandbox import _audit, _core
    from sandbox._core import Malformed
    from sandbox._core.binding import ffi, lib
    from sandbox._errors import SandboxError

FIXED = ffi.sizeof("struct sbx_record")
BLOCK = struct.Struct("<4sQI")
CAPACITY = 1 << 16


def plain(data: bytes) -> None:
    try:
        for record in _core.records(data):
            assert len(record.paths) <= 2 and not any(b"\0" in path for path in record.paths)
    except Malformed as error:
        assert str(error)


def well_formed(data: Input) -> bytes:
    """Records as the sentry makes them, and a check that they are read so."""
    whole, wrote = b"", []
    while data.left and len(whole) < CAPACITY // 2:
        paths = [data.take(data.number()).replace(b"\0", b"") for _ in range(data.number() % 3)]
        text = b"".join(path + b"\0" for path in paths)
        text += bytes(-len(text) % 8)
        row = ffi.new("struct sbx_record *")
        row.magic, row.size, row.sequence = lib.SBX_RECORD_MAGIC, FIXED + len(text), len(wrote) + 1
        row.pid, row.nr, row.error = data.number(4), data.number(2), data.number(4, signed=True)
        row.verdict, row.mount, row.paths = data.number(), data.number(2), len(paths)
        wrote.append(tuple(paths))
        whole += bytes(ffi.buffer(row)) + text
    assert [record.paths for record in _core.records(whole)] == wrote
    return whole


def ring(data: Input) -> None:
    """The head is moved as a hostile writer would; what is not behind the ring's size is read, and only that."""
    trail = _core.Trail(CAPACITY)
    try:
        head = ffi.cast("struct sbx_trail *", trail._buffer)
        expected = 0
        for _ in range(4):
            wanted = data.number(3) if data.number() & 1 else data.number(8)
            head.head, head.capacity, head.tail = wanted, data.number(4), data.number(8)
            try:
                got = trail.drain()
            except Malformed:
                assert not 0 <= wanted - expected <= CAPACITY
                continue
            assert len(got) == wanted - expected <= CAPACITY
            expected = wanted
    finally:
        trail.close()


def file(data: bytes) -> None:
    try:
        for event in _audit.events(io.BytesIO(data), "fuzz"):
            assert str(event) and json.loads(event.to_json())
    except SandboxError as error:
        assert str(error)


def blocks(data: Input) -> bytes:
    whole = b""
    while data.left:
        kind = (b"SBXH", b"SBXR", b"SBXS", b"SBX?")[data.number() % 4]
        guest, body = data.number(), data.take(data.number())
        if kind == b"SBXH" and guest & 1:
            body = json.dumps({"mounts": ["/", body.decode("latin-1")]}).encode()
        whole += BLOCK.pack(kind, guest, len(body)) + body
    return whole


def test(data: bytes) -> None:
    taken = Input(data)
    mode = taken.number() % 6
    if mode == 0:
        plain(taken.rest())
    elif mode == 1:
        well_formed(taken)
    elif mode == 2:
        ring(taken)
    elif mode == 3:
        file(taken.rest())
    elif mode == 4:
        file(blocks(taken))
    else:  # good records, damaged in one place
        at, new = taken.number(2), taken.number()
        whole = bytearray(well_formed(taken))
        if whole:
            whole[at % len(whole)] = new
        plain(bytes(whole))
        file(BLOCK.pack(b"SBXR", 7, len(whole)) + bytes(whole))


if __name__ == "__main__":
    run("records", test)
