"""What a trail comes to, for one page: read in one pass and in bounded memory, whatever is in it."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count

from .._audit.event import Event, words
from .._audit.format import END, HEADER, AuditDamage
from .._audit.guest import Guest
from .._audit.join import of_block
from .._audit.reader import Frame, Reader
from .groups import Groups, Seen, Tally
from .kinds import NETWORK, kind, mark
from .timeline import Timeline, about
from .tree import Tree

_GROUPS = 1000
_SLOWEST = 40
_LONGEST = 255  # characters of a mount or rule
_WRONG = 20  # events that are not trusted and are shown one by one
_VERDICTS = frozenset({"done", "failed", "denied", "damaged"})
About = tuple[str, str, str, str]  # call, path or address, what decided, how it ended


@dataclass
class Part:
    """A guest: `began` by the caller's clock, `caller` its pid."""

    count: int = 0
    began: float = 0.0
    caller: str = "?"
    state: str = "open"

    def begins(self, guest: Guest) -> None:
        """Anything may be in a header."""
        began, caller = guest.about.get("time"), guest.about.get("pid")
        self.began = self.began or (began if isinstance(began, float) else 0.0)
        self.caller = str(caller) if isinstance(caller, int) and 0 < caller < 1 << 32 else "?"
        self.state = "open" if guest.version > 1 else "unchained"

    def merge(self, other: Part) -> None:
        self.count += other.count


class Report:
    """`damage` is where the trail could not be read on, or None."""

    def __init__(self) -> None:
        self.files: list[str] = []
        self.damage: AuditDamage | None = None
        self.seen = Seen()
        self.calls: Groups[str, Tally] = Groups(Tally, _GROUPS)
        self.mounts: Groups[str, Tally] = Groups(Tally, _GROUPS)
        self.guests: Groups[int, Part] = Groups(Part, _GROUPS)
        self.refused: Groups[About, Seen] = Groups(Seen, _GROUPS)
        self.connections: Groups[About, Seen] = Groups(Seen, _GROUPS)
        self.timeline, self.tree = Timeline(), Tree()
        self.wrong: list[Event] = []
        self.untrusted = 0
        self._slowest: list[tuple[float, int, Event]] = []
        self._number = count()
        self._known = words()

    def read(self, files: Iterable[str]) -> None:
        """Up to the first damage."""
        guests: dict[int, Guest] = {}
        try:
            for name in files:
                self.files.append(name)
                with open(name, "rb") as file:
                    for guest, frame in Reader(file, name, guests):
                        self._frame(guest, frame)
        except AuditDamage as damage:
            self.damage = damage

    def _frame(self, guest: Guest, frame: Frame) -> None:
        part = self.guests.at(guest.number)
        if frame.magic == HEADER:
            part.begins(guest)
        elif frame.magic == END:
            part.state = "rotated" if guest.rotated else "ended"
        else:
            for event in of_block(guest, frame.magic, frame.data):
                part.count += 1
                self.add(event)

    def add(self, event: Event) -> None:
        call = event.call if event.call in self._known else "other"
        verdict = event.verdict if event.verdict in _VERDICTS else "other"
        took = round(event.duration * 1e9)
        self.seen.see(event)
        self.calls.at(call).see(verdict, took)
        self.mounts.at(_cut(event.decided)).see(verdict, took)
        self._keep_slow(event)
        if not event.trusted:
            self._distrust(event)
        if event.time:
            self.timeline.add(event, call)
        self._place(event)

    def _place(self, event: Event) -> None:
        if event.verdict == "denied":
            self.refused.at(_about(event)).see(event)
        if kind(event.call) == NETWORK:
            self.connections.at(_about(event)).see(event)
            return
        for path in event.paths:
            self.tree.add(path, event.mount, mark(event))

    def _distrust(self, event: Event) -> None:
        self.untrusted += 1
        if len(self.wrong) < _WRONG:
            self.wrong.append(event)

    def _keep_slow(self, event: Event) -> None:
        if len(self._slowest) < _SLOWEST:
            heapq.heappush(self._slowest, (event.duration, next(self._number), event))
        elif event.duration > self._slowest[0][0]:
            heapq.heapreplace(self._slowest, (event.duration, next(self._number), event))

    def slowest(self) -> list[Event]:
        return [event for _, _, event in sorted(self._slowest, reverse=True)]


def _about(event: Event) -> About:
    ended = event.verdict if event.error is None else f"{event.verdict} {event.error}"
    return event.call, about(event), _cut(event.rule or event.mount), ended


def _cut(text: str | None) -> str:
    return text[:_LONGEST] if text else ""
