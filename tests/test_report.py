"""sandbox report: the page says what the trail says, in bounded memory and size, and nothing in a trail reaches it raw."""

from __future__ import annotations

import http.server
import itertools
import os
import re
import shutil
import subprocess
import threading
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Optional

import pytest

import sandbox
from sandbox import _audit
from sandbox._audit.join import load_all
from sandbox._audit.show import seconds
from sandbox._report.groups import Groups, Seen
from sandbox._report.kinds import MARKS, kind, mark
from sandbox._report.text import clock
from sandbox._report.timeline import BINS, Timeline
from sandbox._report.tree import Tree
from tests.helpers import interpreter
from tests.test_audit import record
from tests.test_audit_cli import safe
from tests.test_audit_summary import cost, event, million
from tests.test_cli import call

ATTRIBUTES = {
    "html": {"lang"},
    "meta": {"charset", "http-equiv", "content", "name"},
    "a": {"href"},
    "section": {"id"},
    "svg": {"class", "viewbox", "preserveaspectratio"},
    "path": {"class", "d"},
    "details": {"class", "open"},
    **{tag: {"class", "id"} for tag in ("p", "div")},
    **{tag: {"class"} for tag in ("td", "th", "i", "summary")},
    **{tag: set() for tag in ("head", "title", "style", "body", "nav", "h1", "h2", "h3", "b", "bdi", "span")},
    **{tag: set() for tag in ("table", "thead", "tbody", "tr", "ul", "li")},
}
EMPTY = ("meta", "path")


