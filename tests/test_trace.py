"""Calls as they are served: Popen.events, Sandbox.events, their async forms, and sandbox run --trace."""

from __future__ import annotations

import asyncio
import gc
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import sandbox
from sandbox import Deny, Event, GuestFault, Popen, Sandbox
from sandbox._audit.event import Filter
from sandbox._audit.guest import Guest
from sandbox._events import Events, Stream
from sandbox._trace import line
from tests.test_audit import record
from tests.test_audit_file import ABOUT, LOOP
from tests.test_audit_sinks import until
from tests.test_cli import COMMAND, ENV, Terminal, call

PIPE = subprocess.PIPE
QUIET: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
WAITS = "cat /now; read line; cat /then"
HOSTILE = "import os\nfor name in (b'/\\x1b[2J', b'/a\\nb\\r', b'/\\xff\\xfe', b'/\\xc2\\x9b1m', b'/q\"'): os.access(name, 0)"
LINE = re.compile(
    r'\[pid [0-9]+\] [a-z0-9_]+\((".*"(, ".*")?(, O_[A-Z_|]+)?)?\) = (ok|-1 E[A-Z0-9]+ \([^()]+\)( \(DENIED\))?) <[0-9]+\.[0-9]{6}>( \[.+\])?'
)


def flood(calls: int) -> list[str]:
    return [sys.executable, "-S", "-c", LOOP.format(calls)]


def paths(events: Events) -> list[str]:
    return [event.paths[0] for event in events]


# ---- Popen ----------------------------------------------------------------------------------------------------------


def test_events_come_while_the_command_runs() -> None:
    """The command waits until its call was seen, and the events end with it, by themselves."""
    with Popen(WAITS, shell=True, stdin=PIPE, trace=True, **QUIET) as process:
        events = process.events(path="/now")
        seen = next(events)
        assert (seen.call, seen.verdict, seen.error) == ("openat", "failed", "ENOENT") and process.poll() is None
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
        assert list(events) == []
        assert process.wait() == 1


def test_events_are_all_from_the_beginning() -> None:
    """In order and without gaps, more than the ring holds, and as many as were counted."""
    with Popen(flood(30000), trace=True) as process:
        found = list(process.events())
        assert [event.sequence for event in found] == list(range(1, len(found) + 1))
        assert found[0].call == "execve" and all(event.trusted for event in found)
        assert sum(event.paths == ("/flood",) for event in found) == 30000
        assert process.wait() == 0
    assert len(found) <= process.audit.total <= len(found) + 2  # the last command's end


def test_events_after_the_end() -> None:
    """They are there when the command is gone, and once."""
    process = Popen(["cat", "/etc/hostname"], trace=True, stdout=subprocess.DEVNULL)
    assert process.wait() == 0
    assert paths(process.events(path="/etc/hostname")) == ["/etc/hostname"]
    assert list(process.events()) == []


def test_events_of_a_popen_that_nobody_has() -> None:
    """The command runs as long as its events are taken, and no longer."""
    events = Popen(["sh", "-c", "cat; cat /etc/hostname; exec sleep 99"], trace=True, stdout=subprocess.DEVNULL).events()
    guest = events._owner._guest  # type: ignore[attr-defined]
    assert "/etc/hostname" in (path for event in events for path in event.paths) and not guest.ended
    del events
    assert guest.wait_ended(60)


def test_filters() -> None:
    """Each alone and together, as `sandbox audit` has them."""
    some: list[dict[str, Any]] = [
        {"call": "openat"},
        {"path": "host"},
        {"verdict": "denied"},
        {"call": "openat", "path": "/nowhere", "verdict": "failed"},
    ]
    with Sandbox(trace=True) as box:
        everything, filtered = box.events(), [box.events(**wanted) for wanted in some]
        process = box.popen("cat /etc/hostname; echo > /usr/new; (cat /nowhere)", shell=True, **QUIET)
        of_one = process.events(pid=process.pid)
        assert process.wait() == 1
        box.close()
        every = list(everything)
        for wanted, events in zip(some, filtered):
            assert list(events) == list(filter(Filter(**wanted), every)) != []
        assert list(of_one) == list(filter(Filter(pid=process.pid), every)) != []


