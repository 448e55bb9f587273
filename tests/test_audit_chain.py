"""The audit file: what it holds is what was written, or the first place where it is not is named."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path

import pytest

import sandbox
from sandbox import _audit
from sandbox._audit.format import BLOCK, LARGEST, SEAL, AuditDamage, batch
from sandbox._audit.join import events
from sandbox._audit.verify import Part, verify
from sandbox._core.binding import ffi, layout
from sandbox._core.records import numbers, records
from tests.test_audit import RECORD, record

GUEST = 7 << 32


def trail(path: Path, batches: int = 3, guest: int = GUEST, end: bool = True) -> list[int]:
    """A guest with ten records in each batch. Returns where its batches begin, and where the file ends."""
    sink = _audit.Sink(path, guest, {"pid": 1, "mounts": ["/"]})
    offsets = [0]
    for number in range(batches):
        offsets.append(path.stat().st_size)
        sink.served(number + 1, b"file/0")
        sink.records(b"".join(record(number * 10 + i, service=(number + 1) * (i == 1)) for i in range(1, 11)))
    offsets.append(path.stat().st_size)
    if end:
        sink.close()
    return [*offsets, path.stat().st_size]


def check(*paths: Path) -> list[Part]:
    return list(verify([str(path) for path in paths]))


def damage(path: Path) -> AuditDamage:
    with pytest.raises(AuditDamage) as raised:
        check(path)
    return raised.value


def read(path: Path) -> tuple[list[int], AuditDamage | None]:
    found = []
    try:
        for event in _audit.load(path):
            found.append(event.sequence)
    except AuditDamage as error:
        return found, error
    return found, None


def test_layout_is_that_of_core_h() -> None:
    """The record is read as the sentry's compiler laid it out."""
    assert layout("struct sbx_record").format == RECORD.format
    for name in ("struct sbx_record", "struct sbx_message", "struct sbx_net"):
        assert layout(name).size == ffi.sizeof(name)
    assert list(numbers(record(3, service=9) + record(4))) == [(3, 9), (4, 0)]
    (whole,) = records(record(3, service=9, path=b"/x"))
    assert (whole.sequence, whole.service, whole.paths, whole.nr, whole.mount) == (3, 9, (b"/x",), 257, 0)


def test_whole_file(tmp_path: Path) -> None:
    trail(tmp_path / "a")
    (part,) = check(tmp_path / "a")
    assert part.ok and (part.records, part.last, part.state, part.part) == (30, 30, "ended", 1)
    assert part.chain in str(part) and len(part.chain) == 64
    assert read(tmp_path / "a") == (list(range(1, 31)), None)


def test_real_guests_are_whole(tmp_path: Path) -> None:
    """Of a file that several guests wrote to at once."""
    with sandbox.Sandbox(audit=tmp_path / "a") as one, sandbox.Sandbox(audit=tmp_path / "a") as other:
        for box in (one, other, one):
            box.run(["cat", "/etc/hostname"])
    parts = check(tmp_path / "a")
    assert len(parts) == 2 and all(part.ok and part.records > 5 for part in parts)


def test_every_changed_byte_is_found(tmp_path: Path) -> None:
    """Whichever byte it is; the batch that holds it is named, and what is before is read."""
    path = tmp_path / "a"
    offsets = trail(path, batches=2)
    whole = path.read_bytes()
    for at in range(0, len(whole), 7):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x20]) + whole[at + 1 :])
        found = damage(path)
        assert found.offset <= at < found.offset + 2000, at
        good = sum(10 for begin, end in zip(offsets[1:], offsets[2:-1]) if end <= at)
        assert read(path)[0] == list(range(1, good + 1))
        assert found.record in (None, good + 1)


@pytest.mark.parametrize("keep", [1, 15, 16, 40, 200, 300, 900, 1500])
def test_cut_off_within_a_batch(keep: int, tmp_path: Path) -> None:
    """The place where it ends is named; what is before is read."""
    path = tmp_path / "a"
    offsets = trail(path, batches=2)
    path.write_bytes(path.read_bytes()[:keep])
    found = damage(path)
    assert found.offset <= keep and "ends within" in str(found)
    assert len(read(path)[0]) == 10 * sum(end <= keep for end in offsets[2:4])


