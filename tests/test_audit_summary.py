"""What a trail comes to: the numbers are right, the table is short, and a long trail takes no more memory."""

from __future__ import annotations

import io
import os
import random
import struct
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Optional

import pytest

from sandbox import Event, _audit
from sandbox._audit.show import seconds
from sandbox._audit.summary import Row, Summary, summary
from sandbox._audit.times import Times
from tests.test_audit import RECORD, record
from tests.test_cli import COMMAND, ENV


def event(path: str = "/usr/lib/x", call: str = "openat", verdict: str = "done", duration: float = 1e-6, **more: object) -> Event:
    return Event(1, 1e9, 1, 1, call, (path,) if path else (), "/", verdict, None, duration, None, **more)  # type: ignore[arg-type]


def places(made: Summary, most: int = 99) -> dict[str, int]:
    return {row.place: row.count for row in made.rows(most)}


def test_rows() -> None:
    """Counted by call, directory and verdict, with the time that they took; what took longest first."""
    made = summary([event(duration=1e-3), event(duration=3e-3), event("/etc/x"), event(verdict="denied", duration=2e-3)])
    first, second, third = made.rows()
    assert first == Row("openat", "", "/usr/lib", "done", 2, 0.004, first.median, 0.003)
    assert second.verdict == "denied" and (third.place, third.count) == ("/etc", 1)
    total = made.sum()
    assert (total.count, total.worst) == (4, 0.003) and total.total == pytest.approx(0.006001)


def test_what_was_opened_for_is_told_apart() -> None:
    made = summary(event(flags=flags) for flags in (os.O_RDONLY, os.O_WRONLY | os.O_TRUNC, os.O_RDONLY | os.O_CLOEXEC))
    assert sorted((row.access, row.count) for row in made.rows()) == [("read", 2), ("write", 1)]


def test_places() -> None:
    """A directory at most four names deep; the mount of what is relative; an address; nothing for nothing."""
    paths = ("/a/b/c/d/e/f", "/", "/x", "sub/x", "127.0.0.1:80", "", "/a//b/./c/../x")
    found = places(summary(map(event, paths)))
    assert found == {"/a/b/c/d": 1, "/": 5, "/a/b/c/..": 1}
    bare = [event(path)._replace(mount=None) for path in ("sub/x", "", "127.0.0.1:80")]
    assert places(summary(bare)) == {"": 2, "127.0.0.1:80": 1}


def test_small_directories_fold_first() -> None:
    """What is busy keeps its row, whatever noise is made beside it; nothing is counted twice or lost."""
    busy = [event(f"/usr/lib/{name}/f") for name in ("a", "b") for _ in range(500)]
    noise = [event(f"/tmp/{number}/{number % 7}/f") for number in range(5000)]
    mixed = busy + noise
    random.Random(1).shuffle(mixed)
    made = Summary(groups=100)
    for each in mixed:
        made.add(each)
    assert len(made._times) <= 100
    found = places(made, 5)
    assert sum(found.values()) == 6000 and len(found) <= 5
    assert found["/usr/lib/a"] > 450 and found["/usr/lib/b"] > 450 and found.get("/tmp", 0) + found.get("/", 0) > 4900


def test_names_that_are_made_up_are_one_row() -> None:
    """A broken sentry can write any number, and any verdict."""
    made = summary(event("", f"call_{number}", f"verdict_{number % 256}") for number in range(5000))
    (row,) = made.rows()
    assert (row.call, row.verdict, row.count) == ("other", "other", 5000)


def test_many_rows_that_cannot_fold_take_no_longer() -> None:
    """More calls and verdicts than groups: every one is kept, and none begins the folding anew."""
    calls = sorted(set(_audit_names()))[:300]
    made = Summary(groups=50)
    for number in range(20):
        for call in calls:
            made.add(event(f"/{number}/x", call))
    assert len(made.rows(1)) == 300 and made.sum().count == 6000


def _audit_names() -> Iterator[str]:
    from sandbox._audit.event import names

    return iter(names().values())


def test_median_is_close_for_any_duration() -> None:
    """Within 6 percent from 64 ns up to an hour; the worst and the total are exact."""
    drawn = random.Random(2)
    for scale in (10**2, 10**4, 10**7, 10**12):
        values = [drawn.randrange(64, 2 * scale) for _ in range(999)]
        times = Times()
        for value in values:
            times.add(value)
        assert times.median() == pytest.approx(sorted(values)[499], rel=0.065)
        assert (times.worst, times.total) == (max(values), sum(values))
    assert Times().median() == 0.0


def test_durations_of_a_broken_sentry_are_bounded() -> None:
    times = Times()
    for bits in range(64):
        for low in range(50):
            times.add((1 << bits) + low * 997)
    assert len(times.buckets) < 320 and times.worst >= 1 << 63


