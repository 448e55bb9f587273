"""The audit trail: a summary always, a file when asked for; every served call is in it, and nothing in it can be forged
without being seen."""

from __future__ import annotations

import io
import json
import os
import struct
import sys
from pathlib import Path

import pytest

import sandbox
from sandbox import GuestFault, Sandbox, SandboxError, _audit
from sandbox._audit import AuditSummary, Event, Filter, events
from sandbox._audit.verify import verify


def recorded(script: str, tmp_path: Path, **options: object) -> tuple[sandbox.Result, list[Event]]:
    path = tmp_path / "audit"
    result = sandbox.run(script, shell=True, audit=path, **options)
    return result, list(_audit.load(path))


def test_records_equal_the_counts(tmp_path: Path) -> None:
    """Every call that was counted has a record, in sequence, with what it was about."""
    result, found = recorded("cat /etc/hostname; cat /nowhere; ls /work; mkdir d; mv d e", tmp_path)
    counted: dict[str, list[int]] = {}
    for event in found:
        counted.setdefault(event.call, [0, 0, 0])[("denied", "failed", "done").index(event.verdict)] += 1
    named = {call: tuple(counts) for call, counts in counted.items()}
    # what the last command's end itself called may be counted after the snapshot, never the other way round
    assert {call: row for call, row in named.items() if not call.startswith("call_")} == {
        call: row for call, row in result.audit.calls.items() if not call.startswith("call_")
    }
    assert [event.sequence for event in found] == list(range(1, len(found) + 1))
    assert all(event.trusted and event.duration > 0 and event.pid > 0 for event in found)


def test_what_a_record_says(tmp_path: Path) -> None:
    """Paths as the guest gave them, the mount that decided, the errno."""
    _, found = recorded("cat /etc/../etc/hostname; cat ./nowhere; mv /usr/bin/true here", tmp_path)
    reads = [event for event in found if event.paths == ("/etc/../etc/hostname",)]
    assert any(event.call == "openat" and event.mount == "/" and event.verdict == "done" for event in reads)
    missing = [event for event in found if event.paths == ("./nowhere",)]
    assert {(event.verdict, event.error, event.mount) for event in missing} == {("failed", "ENOENT", "/work")}
    moved = [event for event in found if event.call.startswith("rename")]
    assert any(event.paths == ("/usr/bin/true", "here") and event.error in ("EXDEV", "EROFS") for event in moved)


def test_refused_calls_are_named(tmp_path: Path) -> None:
    """A socket is refused, and that is in the summary and in the file."""
    code = "import socket\ntry: socket.socket()\nexcept OSError as e: print(e.errno)"
    result, found = recorded(f'{sys.executable} -c "{code}"', tmp_path)
    assert int(result.stdout) > 0
    assert "socket" in result.audit.refused and "socket" in str(result.audit)
    assert [event.verdict for event in found if event.call == "socket"] == ["denied"]


def test_flood_is_accounted_for(tmp_path: Path) -> None:
    """A million calls are a million records: a full ring makes the guest wait, nothing is lost."""
    count = int(os.environ.get("SANDBOX_FLOOD", "1000000"))
    code = f"import os\nfor i in range({count}):\n  os.access('/flood', 0)"
    path = tmp_path / "audit"
    result = sandbox.run([sys.executable, "-S", "-c", code], audit=path, timeout=580, check=True)
    floods, last = 0, 0
    for event in _audit.load(path):
        floods += event.paths == ("/flood",)
        assert event.sequence == last + 1
        last = event.sequence
    assert floods == count and result.audit.total == last


def test_several_guests_in_one_file(tmp_path: Path) -> None:
    path = tmp_path / "audit"
    for name in ("one", "two"):
        sandbox.run(["cat", f"/{name}"], audit=path)
    with Sandbox(audit=path) as box:
        box.run(["cat", "/three"])
    by_guest: dict[int, set[str]] = {}
    for event in _audit.load(path):
        by_guest.setdefault(event.guest, set()).update(event.paths)
    assert [sorted({"/one", "/two", "/three"} & paths) for paths in by_guest.values()] == [["/one"], ["/two"], ["/three"]]


def test_file_object() -> None:
    """A binary file of the caller's is written to, and left open."""
    file = io.BytesIO()
    sandbox.run(["true"], audit=file)
    file.seek(0)
    assert len(list(events(file))) > 3


def test_records_that_cannot_be_kept_end_the_guest() -> None:
    """Nothing runs on unrecorded."""
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full")
    with pytest.raises((GuestFault, OSError)):
        sandbox.run("while :; do : < /etc/hostname; done", shell=True, audit="/dev/full", timeout=60)


