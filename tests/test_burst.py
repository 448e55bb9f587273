"""Threads of a guest that make served calls one after the other share a processor with the thread of the sentry that serves
them; several do so together while they are given descriptors, and none computes in between."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import sandbox

from .processes import marked, sentries

pytestmark = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="on one processor there is nothing to be shared")
PYTHON = "/usr/bin/python3"
OPEN = "os.close(os.open('/usr/bin/env', os.O_RDONLY))"
FOREVER = f"import os\nwhile True: {OPEN}"
COMPUTES = f"{FOREVER}; sum(range(3000))"
FORKS = f"""
import os, time
for _ in range(20000): {OPEN}
child = os.fork()
for _ in range(2000 if child else 0): {OPEN}
print("done", flush=True)
time.sleep(600)
"""


@pytest.fixture
def box() -> Iterator[sandbox.Sandbox]:
    with sandbox.Sandbox() as made:
        yield made


def _processors(marker: str) -> list[str]:
    """That the guest's processes with this argument may use, as the host sees it."""
    found = []
    for pid in marked(marker):
        status = Path(f"/proc/{pid}/status").read_text()
        found.append(status.partition("\nCpus_allowed_list:")[2].split()[0])
    return found


def _share(found: list[str]) -> bool:
    return len(found) == 2 and len(set(found)) == 1 and found[0].isdigit()


def _becomes(marker: str, wanted: Callable[[list[str]], bool]) -> None:
    deadline = time.monotonic() + 60
    while not wanted(found := _processors(marker)):
        assert time.monotonic() < deadline, found
        time.sleep(0.005)


def _start(box: sandbox.Sandbox, stack: ExitStack, script: str, marker: str) -> sandbox.Popen:
    process = stack.enter_context(box.popen([PYTHON, "-c", script, marker], stdout=-1, text=True))
    stack.callback(process.kill)
    return process


def test_who_opens_at_the_same_time_shares(box: sandbox.Sandbox) -> None:
    with ExitStack() as stack:
        for _ in range(2):
            _start(box, stack, FOREVER, "burst-opens")
        _becomes("burst-opens", _share)


def test_who_computes_in_between_does_not(box: sandbox.Sandbox) -> None:
    """They would wait for each other's computing, beside a processor that has nothing to do."""
    with ExitStack() as stack:
        for _ in range(2):
            _start(box, stack, COMPUTES, "burst-computes")
        _becomes("burst-computes", lambda found: any(each.isdigit() for each in found))
        shared = 0
        for _ in range(200):
            shared += _share(_processors("burst-computes"))
            time.sleep(0.005)
        assert shared < 100


def test_what_was_shared_is_given_back(box: sandbox.Sandbox) -> None:
    """To who has shared, and to what was forked meanwhile."""
    own = _processors_of_ours()
    with ExitStack() as stack:
        each = [_start(box, stack, FORKS, "burst-forks") for _ in range(2)]
        for process in each:
            assert process.stdout is not None
            assert [process.stdout.readline() for _ in range(2)] == ["done\n"] * 2
        _becomes("burst-forks", lambda found: found == [own] * 4)


BLOCKS = f"""
import os, sys, threading
def opens():
    while not done.is_set(): {OPEN}
done = threading.Event()
names = [f"/work/fifo{{number}}" for number in range(16)]
for name in names: os.mkfifo(name)
busy = threading.Thread(target=opens)
busy.start()
waiting = [threading.Thread(target=os.open, args=(name, os.O_RDONLY)) for name in names]
for thread in waiting: thread.start()
for _ in range(5000): {OPEN}
for name in names: os.open(name, os.O_WRONLY)
for thread in waiting: thread.join()
done.set()
busy.join()
"""


def test_no_thread_of_the_sentry_stays_bound(box: sandbox.Sandbox) -> None:
    """Those that begin while others share a processor with a guest's threads, either."""
    box.run([PYTHON, "-c", BLOCKS], check=True)
    (sentry,) = sentries(os.getpid())

    def allowed() -> set[str]:
        texts = [path.read_text() for path in Path(f"/proc/{sentry}/task").glob("*/status")]
        return {text.partition("\nCpus_allowed_list:")[2].split()[0] for text in texts}

    deadline = time.monotonic() + 60
    while allowed() != {_processors_of_ours()}:
        assert time.monotonic() < deadline, allowed()
        time.sleep(0.005)


FORKS_AT_ONCE = "exec /bin/sh -c '(sleep 600; :) & echo done; read x' burst-begins"


def test_what_a_new_program_forks_is_given_back(box: sandbox.Sandbox) -> None:
    """It shares from its exec on, for a few calls; a subshell that it forks meanwhile executes nothing."""
    own = _processors_of_ours()
    with ExitStack() as stack:
        for _ in range(20):
            process = stack.enter_context(box.popen(["/bin/sh", "-c", FORKS_AT_ONCE], stdin=-1, stdout=-1, text=True))
            stack.callback(process.kill)
            assert process.stdout is not None and process.stdout.readline() == "done\n"
        _becomes("burst-begins", lambda found: found == [own] * 40)


@pytest.mark.parametrize("command", ["cat /proc/self/status", "cat /proc/thread-self/status", "cat /proc/$$/task/$$/status"])
def test_no_program_sees_that_it_shares(box: sandbox.Sandbox, command: str) -> None:
    """Not by what /proc says of it, either: libraries count by that."""
    own = _processors_of_ours()
    for _ in range(20):
        done = box.run(["/bin/sh", "-c", command], text=True, check=True)
        assert f"\nCpus_allowed_list:\t{own}\n" in done.stdout


CHOOSES = f"""
import os, threading, time
chosen = dict.fromkeys(sorted(os.sched_getaffinity(0))[:2])
stands, ends = threading.Barrier(3), threading.Event()
def stay(processor):
    os.sched_setaffinity(0, {{processor}})
    chosen[processor] = threading.get_native_id()
    stands.wait()
    ends.wait()
for processor in chosen: threading.Thread(target=stay, args=(processor,)).start()
stands.wait()
for _ in range(20):
    for _ in range(500): {OPEN}
    if os.fork() == 0: os._exit(0)
    os.wait()
    time.sleep(0.02)
print(all(os.sched_getaffinity(thread) == {{processor}} for processor, thread in chosen.items()))
ends.set()
"""


def test_what_the_guest_has_chosen_stays(box: sandbox.Sandbox) -> None:
    """Threads that it has bound to the processor of a burst look as if they had inherited that."""
    done = box.run([PYTHON, "-c", CHOOSES], text=True)
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr


def _processors_of_ours() -> str:
    return Path("/proc/self/status").read_text().partition("\nCpus_allowed_list:")[2].split()[0]


def test_calls_of_many_threads_are_answered_each(box: sandbox.Sandbox) -> None:
    """Also while they come together and go apart again and again: nothing is lost, and nothing is answered twice."""
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
    done = box.run([PYTHON, "-c", body], text=True, timeout=300)
    assert (done.returncode, done.stdout) == (0, "[] []\n"), done.stderr
