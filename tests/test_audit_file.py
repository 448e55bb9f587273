"""The rotated audit file: each part stands by itself, the parts stand together, and one writer has them."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import sandbox
from sandbox import AuditFile, PolicyError, Sandbox, SandboxError, _audit
from sandbox._audit.join import load_all
from sandbox._audit.verify import Part, verify
from tests.test_audit import record

ABOUT = {"pid": 1, "mounts": ["/"]}
LOOP = "import os\nfor i in range({}):\n  os.access('/flood', 0)"


def parts(path: Path, keep: int = 99) -> list[Path]:
    """The files of a rotated trail, the oldest first."""
    names = [Path(f"{path}.{number}") for number in range(keep, 0, -1)]
    return [name for name in (*names, path) if name.exists()]


def check(*paths: Path) -> list[Part]:
    return list(verify(map(str, paths)))


def test_rotation(tmp_path: Path) -> None:
    """Each file verifies on its own, names its predecessor's last chain value, and is no bigger than it may be."""
    target = AuditFile(tmp_path / "a", max_bytes=6000, keep=99)
    sink = _audit.Sink(target, 7, ABOUT)
    for number in range(100):
        sink.records(record(2 * number + 1) + record(2 * number + 2))
    sink.close()
    files = parts(tmp_path / "a")
    assert len(files) > 3 and all(path.stat().st_size <= 6000 for path in files)
    alone = [check(path) for path in files]
    assert all(len(found) == 1 and found[0].ok for found in alone)
    assert [found[0].part for found in alone] == list(range(1, len(files) + 1))
    assert [found[0].state for found in alone] == ["rotated"] * (len(files) - 1) + ["ended"]
    for before, path in zip(alone, files[1:]):
        assert f'"previous": "{before[0].chain}"'.encode() in path.read_bytes()
    assert [event.sequence for event in load_all(files)] == list(range(1, 201))
    assert [event.verdict for event in _audit.load(files[2])].count("damaged") == 0


def test_rotation_keeps_the_newest(tmp_path: Path) -> None:
    target = AuditFile(tmp_path / "a", max_bytes=3000, keep=2)
    sink = _audit.Sink(target, 7, ABOUT)
    for number in range(100):
        sink.records(record(number + 1))
    sink.close()
    files = parts(tmp_path / "a")
    assert [path.name for path in files] == ["a.2", "a.1", "a"] and all(part.ok for part in check(*files))
    assert [event.sequence for event in load_all(files)][-1] == 100


def test_requests_that_wait_cross_a_rotation(tmp_path: Path) -> None:
    """What was served before it and is recorded after it is trusted; what was recorded before is not claimed again."""
    target = AuditFile(tmp_path / "a", max_bytes=1200, keep=9)
    sink = _audit.Sink(target, 7, ABOUT)
    sink.served(4, b"file/0")
    sink.served(5, b"file/0")
    for number in range(1, 30):
        sink.records(record(number, service={1: 4, 25: 5, 26: 4}.get(number, 0)))
    sink.close()
    files = parts(tmp_path / "a")
    assert len(files) > 2
    for found in (list(load_all(files)), [event for path in files for event in _audit.load(path)]):
        assert [event.sequence for event in found if not event.trusted] == [26]


def test_what_one_guest_has_asked_for_is_no_burden_to_another(tmp_path: Path) -> None:
    """A broken sentry asks for much, by names that JSON makes long, and records none of it: rotations stay small."""
    target = AuditFile(tmp_path / "a", max_bytes=1 << 20, keep=9)
    broken, other = (_audit.Sink(target, number, ABOUT) for number in (7, 8))
    for number in range(1, 30000):
        broken.served(number, b"proc/" + b"\xff" * 4000)
    other.records(record(1))
    broken.close()
    other.close()
    files = parts(tmp_path / "a")
    assert len(files) > 2 and all(path.stat().st_size <= 1 << 20 for path in files)
    assert [event.verdict for event in load_all(files) if event.guest == 8] == ["done"]


def test_a_rotation_between_a_guests_end_and_its_close(tmp_path: Path) -> None:
    """It has ended once, in the file where it did."""
    ending, other = (_audit.Sink(AuditFile(tmp_path / "a", max_bytes=2000), number, ABOUT) for number in (1, 2))
    writer, guest = ending._keeper._outlet._writer, ending._keeper._guest  # type: ignore[attr-defined]
    writer.put(guest, b"SBXE", guest.end(rotated=False))
    for number in range(40):
        other.records(record(number + 1))
    writer.drop(guest)
    other.close()
    files = parts(tmp_path / "a")
    assert len(files) > 2 and all(part.ok for part in check(*files))
    assert [part.state for part in check(*files) if part.guest.endswith("1")] == ["ended"]


def test_files_in_the_wrong_order_or_missing(tmp_path: Path) -> None:
    target = AuditFile(tmp_path / "a", max_bytes=2000, keep=9)
    sink = _audit.Sink(target, 7, ABOUT)
    for number in range(40):
        sink.records(record(number + 1))
    sink.close()
    files = parts(tmp_path / "a")
    assert all(part.ok for part in check(*files))
    with pytest.raises(SandboxError, match="does not go on from the file before"):
        check(files[0], *files[2:])


