"""How much memory do idle guests hold; does one more cost more, the more there are; does one grow with what it has done?

Memory is what the kernel counts as each process's proportional share (PSS), of this process and everything that it has
started, less what it was before: a runner that keeps its guests' state in the caller's process is counted, too."""

from __future__ import annotations

import ctypes
import os
import resource
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Callable

from ..runners import Failed, Job, Runner
from .calls import call_job
from .case import OF_FILES, OF_THE_NETWORK, Case, Part, Question, Reading, Setup, ready

__all__ = ["DENSITY", "family", "share_kib"]

PR_SET_CHILD_SUBREAPER = 36
SPARE = 0.25  # of the machine's memory is left alone
ROUNDS = 4  # at most: fewer show nothing to `compare`, more take long
REAPED_WITHIN = 5.0  # seconds
LATEST = 3.0  # seconds that making one more may take: idle guests that keep the processors busy would in the end leave none to end them


def family() -> set[int]:
    """This process and all that descend from it; orphans come to it while `_adopting`."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            parents.setdefault(_parent(entry), []).append(int(entry.name))
    found, next_ones = set[int](), [os.getpid()]
    while next_ones:
        pid = next_ones.pop()
        found.add(pid)
        next_ones += parents.get(pid, [])
    return found


def _parent(entry: Path) -> int:
    try:
        return int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def share_kib(pids: Sequence[int] | set[int]) -> int:
    """The sum of the proportional shares of these processes' memory, in KiB."""
    return sum(_pss(pid) for pid in pids)


def _pss(pid: int) -> int:
    try:
        rows = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has ended
        return 0
    return sum(int(row.split()[1]) for row in rows if row.startswith("Pss:"))


def _available() -> float:
    """The part of the machine's memory that can be had."""
    rows = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return int(rows["MemAvailable"].split()[0]) / int(rows["MemTotal"].split()[0])


@contextmanager
def _adopting() -> Iterator[None]:
    """Orphans become our children, so that they are counted; and there are descriptors enough."""
    libc = ctypes.CDLL(None)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _reap(known: set[int]) -> None:
    """All guests have ended. What came to us when its parent had nobody else waits for, and thousands slow down all that comes. What is still
    ending is waited for, but what stays does not hold us up."""
    deadline = time.monotonic() + REAPED_WITHIN
    for pid in family() - known:
        with suppress(ChildProcessError):  # it was its parent's to the end
            while os.waitpid(pid, os.WNOHANG) == (0, 0) and time.monotonic() < deadline:
                time.sleep(0.001)


def _start(runner: Runner, job: Job, count: int, stack: ExitStack) -> None:
    for number in range(count):
        if number % 10 == 0 and _available() < SPARE:
            raise Failed(f"stopped at {number} guests: little memory is left")
        began = time.perf_counter()
        stack.enter_context(ready(runner, job))
        if (seconds := time.perf_counter() - began) > LATEST and number > 0:  # the first may have calls to make
            raise Failed(f"stopped at {number + 1} guests: making the last one took {seconds:.1f} s")


def _take(job: Job, count: int, runner: Runner) -> Reading:
    """Each guest is waited for until it idles. Ending them is not counted."""
    with _adopting(), ExitStack() as stack:
        known = family()
        stack.callback(_reap, known)
        before = share_kib(known)
        began = time.perf_counter()
        _start(runner, job, count, stack)
        seconds = time.perf_counter() - began
        held = share_kib(family()) - before
    return Reading((held / count, seconds * 1e3 / count))


def _case(setup: Setup, count: int) -> Case:
    parts = (
        Part(f"memory of an idle guest, of {count}", "KiB", "memory of an idle guest", count),
        Part(f"making an idle guest, of {count}", "ms", "making an idle guest", count),
    )
    return Case(parts, partial(_take, call_job(setup, "--idle", folder="density"), count), rounds=ROUNDS)


def _after(setup: Setup, calls: int) -> Case:
    """A guest that has made so many calls of two kinds, and idles."""
    job = call_job(setup, "--count", str(calls), "--idle", "stat", "open+close", folder="density")
    curve = "memory of a guest after calls"
    part = Part(f"{curve}: {calls}", "KiB", curve, calls)
    return Case((part,), lambda runner: Reading(_take(job, 1, runner).values[:1]), rounds=ROUNDS)


def _cases(setup: Setup) -> Iterator[tuple[str, Callable[[], Case]]]:
    for count in setup.scale.guests:
        yield f"{count} guests", partial(_case, setup, count)
    for calls in setup.scale.served:
        yield f"after {calls} calls", partial(_after, setup, calls)


DENSITY = Question("density", "Idle guests", _cases, cores=("idle", "busy"), without=(*OF_FILES, "sandbox-cli", *OF_THE_NETWORK))
