"""How long calls took, in little memory: exact counts, sums and maxima, and a median to within 6 percent."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

_BITS = 4  # of a duration that count: 8 buckets for each power of two
_SHORTEST, _LONGEST = 1 << 6, 1 << 42  # ns: the buckets are few whatever a sentry claims


def _bucket(duration: int) -> int:
    """Lower end of the bucket of a duration in ns."""
    if not _SHORTEST <= duration <= _LONGEST:
        duration = min(max(duration, _SHORTEST), _LONGEST)
    shift = duration.bit_length() - _BITS
    return duration >> shift << shift


def _middle(lowest: int) -> float:
    return lowest + (1 << lowest.bit_length() - _BITS) / 2


@dataclass
class Times:
    """Of some calls, in ns.

    >>> times = Times()
    >>> for ns in (1000, 2000, 90000):
    ...     times.add(ns)
    >>> times.count, times.total, times.worst, abs(times.median() - 2000) < 2000 * 0.06
    (3, 93000, 90000, True)
    """

    count: int = 0
    total: int = 0
    worst: int = 0
    buckets: Counter[int] = field(default_factory=Counter)

    def add(self, duration: int) -> None:
        self.count += 1
        self.total += duration
        if duration > self.worst:
            self.worst = duration
        bucket = _bucket(duration)
        self.buckets[bucket] = self.buckets.get(bucket, 0) + 1

    def merge(self, other: Times) -> None:
        self.count += other.count
        self.total += other.total
        self.worst = max(self.worst, other.worst)
        self.buckets.update(other.buckets)

    def median(self) -> float:
        below = 0
        for lowest, count in sorted(self.buckets.items()):
            below += count
            if 2 * below >= self.count:
                return min(_middle(lowest), self.worst)
        return 0.0