def test_span_of_time() -> None:
    """Guests may follow each other in any order; damage has no time."""
    made = summary([event()._replace(time=when) for when in (5.0, 0.0, 3.0, 9.0, 4.0)])
    assert (made.first, made.last) == (3.0, 9.0)


def test_untrusted_is_said() -> None:
    assert summary([event(trusted=False), event()]).untrusted == 1


@pytest.mark.parametrize(("value", "text"), [(0.0, "0.00us"), (1e-7, "0.10us"), (0.9994e-3, "999.40us"), (90.0, "90.00s")])
def test_seconds(value: float, text: str) -> None:
    assert seconds(value) == text


# ---- a million ------------------------------------------------------------------------------------------------------


def million(path: Path, count: int = 1_000_000, at_once: int = 10_000) -> None:
    """A file of so many records, in batches as a Supervisor writes them: some 80 MB."""
    folders = [b"/usr/lib/%03d/%03d/file\0" % (number % 40, number % 1000) for number in range(at_once)]
    bodies = [path.ljust(-(-len(path) // 8) * 8, b"\0") for path in folders]
    size = RECORD.size + len(bodies[0])
    batch = bytearray(b"".join(record(0, path=body.rstrip(b"\0")) for body in bodies))
    assert len(batch) == size * at_once
    put = struct.Struct("<QQ").pack_into  # time and sequence
    sink = _audit.Sink(path, 1, {"pid": 1, "mounts": ["/"]})
    for first in range(0, count, at_once):
        for number in range(at_once):
            put(batch, number * size + 8, 10**18 + first + number, first + number + 1)
        sink.records(bytes(batch))
    sink.close()


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("big") / "audit"
    million(path)
    yield path
    path.unlink()


WEIGH = """
import os, sys
pid = os.posix_spawn(sys.executable, sys.argv[2:], os.environ)
_, status, used = os.wait4(pid, 0)
os.write(int(sys.argv[1]), b"%d %d" % (os.waitstatus_to_exitcode(status), used.ru_maxrss))
"""


class Cost(NamedTuple):
    """Status, how many lines were put out and the last 50 of them, and the peak of memory in bytes."""

    status: int
    lines: int
    tail: str
    peak: int


def cost(*arguments: str) -> Cost:
    """Of a command. The kernel's peak is at least that of whoever started it, so that is a small process."""
    read, write = os.pipe()
    weigh = [sys.executable, "-I", "-S", "-c", WEIGH, str(write), *COMMAND, *arguments]
    lines, tail = 0, deque[str](maxlen=50)
    with subprocess.Popen(weigh, env=ENV, pass_fds=[write], stdout=subprocess.PIPE, encoding="utf-8") as process:
        os.close(write)
        assert process.stdout
        for line in process.stdout:
            lines += 1
            tail.append(line)
    with open(read) as told:
        status, peak = map(int, told.read().split())
    return Cost(status, lines, "".join(tail), peak * 1024)


def test_a_cost_is_the_commands_own(tmp_path: Path) -> None:
    """Whatever the tests themselves need."""
    (tmp_path / "empty").touch()
    ballast = bytearray(300_000_000)
    assert cost("audit", str(tmp_path / "empty"), "--summary").peak < len(ballast) // 2


@pytest.mark.parametrize(
    ("mode", "lines", "end"),
    [
        ("--summary", None, "1000000"),
        ("--verify", 1, "1000000"),
        ("--json", 1_000_000, '"sequence": 1000000, '),
        ("--call=openat", 1_000_000, '01:46:40.001000       5 openat '),
    ],
)
def test_a_million_records_in_bounded_memory(mode: str, lines: Optional[int], end: str, big: Path, tmp_path: Path) -> None:
    """Beyond what the command needs for an empty file: less than 16 MB, of a trail of 80 MB; summed up, verified, and
    listed to the last record."""
    (tmp_path / "empty").touch()
    least = cost("audit", str(tmp_path / "empty"), mode)
    found = cost("audit", str(big), mode)
    assert least.status == found.status == 0 and end in found.tail and lines in (None, found.lines), found
    assert big.stat().st_size > 80_000_000 and found.peak - least.peak < 16_000_000, (found.peak, least.peak)


def test_the_first_lines_of_a_million_come_at_once(big: Path) -> None:
    """It is read as it is shown."""
    process = subprocess.Popen([*COMMAND, "audit", str(big), "--json"], env=ENV, stdout=subprocess.PIPE)
    with process:
        assert process.stdout and process.stdout.readline().startswith(b'{"version": 1, ')
        process.stdout.close()
        assert process.wait(30) == 125


def test_every_record_is_counted() -> None:
    file = io.BytesIO()
    sink = _audit.Sink(file, 1, {"mounts": ["/"]})
    sink.records(b"".join(record(number + 1, path=b"/a/f" if number % 2 else b"/b/f") for number in range(1000)))
    file.seek(0)
    assert places(summary(_audit.events(file))) == {"/a": 500, "/b": 500}