class Page(HTMLParser):
    """A page as a browser reads it: `rows` are the tables' by section, `tree` the names of the files with their marks,
    `pictures` the paths of the timeline's by class: all calls' and then each process's. Anything that is not of these tags and attributes is an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text, self.section, self.seen = text, "", ""
        self.open: list[str] = []
        self.rows: dict[str, list[list[str]]] = {}
        self.words: dict[str, str] = {}
        self.tree: dict[tuple[str, ...], dict[str, int]] = {}
        self.names: list[str] = []
        self.pictures: list[dict[str, str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, Optional[str]]]) -> None:
        values = dict(attrs)
        assert set(values) <= ATTRIBUTES[tag], (tag, attrs)
        assert tag != "a" or (values["href"] or "").startswith("#")
        self.section = values["id"] or "" if tag in ("section", "p", "div") and "id" in values else self.section
        if tag == "tr":
            self.rows.setdefault(self.section, []).append([])
        if tag in ("td", "th"):
            self.rows[self.section][-1].append("")
        if tag == "li":
            self.names.append("")
        if tag == "svg":
            self.pictures.append({})
        if tag == "path":
            self.pictures[-1][values["class"] or ""] = values["d"] or ""
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag == "path":
            return
        assert self.open.pop() == tag
        if tag == "li":
            self.names.pop()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "style":
            return
        self.seen += data
        self.words[self.section] = self.words.get(self.section, "") + data
        if set(self.open) & {"td", "th"}:
            self.rows[self.section][-1][-1] += data
        if "li" in self.open and self.open[-1] == "i":
            name, count = data.rsplit(" ", 1)
            self.tree.setdefault(tuple(self.names), {})[name] = int(count.replace(",", ""))
        elif "li" in self.open and self.open[-1] in ("bdi", "li"):
            self.names[-1] += data.strip()

    def by_call(self, section: str = "totals") -> dict[str, list[str]]:
        return {row[0]: row[1:] for row in self.rows[section]}


def page(trail: Path, status: int = 0) -> Page:
    """The page of a trail, checked for what holds for every page."""
    made = trail.with_name("page.html")
    done = call("report", str(trail), "-o", str(made))
    assert done.returncode == status and "Traceback" not in done.stderr, done.stderr
    text = made.read_text("utf-8")
    assert safe(text)
    assert call("report", str(trail)).stdout == text
    return Page(text)


@pytest.fixture
def trail(tmp_path: Path) -> Path:
    return tmp_path / "audit"


# ---- what it says ---------------------------------------------------------------------------------------------------

SOCKETS = """
import socket
s = socket.create_server(("127.0.0.1", 0)); c = socket.create_connection(s.getsockname()); s.accept()
u = socket.socket(socket.AF_UNIX); u.bind("/tmp/socket")
try: socket.create_connection(("192.0.2.1", 53))
except OSError: pass
"""


def test_a_real_guest(trail: Path) -> None:
    """Files and what was done to them, programs, connections, refusals, and the numbers of the trail itself."""
    script = 'mkdir d; echo x > d/f; mv d/f d/g; cat /etc/hostname /nowhere; echo > /etc/x; "$0" -S -c "$1"'
    sandbox.run(["sh", "-c", script, interpreter(), SOCKETS], audit=trail, network="loopback", mounts={"/etc/x": "/etc/hostname"})
    found, shown = list(_audit.load(trail)), page(trail)
    assert shown.tree["/", "etc", "x"] == {"refused": 1} and "read" in shown.tree["/", "etc", "hostname"]
    assert shown.tree["relative, in /work", "d", "f"] == {"written": 1, "changed": 1}
    assert shown.tree["/", "nowhere"] == {"failed": 1}
    assert shown.tree["relative, in /work", "d"]["changed"] == sum(each.call.startswith(("mkdir", "rename")) * len(each.paths) for each in found)
    (port,) = {each.paths[0].rpartition(":")[2] for each in found if each.call == "connect" and each.paths[0].startswith("127")}
    connections = {(row[2], row[3]) for row in shown.rows["connections"]}
    assert {("connect", f"127.0.0.1:{port}"), ("bind", "/tmp/socket"), ("connect", "192.0.2.1:53")} <= connections
    assert [row[2:] for row in shown.rows["refused"][1:] if row[3] == "/etc/x"] == [["openat", "/etc/x", "mount /etc/x: /etc/hostname, read-only", "denied EROFS"]]
    for program in ("/bin/sh", "/usr/bin/mkdir", interpreter()):
        assert program in shown.words["processes"]


def test_the_numbers_are_the_trails(trail: Path) -> None:
    """By verdict, call, mount and guest; of two guests, and with every path in the tree."""
    for name in ("one", "two"):
        sandbox.run(f"cat /{name} /etc/hostname; ls -R /usr/lib/python3; : > /x", shell=True, audit=trail)
    found, shown = list(_audit.load(trail)), page(trail)
    table = shown.by_call()
    for group, key in (("call", lambda each: each.call), ("rule", lambda each: each.decided or "none")):
        counts = Counter((key(each), each.verdict) for each in found)  # type: ignore[no-untyped-call]
        for (name, verdict), count in counts.items():
            assert table[name][["done", "failed", "denied"].index(verdict)] == f"{count:,}", (group, name)
    assert {row[0]: row[3] for row in shown.rows["guests"][1:]} == {
        f"{guest:016x}": f"{count:,}" for guest, count in Counter(each.guest for each in found).items()
    }
    assert {row[4] for row in shown.rows["guests"][1:]} == {"whole"}
    marks = Counter(mark(each) for each in found if kind(each.call) != "network" for _ in each.paths)
    tops = [counts for names, counts in shown.tree.items() if len(names) == 1]
    assert marks == sum(map(Counter, tops), Counter())


def test_the_slowest_are_the_trails(trail: Path) -> None:
    """The forty that took longest, the longest first, each as its record has it."""
    sandbox.run("cat /one /etc/hostname; ls -R /usr/lib/python3; : > /x", shell=True, audit=trail)
    found = list(_audit.load(trail))
    took = {
        (clock(each.time), str(each.pid), each.call, each.verdict, " → ".join(each.paths)): each.duration for each in found
    }
    heads, *rows = page(trail).rows["slowest"]
    assert heads == ["took", "time", "pid", "call", "verdict", "about"]
    durations = [took[row[1], row[2], row[3], row[4], row[5]] for row in rows]
    assert durations == sorted((each.duration for each in found), reverse=True)[:40]
    assert [row[0] for row in rows] == [seconds(duration) for duration in durations]


def test_the_bars_are_the_trails(trail: Path) -> None:
    """A column for each span of time in which there were calls: of all, of the refused, and of each process."""
    for name in ("one", "two"):
        sandbox.run(f"cat /{name} /etc/hostname; for i in 1 2 3; do ls -R /usr/lib/python3; : > /x$i; done", shell=True, audit=trail)
    found, shown = list(_audit.load(trail)), page(trail)
    times = [round(each.time * 1e9) for each in found]
    shift = next(shift for shift in itertools.count(10) if (max(times) >> shift) - (min(times) >> shift) < BINS)
    columns = [(when >> shift) - (min(times) >> shift) for when in times]
    assert f"A column is {seconds((1 << shift) / 1e9)};" in shown.words["processes"]
    every = Counter(columns)
    refused = Counter(column for column, each in zip(columns, found) if each.verdict == "denied")
    most = max(every.values())
    high = {kind: {column: max(1, round(40 * calls / most)) for column, calls in bins.items()} for kind, bins in (("l2", every), ("l4", refused))}
    assert {kind: heights(path) for kind, path in shown.pictures[0].items()} == high
    processes: dict[tuple[int, int], Counter[int]] = {}
    for column, each in zip(columns, found):
        processes.setdefault((each.guest, each.pid), Counter())[column] += 1
    assert sorted(map(drawn, processes.values()), key=str) == sorted(shown.pictures[1:], key=str)
    assert {level for picture in shown.pictures[1:] for level in picture} >= {"l0", "l1", "l2"}


def heights(path: str) -> dict[int, int]:
    """Of columns that stand on the ground."""
    found = {int(x): (int(top), int(high)) for x, top, high in re.findall(r"M(\d+) (\d+)h1v(\d+)h-1z", path)}
    assert {top + high for top, high in found.values()} == {40}
    return {x: high for x, (_, high) in found.items()}


def drawn(bins: Counter[int]) -> dict[str, str]:
    """A process's picture: a line from its first call to its last, and columns of fewer than 10 calls, than 1000, more."""
    first, length = min(bins), max(bins) - min(bins) + 1
    made = {"l0": f"M{first} 3h{length}v2h-{length}z"}
    for column, calls in sorted(bins.items()):
        level = "l1" if calls < 10 else "l2" if calls < 1000 else "l3"
        made[level] = made.get(level, "") + f"M{column} 1h1v6h-1z"
    return made