def test_events_need_records() -> None:
    with Popen(["true"]) as process, pytest.raises(ValueError, match="keeps no records"):
        process.events()
    with Sandbox() as box, pytest.raises(ValueError, match="keeps no records"):
        box.events()


def test_nothing_is_recorded_where_nobody_asked() -> None:
    """The sentry counts and writes no record."""
    with Sandbox() as box:
        assert box.run(["ls", "/"]).audit.total > 0
        assert box._guest.parts.trail.drain() == b""


def test_events_beside_an_audit_file(tmp_path: Path) -> None:
    """The file has all that the events have, and is whole; without trace=True events begin at the call."""
    with Popen(WAITS, shell=True, stdin=PIPE, audit=tmp_path / "a", **QUIET) as process:
        events = process.events()
        process.communicate(b"\n")
        found = list(events)
    kept = list(sandbox._audit.load(tmp_path / "a"))  # type: ignore[attr-defined]
    assert any("/then" in event.paths for event in found) and set(found) <= set(kept)
    assert call("audit", "--verify", str(tmp_path / "a")).returncode == 0


def test_fault_of_the_guest_is_raised() -> None:
    with Sandbox(trace=True) as box:
        events = box.events()
        box._guest.fail(GuestFault("broken"))
        with pytest.raises(GuestFault, match="broken"):
            list(events)


# ---- bounds ---------------------------------------------------------------------------------------------------------


def test_slow_listener_holds_its_guest_only() -> None:
    """The ring fills and the guest waits, in bounded memory; another does not. Nothing is lost."""
    with Sandbox(trace=True) as slow, Sandbox(files={"/work/f": lambda: b"x"}) as other:
        process = slow.popen(flood(100000))
        events = process.events()
        next(events)
        until(lambda: slow.audit.total > 15000)
        assert other.run(["cat", "/work/f"]).stdout == b"x"
        assert slow.audit.total < 60000 and process.poll() is None
        assert events.stream._size < 2 << 20
        assert sum(event.paths == ("/flood",) for event in events) == 100000 and events.lost == 0
        assert process.wait(60) == 0


@pytest.mark.parametrize("how", ["break", "close", "with", "garbage"])
def test_listener_that_leaves_lets_the_guest_go_on(how: str) -> None:
    with Sandbox(trace=True) as box:
        process = box.popen(flood(60000))
        events = process.events()
        if how == "break":
            for _ in events:
                break
            del events
        elif how == "with":
            with events:
                next(events)
        elif how == "garbage":
            cycle: list[object] = [next(events), events]
            cycle.append(cycle)
            del cycle, events
            gc.collect()
        else:
            until(lambda: box.audit.total > 1000)  # so that a batch has more than one
            next(events)
            events.close()
            assert list(events) == []
        assert process.wait(60) == 0
        box._guest._records.pull()
        assert box._guest._records._streams == []


def test_events_that_nobody_asks_for_hold_nobody() -> None:
    """The first MiB is kept, what is beyond is counted."""
    with Popen(flood(60000), trace=True) as process:
        assert process.wait(60) == 0
    events = process.events()
    found = list(events)
    assert [event.sequence for event in found] == list(range(1, len(found) + 1)) and len(found) > 1000
    assert events.lost > 10000 and process.audit.total - 2 <= len(found) + events.lost <= process.audit.total


def test_events_go_on_after_what_was_not_kept() -> None:
    """A gap of ours is not taken for a sentry's."""
    with Sandbox(trace=True) as box:
        process = box.popen([sys.executable, "-S", "-c", LOOP.format(60000) + "\ninput(); os.access('/done', 0)"], stdin=PIPE)
        until(lambda: box.audit.total > 60000)
        box._guest._records.pull()
        events = process.events()
        process.communicate(b"\n")
        found = list(events)
    assert events.lost > 10000 and {event.verdict for event in found} <= {"done", "failed"}
    assert all(event.trusted for event in found)


