"""The most that a run had at one time: threads, memory, descriptors, processor time."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

from ._seen import Seen


class Peaks:
    """Memory is the sum of the resident peaks of the processes that lived at one time: not less than what they had
    together. What they share is counted for each."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen
        self._threads = 0
        self._now = 0
        self._began: dict[int, int] = {}
        self._most: dict[int, int] = {}
        self._lives: list[tuple[int, int, int]] = []

    def began(self, tid: int, process: int) -> None:
        self._threads += 1
        self._seen.peak("processes", self._threads)
        if tid == process:
            self._now += 1
            self._began[tid] = self._now

    def leaving(self, process: int) -> None:
        """A thread of a process is about to end: its memory is still there."""
        sizes = _sizes(process)
        self._most[process] = max(self._most.get(process, 0), sizes.get("VmHWM", 0))
        self._seen.peak("data", sizes.get("VmData", 0))

    def gone(self, tid: int) -> None:
        self._threads -= 1
        if tid in self._began:
            self._now += 1
            self._lives.append((self._began.pop(tid), self._now, self._most.pop(tid, 0)))

    def used(self, usage: Any) -> None:
        """What wait says of one that has ended, with those that it has waited for."""
        self._seen.peak("cpu_seconds", math.ceil(usage.ru_utime + usage.ru_stime))

    def finish(self) -> None:
        changes = [(began, most) for began, _, most in self._lives] + [(ended, -most) for _, ended, most in self._lives]
        total = 0
        for _, change in sorted(changes):
            total += change
            self._seen.peak("memory", total)


def _sizes(process: int) -> dict[str, int]:
    """The fields of /proc/PID/status that are sizes, in bytes."""
    found = {}
    with suppress(OSError), open(f"/proc/{process}/status", encoding="utf-8", errors="replace") as file:
        for line in file:
            words = line.split()
            if len(words) == 3 and words[2] == "kB":
                found[words[0].rstrip(":")] = int(words[1]) << 10
    return found