def test_kinds_name_what_is_in_the_table() -> None:
    """Of every call that names a path it is known what it does."""
    expected = {"openat": "opened", "creat": "written", "execve": "run", "unlinkat": "changed", "fchmodat2": "changed"}
    expected |= {"newfstatat": "looked at", "connect": "network", "utimensat": "changed", "lsetxattr": "changed"}
    assert {name: kind(name) for name in expected} == expected
    assert mark(event(verdict="denied")) == "refused" and mark(event(verdict="failed")) == "failed"


def test_a_guest_that_still_runs(trail: Path) -> None:
    with sandbox.Sandbox(audit=trail):
        assert "it still runs" in page(trail).words["guests"]


def test_an_empty_trail(trail: Path) -> None:
    trail.touch()
    shown = page(trail)
    assert "No call." in shown.words["totals"] and "No file." in shown.words["files"] and shown.tree == {}


# ---- hostile names --------------------------------------------------------------------------------------------------

NAMES = (
    *(b"<script>document.title='owned'</script>", b"<img src=x onerror=alert(1)>", b"</bdi></details></style>", b"&lt;b&gt;&amp;"),
    *(b"\x1b]0;title\x07\x1b[2J", b"line\nbreak\r\t", b"\xff\xfe\x80", "\u202egpj.exe\u2066\u200b\u2028\x85\ufeff".encode(), b'" onload="x'),
    *(b"--><!--", b"<!DOCTYPE x>", b"x" * 255, b"<" * 255, "\U000e0001".encode() * 60, b"\\x41"),
)
TOUCH = """
import os
for name in {!r}:
    os.access(b"/" + name, 0)
    for path in (name, b"/etc/" + name):
        try: os.open(path, os.O_CREAT | os.O_WRONLY)
        except OSError: pass
    try: os.rename(name, b"was" + name[:99])
    except OSError: assert b"/" in name
"""