def test_commands_of_a_box_leave_nothing() -> None:
    """Their records are let go with them, whether or not somebody asked."""
    with Sandbox(trace=True) as box:
        for _ in range(3):
            box.run(["true"], check=True)
        box._guest._records.pull()
        assert box._guest._records._streams == []


# ---- Sandbox --------------------------------------------------------------------------------------------------------


def test_events_of_a_sandbox() -> None:
    """Of all its commands, from the call on, until it is closed."""
    with Sandbox(trace=True, files={"/work/f": lambda: b"x"}) as box:
        box.run(["cat", "/one"])
        events, late = box.events(path="/"), box.popen(["cat", "/work/f"], **QUIET)
        late.wait()
        box.run(["cat", "/three"])
        box.close()
        found = list(events)
    seen = [event.paths[0] for event in found]
    assert "/one" not in seen and seen.index("/work/f") < seen.index("/three")
    assert all(event.trusted for event in found) and any(event.service for event in found)


def test_listeners_do_not_take_from_each_other() -> None:
    with Sandbox(trace=True) as box:
        first, second = box.events(call="execve"), box.events(call="execve")
        process = box.popen(["true"])
        third = process.events(call="execve")
        assert next(first) == next(second) == next(third)
        process.wait()


def test_refused_in_a_box() -> None:
    with Sandbox() as box, pytest.raises(TypeError, match="trace belongs to the Sandbox"):
        box.popen(["true"], trace=True)


def test_forked_child_has_no_events() -> None:
    """It neither waits nor takes records of its parent's guest."""
    with Sandbox(trace=True) as box:
        events = box.events()
        pid = os.fork()
        if pid == 0:
            try:
                left = len(list(events))
                os._exit(min(left, 1))
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        box.run(["cat", "/here"])
        assert "/here" in (event.paths[0] for event in events if event.paths)


# ---- asyncio --------------------------------------------------------------------------------------------------------


def test_async_events() -> None:
    """While the command runs, to its end; a wait that is called off loses none and leaves the loop free."""

    async def main() -> list[str]:
        command = "echo 1 > /work/now; read line; echo 2 > /work/now-then"
        async with Sandbox(trace=True) as box, await box.apopen(command, shell=True, stdin=PIPE) as process:
            events = process.events(path="/work/now")
            found: list[Event] = []
            async for event in events:
                found.append(event)
                break
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(events.__anext__(), 0.05)
            assert process.returncode is None
            await process.communicate(b"\n")
            found += [event async for event in events]
            assert events.lost == 0
            return [event.paths[0] for event in found]

    assert asyncio.run(main()) == ["/work/now", "/work/now-then"]


def test_async_events_of_a_sandbox_let_others_run() -> None:
    """A guest that never pauses does not keep the event loop."""

    async def main() -> tuple[int, int]:
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.ensure_future(other())
        async with Sandbox(trace=True) as box, box.aevents(path="/flood") as events:
            run = asyncio.ensure_future(box.arun(flood(20000)))
            found = 0
            async for _ in events:
                found += 1
                if found == 20000:
                    break
            await run
        task.cancel()
        return found, turns

    found, turns = asyncio.run(main())
    assert found == 20000 and turns > 100


# ---- lines ----------------------------------------------------------------------------------------------------------


def lines_of(data: bytes) -> list[str]:
    stream = Stream(Guest(1, {**ABOUT, "mounts": ["/m\x1b[2J"]}), lambda: None, taken=True)
    stream.begin([(4, b"proc/\x1b]0;x\x07")], whole=True)
    stream.put(data)
    stream.close()
    return [line(found) for found in stream.ready()]