def test_served_requests_are_joined(tmp_path: Path) -> None:
    """A call that the Supervisor had a part in names its request, and the Supervisor's own record confirms it."""
    _, found = recorded("cat made /proc/self/status", tmp_path, files={"/work/made": lambda: b"x"})
    served = [event for event in found if event.service is not None]
    assert {"made", "/proc/self/status"} <= {path for event in served for path in event.paths}
    assert all(event.trusted for event in served)


ACCESS = {
    "open('r')": ("read",),
    "os.open('r', os.O_PATH)": ("path",),
    "os.open('r', os.O_RDONLY | os.O_TRUNC)": ("read", "write"),
    "open('r', 'r+')": ("read", "write"),
    "open('new', 'x')": ("write", "create"),
    "os.open('.', os.O_TMPFILE | os.O_RDWR)": ("read", "write", "create"),
    "os.creat": ("write", "create"),
}


def test_what_a_file_was_opened_for(tmp_path: Path) -> None:
    """Reading can be told from writing, whether the open was done or refused; no other call opens."""
    creat = "import ctypes; ctypes.CDLL(None).syscall(85, b'by-creat', 0o600)"
    code = "import os\nopen('r', 'w').close()\n" + "\n".join(creat if how == "os.creat" else how for how in ACCESS)
    code += "\ntry: open('/usr/x', 'w')\nexcept OSError: pass\nos.stat('r')"
    _, found = recorded(f'{sys.executable} -S -c "{code}"', tmp_path)
    opened = [event for event in found if event.flags is not None]
    assert [event.access for event in opened if event.paths[-1] in ("r", "new", ".", "by-creat")] == [("write", "create"), *ACCESS.values()]
    assert [event.access for event in opened if event.verdict == "denied"] == [("write", "create")]
    assert all(event.access == () for event in found if "open" not in event.call and event.call != "creat")
    row = json.loads(next(event for event in opened if event.verdict == "denied").to_json())
    assert row["access"] == ["write", "create"] and row["flags"] & os.O_TRUNC
    assert '"r" read ' in str(next(event for event in opened if event.access == ("read",) and event.paths == ("r",)))


def test_the_rule_is_that_of_explain(tmp_path: Path) -> None:
    """What decided, in the words of Policy.explain: a mount, the network, or the table of system calls."""
    code = "import os, socket\ntry: socket.socket()\nexcept OSError: pass\ntry: os.setgroups([1])\nexcept OSError: pass"
    _, found = recorded(f"cat /usr/lib/os-release /d/x; echo > /d/y; {sys.executable} -c '{code}'", tmp_path, mounts={"/d": "/usr/share"})
    policy = sandbox.Policy(mounts=[sandbox.Mount("/d", "/usr/share")])
    for path, mode in (("/usr/lib/os-release", "r"), ("/d/x", "r"), ("/d/y", "w")):
        assert {event.rule for event in found if path in event.paths} == {policy.explain("open", path, mode=mode).rule}
    assert {event.rule for event in found if event.call == "socket"} == {policy.explain("connect", "192.0.2.1:80").rule}
    assert {event.rule for event in found if event.call == "setgroups"} == {"system calls"}
    assert all(event.rule for event in found if event.verdict == "denied")


OLD = Path(__file__).with_name("trail_of_version_2")


def test_a_file_of_the_version_before() -> None:
    """It was written by the release that had no flags and no rules: read and verified as ever, and what it does not say
    is None."""
    found = list(_audit.load(OLD))
    assert {event.verdict for event in found} == {"done", "failed", "denied"} and all(event.trusted for event in found)
    assert [event.sequence for event in found] == list(range(1, len(found) + 1))
    denied = [event for event in found if event.verdict == "denied"]
    assert [(event.paths, event.mount) for event in denied] == [(("/usr/x",), "/usr")]
    assert {(event.flags, event.rule, event.access) for event in found} == {(None, None, ())}
    assert "file/0" in {event.served for event in found}
    (part,) = verify([str(OLD)])
    assert part.ok and part.records == len(found)


# ---- a sentry that lies ---------------------------------------------------------------------------------------------

RECORD = struct.Struct("<IIQQIIiHBBQQII")
OLD_RECORD = struct.Struct("<IIQQIIiHBBQQ")