def hostile(trail: Path, *names: bytes) -> None:
    """A guest that gives its files such names, runs as one of them, and asks for them where they are not."""
    sandbox.run([interpreter(), "-S", "-c", TOUCH.format((*NAMES, *names))], audit=trail, check=True)
    sandbox.run(["sh", "-c", 'cp /bin/true "$1"; "./$1"', "sh", "<script>alert(2)< script>\n"], audit=trail, check=True)


def test_hostile_names(trail: Path) -> None:
    """Every character is printable, every tag is ours, and the names are there, escaped."""
    hostile(trail)
    shown = page(trail)
    for name in ("<script>document.title='owned'<", "<img src=x onerror=alert(1)>", "&lt;b&gt;&amp;", r"\x1b]0;title\x07\x1b[2J", r"line\nbreak\r\t"):
        assert name in shown.seen
    for name in (r"\xff\xfe\x80", r"\u202egpj.exe\u2066\u200b\u2028\x85\ufeff", '" onload="x', r"\\x41", "x" * 100, "./<script>alert(2)< script>"):
        assert name in shown.seen
    assert "<script" not in shown.text and "\u202e" not in shown.text and "x" * 161 not in shown.text


def test_a_header_may_lie(trail: Path) -> None:
    """Mounts, times, pids and numbers that no Supervisor wrote."""
    about = {"mounts": ["<b>\n\ud800" * 5000], "time": float("nan"), "pid": ["<b>"]}
    sink = _audit.Sink(trail, 1, about)
    sink.records(record(1) + record(2, nr=2**31) + record(4, path=b"/" + b"a/" * 2000 + b"b", service=9))
    sink.records(b"no record")
    sink.served(7, b"net/connect 192.0.2.1:80\0host")
    sink.records(record(5, nr=42, service=7, path=b"192.0.2.2:80"))
    sink.close()
    shown = page(trail)
    assert "other" in shown.by_call() and r"<b>\n\ud800" in shown.words["totals"]
    assert [row[1:] for row in shown.rows["untrusted"][1:]] == [
        ["2", "?", "record 4 follows 2"],
        ["4", "openat", "names a request that was not served for it"],
        ["4", "?", "a record at byte 0 that is none"],
        ["5", "connect", "is not what was served: net/connect 192.0.2.1:80"],
    ]
    assert max(map(len, shown.tree)) < 40


# ---- damage ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["cut", "changed", "garbage after"])
def test_damage(how: str, trail: Path) -> None:
    """The place is on the page and the page is of what is before it; the command says so, too."""
    for name in ("one", "two"):
        sandbox.run(["cat", f"/{name}"], audit=trail)
    whole = trail.read_bytes()
    begin = whole.index(b"SBXH", 1)
    second = whole.index(b"SBXR", begin)
    broken = {"cut": whole[: second + 99], "changed": whole[: second + 99] + b"?" + whole[second + 100 :], "garbage after": whole[:second] + b"\0" * 99}
    trail.write_bytes(broken[how])
    shown = page(trail, status=125)
    assert f"broken at byte {second}" in shown.words["damage"] and f"broken at byte {second}" in call("report", str(trail)).stderr
    assert ("/", "one") in shown.tree and ("/", "two") not in shown.tree
    assert [row[4][:6] for row in shown.rows["guests"][1:]] == ["whole", "no end"]