def test_lines_of_a_broken_sentry() -> None:
    """What it left out, made up or claims is one safe line each."""
    lines = lines_of(record(1, service=4) + record(2, service=4) + record(5) + b"not a record")
    assert lines[0] == r'[pid 5] openat("/f", O_RDONLY) = ok <0.000001> [/m\x1b[2J, proc/\x1b]0;x\x07]'
    assert lines[1] == r'[pid 5] openat("/f", O_RDONLY) = ok <0.000001> [/m\x1b[2J] NOT WHAT THE SUPERVISOR SERVED'
    assert lines[2] == "[pid 0] ?() = DAMAGED (record 5 follows 2) <0.000000> NOT WHAT THE SUPERVISOR SERVED"
    assert lines[4].startswith("[pid 0] ?() = DAMAGED (a record at byte") and all(map(str.isprintable, lines))


def test_lines_say_what_decided() -> None:
    """A rule of the network, with its text."""
    code = "import socket\ntry: socket.create_connection(('10.1.2.3', 80), 5)\nexcept OSError: pass"
    with Popen([sys.executable, "-c", code], network=["host", Deny("10.0.0.0/8")], trace=True) as process:
        events, found = process.events(), list[Event]()
        while events.stream.wait():
            found += events.stream.ready()
    (denied,) = [line(event) for event in found if event.call == "connect"]
    assert denied.startswith("[pid ") and 'connect("' in denied and "10.1.2.3" in denied
    assert "= -1 EACCES (Permission denied) (DENIED) <" in denied and "[deny 10.0.0.0/8, net/connect 10.1.2.3:80]" in denied


# ---- the command line -----------------------------------------------------------------------------------------------


def test_trace_on_standard_error() -> None:
    """strace's notation, guest paths, mount, verdict; the command's own output and status are as ever."""
    done = call("run", "--trace", "--no-hints", "--", "sh", "-c", "cat /etc/hostname; echo > /usr/new; exit 3")
    assert done.returncode == 3 and done.stdout
    traced = [text for text in done.stderr.splitlines() if text.startswith("[pid ")]
    assert all(LINE.fullmatch(text) for text in traced), traced
    assert any(re.search(r'openat\("/etc/hostname", O_RDONLY\) = ok <.*> \[/\]', text) for text in traced)
    assert any(re.search(r'openat\("/usr/new", O_WRONLY\|O_CREAT\|O_TRUNC\) = -1 EROFS .* \(DENIED\) <.*> \[/usr\]', text) for text in traced)
    assert re.match(r'\[pid [0-9]+\] execve\("/usr/bin/sh"\) = ok', traced[0])


def test_trace_comes_while_the_command_runs() -> None:
    script = "exec 2> /dev/null; cat /now; read line; cat /now"  # whose own words would be between those of the trace
    command = [*COMMAND, "run", "--trace", "--trace-path", "/now", "--", "sh", "-c", script]
    with subprocess.Popen(command, env=ENV, stdin=PIPE, stderr=PIPE, text=True) as process:
        assert process.stdin is not None and process.stderr is not None
        while "/now" not in (text := process.stderr.readline()):
            assert text
        assert process.poll() is None
        process.stdin.write("\n")
        process.stdin.close()
        assert 'openat("/now"' in process.stderr.read() and process.wait() == 1


def test_trace_to_a_file(tmp_path: Path) -> None:
    """In place of what the file held; nothing on standard error; beside --audit; filters as `sandbox audit` has."""
    file = tmp_path / "t"
    for _ in range(2):
        more = ("--audit", str(tmp_path / "a"), "--trace-call", "openat", "--trace-verdict", "failed", "--trace-path", "nowhere")
        done = call("run", "--trace", str(file), *more, "--", "sh", "-c", "cat /nowhere 2> /dev/null; cat /nowhere2; true")
        assert done.returncode == 0 and "[pid" not in done.stderr
        assert [re.findall('"(.*)"', text) for text in file.read_text().splitlines()] == [["/nowhere"], ["/nowhere2"]]
    assert call("audit", "--verify", str(tmp_path / "a")).returncode == 0


