"""How many calls were served, by call and verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from .event import call_name

Counts = Mapping[int, "tuple[int, int, int]"]


@dataclass(frozen=True, repr=False)
class AuditSummary:
    """How many served calls there were: `done`, `failed` with Linux's own error, `denied` by the policy.

    `calls` has (denied, failed, done) by the call's name, `refused` the denied ones only.

    >>> AuditSummary({0: (0, 1, 5), 1: (2, 0, 0)}).total
    8
    """

    counts: Counts

    @cached_property
    def calls(self) -> dict[str, tuple[int, int, int]]:
        named: dict[str, tuple[int, int, int]] = {}
        for nr, row in sorted(self.counts.items()):
            old = named.get(call_name(nr), (0, 0, 0))
            named[call_name(nr)] = (old[0] + row[0], old[1] + row[1], old[2] + row[2])
        return named

    @property
    def denied(self) -> int:
        return sum(row[0] for row in self.counts.values())

    @property
    def failed(self) -> int:
        return sum(row[1] for row in self.counts.values())

    @property
    def done(self) -> int:
        return sum(row[2] for row in self.counts.values())

    @property
    def total(self) -> int:
        return self.denied + self.failed + self.done

    @property
    def refused(self) -> dict[str, int]:
        return {name: row[0] for name, row in self.calls.items() if row[0]}

    def since(self, earlier: AuditSummary) -> AuditSummary:
        """What was counted after `earlier`."""
        rows = {}
        for nr, row in self.counts.items():
            old = earlier.counts.get(nr, (0, 0, 0))
            rows[nr] = (row[0] - old[0], row[1] - old[1], row[2] - old[2])
        return AuditSummary({nr: row for nr, row in rows.items() if any(row)})

    def __repr__(self) -> str:
        return f"<AuditSummary: {self}>"

    def __str__(self) -> str:
        text = f"{self.total} calls served: {self.done} done, {self.failed} failed, {self.denied} denied"
        named = ", ".join(f"{name} {count}" for name, count in self.refused.items())
        return f"{text} ({named})" if named else text