@pytest.mark.parametrize("data", [b"x", b"\0" * 1000, b"<html>", b"SBXR" + b"\xff" * 12])
def test_what_is_no_trail(data: bytes, trail: Path) -> None:
    trail.write_bytes(data)
    shown = page(trail, status=125)
    assert "broken at byte 0" in shown.words["damage"] and "No call." in shown.words["totals"]


def test_rotated_files_are_one_report(tmp_path: Path) -> None:
    path = tmp_path / "audit"
    sandbox.run("ls -R /usr/lib/python3", shell=True, audit=sandbox.AuditFile(path, max_bytes=20_000, keep=99))
    files = sorted(tmp_path.glob("audit.*"), key=lambda file: -int(file.suffix[1:]))
    assert len(files) > 1
    done = call("report", *map(str, files), str(path))
    assert done.returncode == 0
    assert Page(done.stdout).rows["guests"][1][3:] == [f"{sum(1 for _ in load_all([*files, path])):,}", "whole"]


@pytest.mark.parametrize("arguments", [[], ["/nowhere/at/all"], ["/"], ["TRAIL", "-o", "TRAIL"], ["TRAIL", "-o", "LINK"], ["TRAIL", "-o", "/nowhere/x"]])
def test_what_cannot_be(arguments: list[str], trail: Path) -> None:
    """One line, and the trail is as it was: it cannot be overwritten by its own page."""
    sandbox.run(["true"], audit=trail)
    link, before = trail.with_name("link"), trail.read_bytes()
    link.symlink_to(trail)
    done = call("report", *(each.replace("TRAIL", str(trail)).replace("LINK", str(link)) for each in arguments))
    assert done.returncode == 125 and done.stderr and "Traceback" not in done.stderr
    assert trail.read_bytes() == before


# ---- many -----------------------------------------------------------------------------------------------------------

MANY = """
import os
for i in range(110000):
    os.access(f"/tree/{i % 300}/{i}", 0)
for i in range(400):
    if os.fork() == 0:
        try: os.open("/etc/new", os.O_CREAT | os.O_WRONLY)
        except OSError: os._exit(0)
    os.wait()
"""