def test_cut_off_between_batches(tmp_path: Path) -> None:
    """A whole chain without an end is not whole: what is missing would not be seen otherwise."""
    path = tmp_path / "a"
    offsets = trail(path)
    path.write_bytes(path.read_bytes()[: offsets[3]])
    (part,) = check(path)
    assert (part.state, part.records, part.ok) == ("open", 20, False)
    assert read(path) == (list(range(1, 21)), None)


def test_batches_left_out_doubled_or_moved(tmp_path: Path) -> None:
    path = tmp_path / "a"
    offsets = trail(path)
    whole = path.read_bytes()
    pieces = [whole[a:b] for a, b in zip(offsets, offsets[1:])]
    for order in ((0, 2, 3, 4), (0, 1, 1, 2, 3, 4), (0, 2, 1, 3, 4)):
        path.write_bytes(b"".join(pieces[piece] for piece in order))
        assert "the chain does not hold" in str(damage(path))
    path.write_bytes(b"".join(pieces[1:]))
    assert damage(path).offset == 0 and "has not begun" in str(damage(path))


def test_a_seal_made_anew_breaks_the_next(tmp_path: Path) -> None:
    """Who changes a batch and its seal has to write all that follows anew, and ends with another chain value."""
    path = tmp_path / "a"
    trail(path)
    before = check(path)[0].chain
    whole, at, value, data = path.read_bytes(), 0, bytes(32), b""
    while at < len(whole):
        magic, guest, length = BLOCK.unpack_from(whole, at)
        body = whole[at + BLOCK.size : at + BLOCK.size + length].replace(b"/f\0", b"/g\0")
        made = batch(guest, value, magic, body)
        data, value, at = data + b"".join(made.parts), made.value, at + BLOCK.size + length + SEAL
    path.write_bytes(data)
    assert check(path)[0].ok and check(path)[0].chain != before


def test_guests_do_not_depend_on_each_other(tmp_path: Path) -> None:
    """Files can be joined; a guest without an end does not stand for the others."""
    trail(tmp_path / "a", guest=1)
    trail(tmp_path / "b", guest=2, end=False)
    (tmp_path / "c").write_bytes((tmp_path / "b").read_bytes() + (tmp_path / "a").read_bytes())
    assert {part.guest: part.state for part in check(tmp_path / "c")} == {f"{1:016x}": "ended", f"{2:016x}": "open"}


def test_the_same_number_again(tmp_path: Path) -> None:
    """Numbers of guests are random: one that comes again is another guest."""
    for end in (False, True, True):
        trail(tmp_path / "a", end=end)
    assert [part.state for part in check(tmp_path / "a")] == ["open", "ended", "ended"]
    assert read(tmp_path / "a") == ([*range(1, 31)] * 3, None)


def version_1() -> bytes:
    header = json.dumps({"version": 1, "time": 1.0, "pid": 1, "mounts": ["/", "/data"]}).encode()
    served = struct.pack("<QQ", 4, 10**18) + b"file/0"
    blocks = ((b"SBXH", header), (b"SBXS", served), (b"SBXR", record(1) + record(2, service=4)))
    return b"".join(BLOCK.pack(magic, GUEST, len(data)) + data for magic, data in blocks)


def test_files_of_version_1_are_read(tmp_path: Path) -> None:
    """They had no chain, so they are never verified; and a newer guest may be in the same file."""
    (tmp_path / "a").write_bytes(version_1())
    found = list(_audit.load(tmp_path / "a"))
    assert [(event.sequence, event.mount, event.trusted) for event in found] == [(1, "/", True), (2, "/", True)]
    trail(tmp_path / "a", guest=1)
    assert {part.state for part in check(tmp_path / "a")} == {"unchained", "ended"}
    assert [part.ok for part in check(tmp_path / "a") if part.state == "unchained"] == [False]