def record(sequence: int, *, nr: int = 257, service: int = 0, path: bytes = b"/f", size: int = 0, magic: int = 0x53425832, flags: int = 0) -> bytes:
    text = (path + b"\0").ljust(-(-(len(path) + 1) // 8) * 8, b"\0")
    head = RECORD.pack(magic, size or RECORD.size + len(text), 10**18, sequence, 5, nr, 0, 0, 3, 1, 1000, service, flags, 0)
    return head + text


def audit_file(records: bytes, served: tuple[int, ...] = (), guest: int = 7 << 32, name: bytes = b"file/0", **about: object) -> io.BytesIO:
    file = io.BytesIO()
    sink = _audit.Sink(file, guest, {"mounts": ["/"], **about})
    for request in served:
        sink.served(request, name)
    sink.records(records)
    file.seek(0)
    return file


def test_forged_request_is_seen() -> None:
    """A record that claims what the Supervisor has not served, or claims it twice, is not trusted."""
    file = audit_file(record(1, service=4) + record(2, service=4) + record(3, service=5), served=(4,))
    assert [event.trusted for event in events(file)] == [True, False, False]
    file.seek(0)
    assert "NOT WHAT THE SUPERVISOR SERVED" in str(list(events(file))[2])


def test_the_address_is_the_supervisors() -> None:
    """A record with another address than the one that was judged is not trusted."""
    for path, trusted in ((b"192.0.2.1:80", True), (b"192.0.2.2:80", False), (b"[::1]:80", False)):
        name = b"net/connect 192.0.2.1:80\0allow 192.0.2.1"
        (event,) = events(audit_file(record(1, nr=42, service=4, path=path), (4,), name=name))
        assert (event.trusted, event.served, event.rule) == (trusted, "net/connect 192.0.2.1:80", "allow 192.0.2.1")


ADDRESSED = """
import socket
for family, any, peer in ((2, "127.0.0.1", "192.0.2.1"), (10, "::1", "2001:db8::1"), (10, "::1", "::ffff:192.0.2.1")):
    with socket.socket(family, socket.SOCK_DGRAM) as s:
        s.bind((any, 0))
        for call in (lambda: s.sendto(b"x", (peer, 9)), lambda: s.sendmsg([b"x"], [], 0, (peer, 9)), lambda: s.connect((peer, 9))):
            try: call()
            except OSError: pass
"""


def test_addresses_are_those_that_were_judged(tmp_path: Path) -> None:
    """Of every family and call: the sentry's text is the Supervisor's, and a bind has no rule."""
    path = tmp_path / "audit"
    sandbox.run([sys.executable, "-c", ADDRESSED], audit=path, network=[sandbox.Allow("192.0.2.1")], check=True)
    found = [event for event in _audit.load(path) if (event.served or "").startswith(("net/bind", "net/connect", "net/send"))]
    assert len(found) == 12 and all(event.trusted and event.served.endswith(" " + event.paths[0]) for event in found)  # type: ignore[union-attr]
    assert {event.rule for event in found} == {None, "allow 192.0.2.1", "default"}
    assert {event.rule for event in found if event.call == "bind"} == {None}


def test_gap_is_seen() -> None:
    assert [event.verdict for event in events(audit_file(record(1) + record(3)))] == ["done", "damaged", "done"]


@pytest.mark.parametrize("bad", [b"\0" * 80, record(2, size=8), record(2, size=1 << 30), record(2, magic=1), b"x"])
def test_damage_of_one_guest_is_not_the_others(bad: bytes) -> None:
    file = audit_file(record(1) + bad)
    file.seek(0, 2)
    _audit.Sink(file, 9 << 32, {"mounts": ["/"]}).records(record(1))
    file.seek(0)
    assert [event.verdict for event in events(file)] == ["done", "damaged", "done"]


def test_block_that_is_none() -> None:
    with pytest.raises(SandboxError, match="audit file x"):
        list(events(io.BytesIO(b"SBXR" + b"\xff" * 12), "x"))


def test_unknown_mount_and_call() -> None:
    file = io.BytesIO()
    _audit.Sink(file, 1, {}).records(record(1, nr=499))
    file.seek(0)
    event = next(events(file))
    assert (event.mount, event.call) == ("#0", "call_499")


def test_printing_is_safe() -> None:
    """A guest's path cannot drive a terminal, and JSON is one line."""
    event = next(events(audit_file(record(1, path=b"/\x1b[2J\n\xff"))))
    assert "\\x1b[2J\\n\\xff" in str(event) and str(event).isprintable()
    row = json.loads(event.to_json())
    assert os.fsencode(row["paths"][0]) == b"/\x1b[2J\n\xff" and "\n" not in event.to_json()


def test_filter() -> None:
    event = next(events(audit_file(record(1))))
    assert Filter()(event) and Filter(pid=5, call="openat", path="f", verdict="done")(event)
    for other in (Filter(pid=6), Filter(call="open"), Filter(path="g"), Filter(verdict="failed")):
        assert not other(event)


def test_summary() -> None:
    summary = AuditSummary({257: (1, 2, 3), 4: (0, 0, 5)})
    assert (summary.total, summary.denied, summary.failed, summary.done) == (11, 1, 2, 8)
    assert summary.refused == {"openat": 1}
    assert summary.since(AuditSummary({257: (1, 2, 1)})).calls == {"openat": (0, 0, 2), "stat": (0, 0, 5)}
    assert str(summary) == "11 calls served: 8 done, 2 failed, 1 denied (openat 1)"
