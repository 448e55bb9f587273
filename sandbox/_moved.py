"""What guests have moved over the network, in sums that only grow."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ._messages import NetworkUsage


class Moved(NamedTuple):
    """Bytes over the network, at least, and how many guests' are not all known."""

    sent: int = 0
    received: int = 0
    unmetered: int = 0

    def now(self, usage: NetworkUsage | None) -> Moved:
        """Of one guest, of which this was known before: never less."""
        if usage is None:
            return self
        if usage.sent is None or usage.received is None:
            return self._replace(unmetered=1)
        return max(self, Moved(usage.sent, usage.received))

    def plus(self, others: Iterable[Moved]) -> Moved:
        return Moved(*map(sum, zip(self, *others)))