def test_a_trail_cannot_pass_for_an_older_one(tmp_path: Path) -> None:
    """Called version 1 it would need no chain, but then there are no seals."""
    trail(tmp_path / "a")
    (tmp_path / "a").write_bytes((tmp_path / "a").read_bytes().replace(b'"version": 3', b'"version": 1'))
    assert "a seal without its batch" in str(damage(tmp_path / "a")) and read(tmp_path / "a")[0] == []


def test_a_newer_version_is_refused() -> None:
    header = b'{"version": 4}'
    with pytest.raises(AuditDamage, match="newer"):
        list(events(io.BytesIO(BLOCK.pack(b"SBXH", 1, len(header)) + header)))


@pytest.mark.parametrize(
    "data",
    [
        b"nothing of the kind",
        BLOCK.pack(b"SBXR", 1, 4) + b"abcd",
        BLOCK.pack(b"SBXH", 1, LARGEST + 1),
        BLOCK.pack(b"SBXC", 1, 32) + bytes(32),
        BLOCK.pack(b"SBXH", 1, 2) + b"[]",
        BLOCK.pack(b"SBXH", 1, 17) + b'{"version": true}',
        BLOCK.pack(b"SBXH", 1, 27) + b'{"version": 2, "part": 2.0}',
        b"".join(batch(1, bytes(32), b"SBXH", b'{"version": 2, "part": 2}').parts),
        b"".join(batch(1, bytes(32), b"SBXH", b'{"version": 2, "served": ["x"]}').parts),
        b"".join(batch(1, bytes(32), b"SBXH", b"[" * 100000).parts),
    ],
)
def test_what_is_no_audit_file(data: bytes) -> None:
    with pytest.raises(AuditDamage, match="broken at byte 0"):
        list(events(io.BytesIO(data)))


def test_a_file_in_small_pieces(tmp_path: Path) -> None:
    """As a pipe gives it: it is read once, forwards."""

    class Slow(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            return source.read(min(size, 5))

    trail(tmp_path / "a")
    source = io.BytesIO((tmp_path / "a").read_bytes())
    assert len(list(events(Slow()))) == 30


def test_requests_without_a_record_are_bounded(tmp_path: Path) -> None:
    """A sentry that asks without end and records nothing costs a reader no more memory."""
    from sandbox._audit.guest import _SERVED_MAX, Guest

    guest = Guest(1)
    for number in range(1, _SERVED_MAX + 100):
        guest.has_served(number, b"file/0")
    assert len(guest.served) == _SERVED_MAX and 99 not in guest.served and 100 in guest.served


def test_requests_that_wait_keep_their_names_in_the_next_file() -> None:
    """A rotation may fall between a request and its record; version 2 had the numbers alone."""
    from sandbox._audit.guest import Guest, guest_of

    guest = Guest(1, {"mounts": ["/"]}, part=2)
    guest.has_served(4, b"net/connect 192.0.2.1:80\0allow 192.0.2.1")
    guest.has_served(5, b"proc/\xff")
    header = guest.header()
    assert guest_of(1, header).served == guest.served
    old = header[: header.index(b'"served"')].replace(b'"version": 3', b'"version": 2') + b'"served": [4, 5]}'
    assert list(guest_of(1, old).served) == [4, 5]


def test_what_could_not_be_written_has_no_end(tmp_path: Path) -> None:
    """A trail that lacks a batch does not look whole."""

    class Full(io.BytesIO):
        full = False

        def write(self, data: object) -> int:
            if self.full:
                raise OSError(28, "No space left on device")
            return super().write(data)  # type: ignore[arg-type]

    file = Full()
    sink = _audit.Sink(file, 1, {"mounts": ["/"]})
    sink.records(record(1))
    file.full = True
    with pytest.raises(OSError, match="No space"):
        sink.records(record(2))
    file.full = False
    sink.close()
    (tmp_path / "a").write_bytes(file.getvalue())
    assert [part.state for part in check(tmp_path / "a")] == ["open"]
