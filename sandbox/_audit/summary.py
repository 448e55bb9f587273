"""What a trail comes to: calls by name, directory and verdict, and the time they took, in bounded memory."""

from __future__ import annotations

import math
import posixpath
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from .event import Event, words
from .times import Times

_DEEPEST = 4  # components of a directory that is counted by itself
_GROUPS = 1000  # that are counted at once
_ROWS = 40  # that are shown
Key = tuple[str, str, str, str]  # call, access, place, verdict
_VERDICTS = frozenset({"done", "failed", "denied", "damaged"})


@dataclass(frozen=True)
class Row:
    """Seconds; `access` is what a call opened files for, `place` a directory with all below it that has no row of its
    own, an address, a name that was asked for, or empty."""

    call: str
    access: str
    place: str
    verdict: str
    count: int
    total: float
    median: float
    worst: float


@lru_cache(maxsize=4096)
def _folder(path: str) -> str:
    """The directory that a path counts for.

    >>> _folder("/usr/lib/python3/os.py"), _folder("/a/b/./c//d/e/f"), _folder("/")
    ('/usr/lib/python3', '/a/b/c/d', '/')
    """
    parts = [part for part in posixpath.dirname(path).split("/") if part not in ("", ".")]
    return "/" + "/".join(parts[:_DEEPEST])


def _place(event: Event) -> str:
    path = event.paths[0] if event.paths else ""
    if path.startswith("/"):
        return _folder(path)
    return event.mount or (path[:64] if ":" in path or event.call == "resolve" else "")


def _parent(key: Key) -> Key | None:
    """What a group folds into. An address, or a name without a place, folds into its call."""
    call, access, place, verdict = key
    if place in ("", "/"):
        return None
    return call, access, posixpath.dirname(place) if place.startswith("/") else "", verdict


class Summary:
    """Takes events, and gives rows. Where there are too many directories those with the fewest calls are counted with
    what is above them."""

    def __init__(self, groups: int = _GROUPS) -> None:
        self._groups = self._limit = groups
        self._known = words()
        self._times: dict[Key, Times] = {}
        self.first, self.last = math.inf, 0.0
        self.untrusted = 0

    def add(self, event: Event) -> None:
        call = event.call if event.call in self._known else "other"
        access = "+".join(event.access)
        key = call, access, _place(event), event.verdict if event.verdict in _VERDICTS else "other"
        times = self._times.get(key)
        if times is None:
            times = self._begun(key)
        times.add(round(event.duration * 1e9))
        self.untrusted += not event.trusted
        if event.time:
            self.first, self.last = min(self.first, event.time), max(self.last, event.time)

    def _begun(self, key: Key) -> Times:
        if len(self._times) >= self._limit:
            self._fold(self._groups // 2)
            self._limit = max(self._groups, 2 * len(self._times))
        return self._times.setdefault(key, Times())

    def _fold(self, most: int) -> None:
        """Until there are `most` groups, or every one is as wide as can be."""
        while len(self._times) > most:
            smallest = sorted((times.count, key) for key, times in self._times.items() if _parent(key))
            if not smallest:
                return
            for _, key in smallest[: len(self._times) - most]:
                self._widen(key)

    def _widen(self, key: Key) -> None:
        parent = _parent(key)
        if parent is not None:
            self._times.setdefault(parent, Times()).merge(self._times.pop(key))

    def rows(self, most: int = _ROWS) -> list[Row]:
        """What took longest first."""
        self._fold(most)
        return sorted((_row(*group) for group in self._times.items()), key=lambda row: row.total, reverse=True)

    def sum(self) -> Row:
        every = Times()
        for times in self._times.values():
            every.merge(times)
        return _row(("all", "", "", ""), every)


def _row(key: Key, times: Times) -> Row:
    return Row(*key, times.count, times.total / 1e9, times.median() / 1e9, times.worst / 1e9)


def summary(events: Iterable[Event]) -> Summary:
    made = Summary()
    for event in events:
        made.add(event)
    return made
