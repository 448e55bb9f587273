"""What all guests of this process come to, in numbers. Nothing is counted for it while a call is served: the counts are
the trails' own, and times are taken from records that are being moved anyway."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from . import _core
from ._audit import AuditSummary, Sink
from ._moved import Moved

if TYPE_CHECKING:
    from ._guest import Guest

_BOUNDS = tuple(scale * 10**exponent / 1e6 for exponent in range(7) for scale in (1, 2, 5))
_SAMPLE = 64  # records of each batch: a batch may be of ten thousand


@dataclass(frozen=True)
class Latency:
    """How long calls took from reception to answer. `buckets[i]` of them took at most `bounds[i]` seconds and more than
    the bound before; the last bucket is of those that took longer. `total` in seconds.

    Known of guests with `audit=` only, and there of a sample: the first 64 calls of each batch of records. A batch is
    what has come since the last one, up to some ten thousand calls of a busy guest.

    >>> Latency((0.1, 1.0), (3, 0, 1), 2.5).count
    4
    """

    bounds: tuple[float, ...] = _BOUNDS
    buckets: tuple[int, ...] = (0,) * (len(_BOUNDS) + 1)
    total: float = 0.0

    @property
    def count(self) -> int:
        return sum(self.buckets)


@dataclass(frozen=True)
class Metrics:
    """Numbers of all guests that this process has made. All but `guests` and `peak_memory` only grow.

    `guests` run now, of `started`; `failed` ended by a fault of theirs or of ours, `exceeded` by a limit, by its name.
    `served` has the calls as Result.audit has them, refusals included. Bytes: `record_bytes` of audit records,
    `served_bytes` of files that were made at each open (File functions and /proc), `output_bytes` of commands' output
    that callers kept; `sent_bytes` and `received_bytes` over the network, of guests that have rules for it, as
    NetworkUsage counts them. `unmetered` guests have moved more than these say: of each the bytes that were known last
    are in them. `peak_memory` is the most that a guest that has ended used, 0 where it is not known. What goes over
    granted files goes past the sandbox: its bytes are not counted.

    >>> Metrics().served.total
    0
    """

    guests: int = 0
    started: int = 0
    failed: int = 0
    exceeded: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    served: AuditSummary = field(default_factory=lambda: AuditSummary({}))
    latency: Latency = field(default_factory=Latency)
    record_bytes: int = 0
    served_bytes: int = 0
    output_bytes: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0
    unmetered: int = 0
    peak_memory: int = 0


class Totals:
    """Of one Supervisor, which tells what begins and what ends, under its own lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # of what is taken from records
        self._buckets = [0] * (len(_BOUNDS) + 1)
        self._nanoseconds = self._bytes = 0
        self._started = self._failed = self._peak = self._served = self._output = 0
        self._exceeded: Counter[str] = Counter()
        self._gone, self._moved = AuditSummary({}), Moved()

    def begins(self) -> None:
        self._started += 1

    def ends(self, guest: Guest, counted: AuditSummary, moved: Moved) -> None:
        self._failed += guest.failure is not None
        self._exceeded.update([guest.exceeded] if guest.exceeded else [])
        self._peak = max(self._peak, guest.usage.peak_memory)
        self._served += guest.served_bytes
        self._output += guest.output_bytes
        self._gone = added([self._gone, counted])
        self._moved = self._moved.plus([moved])

    def moved(self, data: bytes) -> None:
        """Records on their way to a sink."""
        took = [record.duration_ns for record in islice(_readable(data), _SAMPLE)]
        with self._lock:
            self._bytes += len(data)
            self._nanoseconds += sum(took)
            for duration in took:
                self._buckets[bisect_left(_BOUNDS, duration / 1e9)] += 1

    def metrics(self, guests: int) -> Metrics:
        """Of the guests that are gone; calls and bytes of the others are to be added."""
        with self._lock:
            latency = Latency(_BOUNDS, tuple(self._buckets), self._nanoseconds / 1e9)
            size = self._bytes
        exceeded = MappingProxyType(dict(self._exceeded))
        return Metrics(
            guests=guests,
            started=self._started,
            failed=self._failed,
            exceeded=exceeded,
            served=self._gone,
            latency=latency,
            record_bytes=size,
            served_bytes=self._served,
            output_bytes=self._output,
            peak_memory=self._peak,
            **_fields(self._moved),
        )


class MeteredSink(Sink):
    """A sink whose records are looked at when they have been kept."""

    def __init__(self, totals: Totals, *of: Any) -> None:
        super().__init__(*of)
        self._totals = totals

    def records(self, data: bytes) -> None:
        super().records(data)
        self._totals.moved(data)


def added(summaries: Iterable[AuditSummary]) -> AuditSummary:
    counts: dict[int, tuple[int, int, int]] = {}
    for summary in summaries:
        for nr, row in summary.counts.items():
            old = counts.get(nr, (0, 0, 0))
            counts[nr] = (old[0] + row[0], old[1] + row[1], old[2] + row[2])
    return AuditSummary(counts)


def with_running(found: Metrics, guests: Sequence[Guest]) -> Metrics:
    """And what guests that run have done so far. Asking may wait for records that are being written."""
    gone = Moved(found.sent_bytes, found.received_bytes, found.unmetered)
    return replace(
        found,
        served=added([found.served, *(guest.summary() for guest in guests)]),
        served_bytes=found.served_bytes + sum(guest.served_bytes for guest in guests),
        output_bytes=found.output_bytes + sum(guest.output_bytes for guest in guests),
        **_fields(gone.plus(guest.moved() for guest in guests)),
    )


def _fields(moved: Moved) -> dict[str, Any]:
    return {"sent_bytes": moved.sent, "received_bytes": moved.received, "unmetered": moved.unmetered}


def _readable(data: bytes) -> Iterable[_core.Record]:
    """Up to what is none: the trail itself says so."""
    try:
        yield from _core.records(data)
    except _core.Malformed:
        return