@pytest.mark.parametrize(("name", "value"), [("call", "execve"), ("path", "/usr/bin/true"), ("verdict", "done"), ("pid", "5")])
def test_filter_alone_traces(name: str, value: str) -> None:
    done = call("run", f"--trace-{name}", value, "--", "true")
    shown = [text for text in done.stderr.splitlines() if text.startswith("[pid ")]
    assert done.returncode == 0 and all(map(LINE.fullmatch, shown)) and (shown or name == "pid")


def test_no_trace_is_no_line() -> None:
    assert "[pid" not in call("run", "--", "true").stderr


def test_trace_of_hostile_names(tmp_path: Path) -> None:
    """One line each, every character printable, also where standard error is not UTF-8."""
    for encoding in ("utf-8", "latin-1", "ascii"):
        done = subprocess.run(
            [*COMMAND, "run", "--trace-call", "access", "--", sys.executable, "-S", "-c", HOSTILE],
            env={**ENV, "PYTHONIOENCODING": encoding}, stdin=subprocess.DEVNULL, capture_output=True, timeout=60,
        )  # fmt: skip
        shown = [text for text in done.stderr.decode(encoding).split("\n") if text.startswith("[pid ")]
        assert done.returncode == 0 and all(map(str.isprintable, shown))
        for name in (r'("/\x1b[2J")', r'("/a\nb\r")', r'("/\xff\xfe")', r'("/\x9b1m")', r'("/q\"")'):
            assert any(name in text for text in shown), (name, shown)


def test_trace_on_a_terminal() -> None:
    """While the terminal is raw, too, each line begins at its left edge, and no control character is a guest's."""
    terminal = Terminal("run", "--trace", "--no-hints", "--", "sh", "-c", "cat '/a\x1b[2J'; read line")
    shown = terminal.until(rb'openat("/a\x1b[2J", O_RDONLY) = -1 ENOENT')
    os.write(terminal.fd, b"\n")
    assert terminal.status() == 0
    traced = [text for text in shown.split(b"\r\n")[:-1] if b"[pid " in text]
    assert len(traced) > 5 and all(b"\n" not in text and b"\x1b" not in text for text in traced if b"cat:" not in text)


def test_trace_that_cannot_be_written(tmp_path: Path) -> None:
    """No FILE: nothing runs. A FILE that is full, or nobody who reads: the trace ends and the command does not."""
    done = call("run", "--trace", str(tmp_path / "no" / "file"), "--", "true")
    assert (done.returncode, done.stderr) == (125, f"sandbox: trace {tmp_path}/no/file: No such file or directory\n")
    done = call("run", "--trace", "/dev/full", "--", "sh", "-c", "echo on; exit 4")
    assert (done.returncode, done.stdout) == (4, "on\n")
    assert "sandbox: trace /dev/full: No space left on device: it ends before the command" in done.stderr
    command = [*COMMAND, "run", "--trace", "--no-hints", "--", *flood(30000)]
    with subprocess.Popen(command, env=ENV, stdin=subprocess.DEVNULL, stderr=PIPE) as process:
        assert process.stderr is not None and process.stderr.read(1)
        process.stderr.close()
        assert process.wait() == 0


@pytest.mark.parametrize("arguments", [("--trace", "ls", "/tmp"), ("--trace", "t", "--cwd", "/tmp", "true"), ("--trace", "ls")])
def test_file_or_command(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """What may have been meant as the command is not made a file."""
    done = call("run", *arguments, cwd=tmp_path)
    assert done.returncode == 125 and "needs -- before it" in done.stderr and not list(tmp_path.iterdir())


def test_trace_of_a_command_that_is_not_run(tmp_path: Path) -> None:
    done = call("run", "--trace", str(tmp_path / "t"), "--", "nonesuch")
    assert done.returncode == 127 and "nonesuch" in done.stderr


def test_trace_of_a_command_that_is_killed(tmp_path: Path) -> None:
    """What it did is there."""
    done = call("run", "--trace", str(tmp_path / "t"), "--timeout", "1", "--", "sleep", "99")
    assert done.returncode == 124 and "/usr/bin/sleep" in (tmp_path / "t").read_text()
