"""When a trail's processes made their calls: few bins, whatever time they span."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from .._audit.event import Event
from .groups import Groups
from .kinds import RUN, is_notable, kind

BINS = 96
_PROCESSES = 1000  # that are told apart at once
_NOTABLE = 12  # calls of a process that are shown one by one
_LONGEST = 160  # characters of what a call was about


class Moment(NamedTuple):
    """A call that is shown by itself."""

    time: float
    call: str
    verdict: str
    error: str | None
    about: str


def about(event: Event) -> str:
    return " → ".join(path[:_LONGEST] for path in event.paths)[:_LONGEST]


@dataclass
class Process:
    """A thread, strictly: a trail does not say whose it is, nor who made it."""

    count: int = 0
    refused: int = 0
    first: float = math.inf
    last: float = 0.0
    bins: Counter[int] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)
    program: str = ""
    moments: list[Moment] = field(default_factory=list)
    notable: int = 0

    def see(self, event: Event, call: str) -> None:
        self.count += 1
        self.calls[call] += 1
        self.refused += event.verdict == "denied"
        if event.time < self.first:
            self.first = event.time
        if event.time > self.last:
            self.last = event.time
        if is_notable(event):
            self._note(event)

    def _note(self, event: Event) -> None:
        self.notable += 1
        if event.verdict == "done" and kind(event.call) == RUN:
            self.program = about(event)
        if len(self.moments) < _NOTABLE:
            self.moments.append(Moment(event.time, event.call, event.verdict, event.error, about(event)))

    def merge(self, other: Process) -> None:
        self.count += other.count
        self.refused += other.refused
        self.notable += other.notable
        self.first, self.last = min(self.first, other.first), max(self.last, other.last)
        self.bins.update(other.bins)
        self.calls.update(other.calls)


class Timeline:
    """Processes by guest and pid. A bin is `1 << shift` ns wide; `low` and `high` are the first and the last."""

    def __init__(self) -> None:
        self.processes: Groups[tuple[int, int], Process] = Groups(Process, _PROCESSES)
        self.bins: Counter[int] = Counter()
        self.refused: Counter[int] = Counter()
        self.shift, self.low, self.high = 10, -1, -1

    @property
    def width(self) -> float:
        """Seconds of a bin."""
        return (1 << self.shift) / 1e9

    def add(self, event: Event, call: str) -> None:
        process = self.processes.at((event.guest, event.pid))
        process.see(event, call)
        place = self._bin(round(event.time * 1e9))
        process.bins[place] += 1
        self.bins[place] += 1
        if event.verdict == "denied":
            self.refused[place] += 1

    def _bin(self, when: int) -> int:
        place = when >> self.shift
        if self.low <= place <= self.high:
            return place
        if self.low < 0:
            self.low = self.high = place
        while max(self.high, place) - min(self.low, place) >= BINS:
            self._widen()
            place >>= 1
        self.low, self.high = min(self.low, place), max(self.high, place)
        return place

    def _widen(self) -> None:
        self.shift, self.low, self.high = self.shift + 1, self.low >> 1, self.high >> 1
        rest = self.processes.rest
        for owner in (*self.processes.values(), rest):
            owner.bins = _halved(owner.bins)
        self.bins, self.refused = _halved(self.bins), _halved(self.refused)


def _halved(bins: Counter[int]) -> Counter[int]:
    made: Counter[int] = Counter()
    for place, count in bins.items():
        made[place >> 1] += count
    return made
