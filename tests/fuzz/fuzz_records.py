"""The trail as a broken sentry writes it, and audit files. What must hold: records that are whole or Malformed, a ring
whose head is anywhere is read inside its memory only, what was written well is read as it was, and of a damaged file
nothing but AuditDamage comes, after what was before the damage."""

from __future__ import annotations

import io
import json
import struct

from drive import Input, instrumented, run

with instrumented():
    from sandbox import _core
    from sandbox._audit import join, reader, verify
    from sandbox._audit.format import AuditDamage, batch
    from sandbox._audit.summary import summary
    from sandbox._core import Malformed
    from sandbox._core.binding import ffi, lib

FIXED = ffi.sizeof("struct sbx_record")
BLOCK = struct.Struct("<4sQI")
CAPACITY = 1 << 16


def plain(data: bytes) -> None:
    """Whole records up to Malformed; what is read in passing is the same, up to the same place at least."""
    found = []
    try:
        for record in _core.records(data):
            assert len(record.paths) <= 2 and not any(b"\0" in path for path in record.paths)
            found.append((record.sequence, record.service))
    except Malformed as error:
        assert str(error)
    assert list(_core.numbers(data))[: len(found)] == found


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
        row.flags = data.number(4)
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
    """Read, summed up and verified; all three stop at the same damage."""
    shown, places = [], []
    try:
        for event in join.events(io.BytesIO(data), "fuzz"):
            assert str(event).isprintable() and json.loads(event.to_json())
            shown.append(event)
    except AuditDamage as damage:
        assert str(damage) and 0 <= damage.offset <= len(data)
        places.append(damage.offset)
    try:
        assert all(str(part) for part in verify.parts(reader.Reader(io.BytesIO(data), "fuzz"), "fuzz"))
    except AuditDamage as damage:
        places.append(damage.offset)
    assert len(set(places)) < 2 and len(places) in (0, 2)
    assert sum(row.count for row in summary(shown).rows()) == len(shown)


def blocks(data: Input) -> bytes:
    whole = b""
    while data.left:
        kind = (b"SBXH", b"SBXR", b"SBXS", b"SBX?")[data.number() % 4]
        guest, body = data.number(), data.take(data.number())
        if kind == b"SBXH" and guest & 1:
            body = json.dumps({"version": 1, "mounts": ["/", body.decode("latin-1")]}).encode()
        whole += BLOCK.pack(kind, guest, len(body)) + body
    return whole


def sealed(data: Input) -> bytes:
    """Blocks with a chain that holds, of two guests, and in one place of what is left a byte that does not."""
    whole, values = b"", {0: bytes(32), 1: bytes(32)}
    at, new, wrong = data.number(2), data.number(), data.number() % 4 == 0
    while data.left:
        kind = (b"SBXH", b"SBXR", b"SBXS", b"SBXE")[data.number() % 4]
        guest, body = data.number() % 2, data.take(data.number())
        if kind == b"SBXH":
            values[guest] = bytes(32)
            body = json.dumps({"version": 2 + len(body) % 2, "mounts": [body.decode("latin-1")], "rules": ["r"]}).encode()
        elif kind == b"SBXE":
            body = json.dumps({"why": ("ended", "rotated")[len(body) % 2]}).encode()
        made = batch(guest, values[guest], kind, body)
        values[guest], whole = made.value, whole + b"".join(made.parts)
    if wrong and whole:
        place = at % len(whole)
        whole = whole[:place] + bytes([new]) + whole[place + 1 :]
    return whole


def test(data: bytes) -> None:
    taken = Input(data)
    mode = taken.number() % 7
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
    elif mode == 6:
        file(sealed(taken))
    else:  # good records, damaged in one place
        at, new = taken.number(2), taken.number()
        whole = bytearray(well_formed(taken))
        if whole:
            whole[at % len(whole)] = new
        plain(bytes(whole))
        header = b'{"version": 1}'
        file(BLOCK.pack(b"SBXH", 7, len(header)) + header + BLOCK.pack(b"SBXR", 7, len(whole)) + bytes(whole))


if __name__ == "__main__":
    run("records", test)
