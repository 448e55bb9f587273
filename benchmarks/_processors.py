"""Which processors there are for what is measured: the second one idle or busy, all of them or the first alone."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ._build import build

__all__ = ["first_only", "second_core"]


@contextmanager
def second_core(state: str) -> Iterator[None]:
    """With "busy" a process spins on the last core meanwhile."""
    if state == "idle":
        yield
        return
    spinner = subprocess.Popen([str(build("calls")), "--spin", str(max(os.sched_getaffinity(0)))])
    try:
        yield
    finally:
        spinner.kill()
        spinner.wait()


@contextmanager
def first_only() -> Iterator[None]:
    """All threads of this process, and what they start meanwhile, have the first processor alone: as under taskset."""
    before: dict[int, set[int]] = {}
    for tid in map(int, os.listdir("/proc/self/task")):
        with suppress(ProcessLookupError):  # it has ended
            before[tid] = os.sched_getaffinity(tid)
    try:
        for tid, processors in before.items():
            with suppress(ProcessLookupError):
                os.sched_setaffinity(tid, {min(processors)})
        yield
    finally:
        for tid, processors in before.items():
            with suppress(ProcessLookupError):
                os.sched_setaffinity(tid, processors)