def test_guests_share_a_rotated_file(tmp_path: Path) -> None:
    """All of them go on in the new file; a value of AuditFile that is equal is the same file."""
    boxes = [Sandbox(audit=AuditFile(tmp_path / "a", max_bytes=30000, keep=99)) for _ in range(3)]
    for _ in range(2):
        for box in boxes:
            box.run([sys.executable, "-S", "-c", LOOP.format(9000)], check=True)
    for box in boxes:
        box.close()
    files = parts(tmp_path / "a")
    assert len(files) > 2
    for path in files:
        assert all(part.ok for part in check(path))
    by_guest: dict[int, list[int]] = {}
    for event in load_all(files):
        by_guest.setdefault(event.guest, []).append(event.sequence)
    assert len(by_guest) == 3
    for sequences in by_guest.values():
        assert sequences == list(range(1, len(sequences) + 1)) and len(sequences) > 18000


def test_one_writer_at_once(tmp_path: Path) -> None:
    """Another AuditFile with the same path is refused as long as the first is in use, and so is another process."""
    sink = _audit.Sink(AuditFile(tmp_path / "a"), 1, ABOUT)
    with pytest.raises(SandboxError, match="another writer"):
        _audit.Sink(AuditFile(tmp_path / "a", keep=3), 2, ABOUT)
    code = f"import sandbox; sandbox.run(['true'], audit=sandbox.AuditFile({str(tmp_path / 'a')!r}))"
    done = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    assert "another writer" in done.stderr
    sink.close()
    _audit.Sink(AuditFile(tmp_path / "a", keep=3), 2, ABOUT).close()
    assert [part.ok for part in check(tmp_path / "a")] == [True, True]


def test_a_forked_child_lets_go(tmp_path: Path) -> None:
    """It holds nothing of the file, cannot take it while we have it, and does not keep it when we are done."""
    sink = _audit.Sink(AuditFile(tmp_path / "a"), 1, ABOUT)
    ready, go = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            _audit.Sink(AuditFile(tmp_path / "a"), 2, ABOUT)
        except SandboxError:
            status = 0
        os.write(ready[1], b"x")
        os.close(go[1])
        os.read(go[0], 1)
        os._exit(status)
    os.read(ready[0], 1)
    sink.close()
    _audit.Sink(AuditFile(tmp_path / "a"), 3, ABOUT).close()
    for fd in (*go, *ready):
        os.close(fd)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("tail", [b"SBXR", b"x" * 500, b"SBXC" + bytes(44)])
def test_a_torn_file_is_not_gone_on_with(tail: bytes, tmp_path: Path) -> None:
    """What follows a torn batch could not be read: the old file is kept, a new one begun."""
    path = tmp_path / "a"
    _audit.Sink(AuditFile(path), 1, ABOUT).close()
    with open(path, "ab") as file:
        file.write(tail)
    os.chmod(path, 0o600)
    _audit.Sink(AuditFile(path), 2, ABOUT).close()
    assert [part.guest for part in check(path)] == [f"{2:016x}"] and Path(f"{path}.1").read_bytes().endswith(tail)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_write_that_fails_leaves_whole_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full in the middle of a batch: it is taken back, every guest of the file fails, and none goes on."""
    path = tmp_path / "a"
    one, other = (_audit.Sink(AuditFile(path), number, ABOUT) for number in (1, 2))
    one.records(record(1))
    real = os.writev

    def short(fd: int, buffers: Any) -> int:
        real(fd, [b"".join(buffers)[:50]])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "writev", short)
    with pytest.raises(OSError, match="No space"):
        one.records(record(2))
    monkeypatch.undo()
    with pytest.raises(SandboxError, match="earlier record"):
        other.records(record(1))
    one.close()
    other.close()
    assert {part.guest[-1]: (part.records, part.state) for part in check(path)} == {"1": (1, "open"), "2": (0, "open")}
    _audit.Sink(AuditFile(path), 3, ABOUT).close()
    assert check(path)[0].state == "ended"


@pytest.mark.parametrize(("name", "value"), [("max_bytes", 0), ("keep", 0), ("keep", -1), ("max_bytes", 1.5), ("keep", True)])
def test_what_an_audit_file_cannot_be(name: str, value: object) -> None:
    with pytest.raises(PolicyError, match=name):
        AuditFile("/tmp/a", **{name: value})  # type: ignore[arg-type]


def test_only_files_are_rotated(tmp_path: Path) -> None:
    """Nothing that is no file is renamed; a link stays, and the file that it names is rotated."""
    with pytest.raises(SandboxError, match="no regular file"):
        sandbox.run(["true"], audit=AuditFile("/dev/null"))
    (tmp_path / "link").symlink_to(tmp_path / "a")
    _audit.Sink(AuditFile(tmp_path / "link"), 1, ABOUT).close()
    assert (tmp_path / "link").is_symlink() and check(tmp_path / "a")[0].ok


def test_no_lock_is_left(tmp_path: Path) -> None:
    """A rotated file is anybody's when its guests have ended."""
    sandbox.run(["true"], audit=AuditFile(tmp_path / "a"))
    with open(tmp_path / "a", "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert check(tmp_path / "a")[0].ok