def least(tmp_path: Path) -> int:
    """Bytes that the command needs for an empty trail."""
    (tmp_path / "empty").touch()
    return cost("report", str(tmp_path / "empty"), "-o", str(tmp_path / "empty.html")).peak


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trail of a real guest with more than a hundred thousand calls."""
    path = tmp_path_factory.mktemp("many") / "audit"
    sandbox.run([interpreter(), "-S", "-c", MANY], audit=path, check=True)
    return path


def test_a_hundred_thousand_calls(many: Path, tmp_path: Path) -> None:
    """Bounded memory, a page of less than 2 MB, and no call is lost by what was folded."""
    base = least(tmp_path)
    found = cost("report", str(many), "-o", str(tmp_path / "page"))
    assert found.status == 0 and found.peak - base < 32_000_000, (found.peak, base)
    text = (tmp_path / "page").read_text("utf-8")
    shown = Page(text)
    assert len(text) < 2_000_000
    assert sum(name.startswith("… and up to ") for names in shown.tree for name in names) > 0
    assert shown.tree["/", "tree"] == {"failed": 110000}
    assert shown.tree["/", "etc", "new"] == {"refused": 400}
    assert text.count('<details class="process">') == 200 and "… and 201 more" in shown.words["processes"]
    (refused,) = (row for row in shown.rows["refused"] if row[3] == "/etc/new")
    assert refused[1] == "400"


def test_a_million_records_in_bounded_memory(trail: Path, tmp_path: Path) -> None:
    """Of a trail of 80 MB."""
    million(trail)
    base = least(tmp_path)
    found = cost("report", str(trail), "-o", str(tmp_path / "page"))
    assert found.status == 0 and trail.stat().st_size > 80_000_000 and found.peak - base < 16_000_000, (found.peak, base)
    trail.unlink()
    assert "1,000,000 calls" in Page((tmp_path / "page").read_text("utf-8")).words["totals"]


def test_everything_different(trail: Path, tmp_path: Path) -> None:
    """What a broken sentry may write at worst: every record of its own path, pid, call, mount and time, and names that
    grow when they are escaped."""
    sink = _audit.Sink(trail, 1, {"pid": 1, "mounts": []})
    for first in range(0, 100_000, 1000):
        sink.records(b"".join(wild(number + 1) for number in range(first, first + 1000)))
    sink.close()
    base = least(tmp_path)
    found = cost("report", str(trail), "-o", str(tmp_path / "page"))
    text = (tmp_path / "page").read_text("utf-8")
    assert found.status == 0 and found.peak - base < 64_000_000 and len(text) < 8_000_000, (found.peak, base, len(text))
    shown = Page(text)
    assert "100,000 calls" in shown.words["totals"]
    assert sum(counts.get(each, 0) for names, counts in shown.tree.items() if len(names) == 1 for each in MARKS) == 50_000


def wild(number: int) -> bytes:
    """A record; every second one is a connect that was refused."""
    path = b"&" * 150 + b"%d" % number + "\U000e0001".encode() * 30
    made = bytearray(record(number, nr=(257, 42)[number % 2], path=b"/" + path + b"/" + path))
    made[8:16] = (number * 10**14).to_bytes(8, "little")
    made[24:28] = number.to_bytes(4, "little")
    made[36:38] = (number % 65535).to_bytes(2, "little")
    made[38] = 3 - 2 * (number % 2)
    return bytes(made)


def test_groups_fold_the_smallest() -> None:
    groups: Groups[int, Seen] = Groups(Seen, 10)
    for number in range(100):
        groups.at(0).see(event())
        groups.at(number).see(event())
    kept = dict(groups.top(3))
    assert kept[0].count == 101 and len(kept) == 3 and not groups.exact
    assert groups.rest.count + sum(seen.count for seen in kept.values()) == 200


def test_tree_folds_what_says_least() -> None:
    """A refusal stays, then a change, then what was busy; the sums hold."""
    tree = Tree()
    for number in range(1000):
        tree.add(f"/a/{number}", "/", "looked at")
    for path, each in (("/b/denied", "refused"), ("/b/made", "changed"), *[("/b/busy", "opened")] * 5):
        tree.add(path, "/", each)
    tree.fold(6)
    top = tree.top.children["/"]
    assert set(top.children["b"].children) == {"denied", "made", "busy"} and tree.exact
    assert dict(zip(MARKS, top.total())) == {"looked at": 1000, "read": 0, "written": 0, "changed": 1, "opened": 5, "run": 0, "refused": 1, "failed": 0}
    tree.fold(0)
    assert tree.top.children == {} and sum(tree.top.rest or []) == 1007 and tree.top.folded == 1006


def test_timeline_has_few_bins_for_any_time() -> None:
    """From a microsecond to centuries, in any order; every call is in one."""
    line = Timeline()
    times = (5e-7, 1e9, 1e9 + 1e-6, 1e9 + 3, 1e9 - 3600, 1.8e10, 1e9 + 7)
    for number, when in enumerate(times):
        line.add(event()._replace(time=when, pid=number % 2), "openat")
        assert line.high - line.low < BINS and line.low <= min(line.bins) and max(line.bins) <= line.high
    (_, one), (_, two) = line.processes.top(9)
    assert sum(line.bins.values()) == len(times) and one.bins + two.bins == line.bins


# ---- a browser ------------------------------------------------------------------------------------------------------

CHROMIUM = shutil.which("chromium") or ""


def browse(path: Path, profile: Path) -> tuple[str, str]:
    """The DOM that a headless Chromium makes of a file, and what it says on its console."""
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--enable-logging=stderr", "--no-first-run"]
    options += ["--disable-background-networking", "--disable-component-update", f"--user-data-dir={profile}", "--dump-dom"]
    done = subprocess.run([CHROMIUM, *options, path.as_uri()], capture_output=True, text=True, timeout=120, env={**os.environ, "HOME": str(profile)})
    assert done.returncode == 0, done.stderr
    return done.stdout, "\n".join(line for line in done.stderr.splitlines() if ":CONSOLE" in line)


class Asked(http.server.ThreadingHTTPServer):
    """Answers who asks on a port of this machine, and counts."""

    def __init__(self) -> None:
        self.count = 0
        super().__init__(("127.0.0.1", 0), Answer)
        self.host = f"127.0.0.1:{self.server_port}"
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,))
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Asked)
        self.server.count += 1
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.skipif(not CHROMIUM, reason="no chromium on this machine (Debian's package `chromium`): the page is not tried in a browser")
def test_in_a_browser(trail: Path, tmp_path: Path) -> None:
    """Its DOM is the page as it was written, its style is allowed, and whatever names say it asks nobody for anything.
    The same names, written raw into a page, do ask."""
    with Asked() as raw:
        names = (f"<img src='//{raw.host}'>", f"<style>@import url(//{raw.host})</style>", "<script>document.title='owned'</script>")
        (tmp_path / "raw.html").write_text(f"<!DOCTYPE html><base href='http://{raw.host}'>{''.join(names)}")
        dom, _ = browse(tmp_path / "raw.html", tmp_path / "profile")
    assert raw.count >= 2 and "<title>owned" in dom
    with Asked() as asked:
        hostile(trail, f"<base href='http://{asked.host}'>".encode(), *(name.replace(raw.host, asked.host).encode() for name in names))
        made = page(trail)
        dom, console = browse(tmp_path / "page.html", tmp_path / "profile")
    assert asked.count == 0 and console == "" and "owned</title>" not in dom
    seen = as_made(dom, made)
    assert ("relative, in /work", r"line\nbreak\r\t") in seen.tree


@pytest.mark.skipif(not CHROMIUM, reason="no chromium on this machine (Debian's package `chromium`): the large page is not tried in a browser")
def test_a_hundred_thousand_calls_in_a_browser(many: Path, tmp_path: Path) -> None:
    """All that is on their page is in the DOM: each row, each process, each file and each bar."""
    made = page(many)
    dom, console = browse(many.with_name("page.html"), tmp_path / "profile")
    assert console == "" and sum(1 for _ in _audit.load(many)) > 100_000
    seen = as_made(dom, made)
    assert seen.tree["/", "tree"] == {"failed": 110000} and len(seen.tree) > 1000
    assert len(seen.rows["slowest"]) == 41 and len(seen.rows["processes"]) > 200 and len(seen.pictures) == 201


def as_made(dom: str, made: Page) -> Page:
    """A DOM that is the page as it was written."""
    seen = Page(re.sub("</path>", "", dom).partition("<!DOCTYPE html>")[2])
    assert (seen.tree, seen.rows, seen.pictures, seen.seen.split()) == (made.tree, made.rows, made.pictures, made.seen.split())
    return seen


@pytest.mark.skipif(not CHROMIUM, reason="no chromium on this machine (Debian's package `chromium`): the policy is not tried in a browser")
def test_the_policy_holds_in_a_browser(trail: Path, tmp_path: Path) -> None:
    """Were a name to reach the page raw, it would still neither run nor load anything."""
    sandbox.run(["true"], audit=trail)
    page(trail)
    made = tmp_path / "page.html"
    with Asked() as asked:
        attack = f"<body><img src='http://{asked.host}/'><script>document.title = 'owned'</script><style>b {{}}</style>"
        made.write_text(made.read_text("utf-8").replace("<body>", attack), "utf-8")
        dom, console = browse(made, tmp_path / "profile")
    assert asked.count == 0 and "owned</title>" not in dom and console.count("Content Security Policy") >= 3
