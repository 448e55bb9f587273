"""Calls that belong together, in bounded memory."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from .._audit.event import Event
from .._audit.times import Times


class Merges(Protocol):
    count: int

    def merge(self, other: Any) -> None: ...


K = TypeVar("K", bound=Hashable)
V = TypeVar("V", bound=Merges)


class Groups(Generic[K, V]):
    """Values by key, `most` of them: where there are more, those with the fewest calls are put together in `rest`.

    `folded` is how many these are; a key that comes again after that counts again, so it may be less."""

    def __init__(self, make: Callable[[], V], most: int) -> None:
        self._make, self._most = make, most
        self._values: dict[K, V] = {}
        self.rest, self.folded, self.exact = make(), 0, True

    def at(self, key: K) -> V:
        value = self._values.get(key)
        return self._begun(key) if value is None else value

    def values(self) -> Iterable[V]:
        return self._values.values()

    def _begun(self, key: K) -> V:
        if len(self._values) >= self._most:
            self.exact = False
            self._fold(self._most // 2)
        return self._values.setdefault(key, self._make())

    def _fold(self, most: int) -> None:
        fewest = heapq.nsmallest(len(self._values) - most, self._values.items(), key=lambda pair: pair[1].count)
        for key, value in fewest:
            self.rest.merge(value)
            del self._values[key]
        self.folded += len(fewest)

    def top(self, most: int) -> list[tuple[K, V]]:
        """The `most` with the most calls, in the order in which they were first seen; the others are folded."""
        if len(self._values) > most:
            self._fold(most)
        return list(self._values.items())


@dataclass
class Seen:
    """How often, and when first and last; seconds since 1970."""

    count: int = 0
    first: float = math.inf
    last: float = 0.0

    def see(self, event: Event) -> None:
        self.count += 1
        if event.time:  # damage has none
            self.first, self.last = min(self.first, event.time), max(self.last, event.time)

    def merge(self, other: Seen) -> None:
        self.count += other.count
        self.first, self.last = min(self.first, other.first), max(self.last, other.last)


@dataclass
class Tally:
    """Verdicts, and how long it took."""

    verdicts: Counter[str] = field(default_factory=Counter)
    times: Times = field(default_factory=Times)
    count: int = 0

    def see(self, verdict: str, duration: int) -> None:
        self.count += 1
        self.verdicts[verdict] += 1
        self.times.add(duration)

    def merge(self, other: Tally) -> None:
        self.count += other.count
        self.verdicts.update(other.verdicts)
        self.times.merge(other.times)
