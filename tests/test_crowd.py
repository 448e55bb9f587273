"""Two threads of the sentry receive while several of the guest call at once, and one while a single one does."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import sandbox

CALLS = "import os\nprint('calls', flush=True)\nwhile True: os.stat('/usr')"
OPENS = CALLS.replace("os.stat('/usr')", "os.close(os.open('/usr/bin/env', os.O_RDONLY)); os.stat('/usr')")


@pytest.fixture
def box() -> Iterator[sandbox.Sandbox]:
    with sandbox.Sandbox() as made:
        yield made


def _waits(pid: int) -> dict[str, int]:
    """By thread: how often it has waited."""
    found = {}
    for path in Path(f"/proc/{pid}/task").glob("*/status"):
        found[path.parent.name] = int(path.read_text().partition("\nvoluntary_ctxt_switches:")[2].split()[0])
    return found


def becomes(pid: int, wanted: int) -> None:
    """The kernel wakes each that receives, for each call: so many wait again and again."""
    deadline, many = time.monotonic() + 60, -1
    while many != wanted:
        assert time.monotonic() < deadline, many
        before = _waits(pid)
        time.sleep(0.1)
        many = sum(count - before.get(thread, count) > 50 for thread, count in _waits(pid).items())


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="on one processor there is nothing to be won")
@pytest.mark.parametrize(("calls", "receive"), [(OPENS, 2), (CALLS, 1)])
def test_two_receive_for_a_crowd_and_one_afterwards(box: sandbox.Sandbox, calls: str, receive: int) -> None:
    """Where descriptors are given; for two that only ask one receives."""
    python, pid = "/usr/bin/python3", box._guest.parts.pid
    becomes(pid, 0)
    with box.popen([python, "-c", calls], stdout=-1) as one, box.popen([python, "-c", calls], stdout=-1) as other:
        try:
            for process in (one, other):
                assert process.stdout is not None and process.stdout.readline() == b"calls\n"
            becomes(pid, receive)
            one.send_signal(signal.SIGKILL)
            assert one.wait(60) == -signal.SIGKILL
            becomes(pid, 1)
        finally:
            for process in (one, other):
                process.kill()
    assert box.run(["/bin/cat", "/proc/self/comm"], timeout=60).stdout == b"cat\n"


def test_calls_of_a_crowd_are_answered_each(box: sandbox.Sandbox) -> None:
    """Also where signals disperse it again and again: nothing is interrupted, and nothing is answered twice."""
    body = """
import os, threading, time
wrong = []
def calls(number):
    for turn in range(40):
        for _ in range(60):
            name = f"/work/{number}.{turn}"
            with open(name, "xb") as file: file.write(name.encode())
            with open(name, "rb") as file:
                if file.read() != name.encode(): wrong.append(name)
            os.unlink(name)
            if os.path.exists(name): wrong.append(name)
        time.sleep(0.01 * (number % 2))
threads = [threading.Thread(target=calls, args=(number,)) for number in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(wrong, os.listdir("/work"))
"""
    done = box.run(["/usr/bin/python3", "-c", body], text=True, timeout=300)
    assert (done.returncode, done.stdout) == (0, "[] []\n"), done.stderr
