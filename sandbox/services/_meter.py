"""What a guest has used of the network, and the limits on it."""

from __future__ import annotations

import errno
import time
from collections import Counter
from collections.abc import Callable

from .._grants import Limits
from .._messages import NetworkUsage
from ._refused import Refused


class Meter:
    """One guest's."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._rate, self._clock = limits.connections, limits.connections_per_second, clock
        self._tokens, self._filled = max(1.0, self._rate or 0.0), clock()
        self._sockets = self._connections = self._accepted = self._refused = 0
        self._rules: Counter[str] = Counter()

    def usage(self) -> NetworkUsage:
        counts = self._sockets, self._connections, self._accepted, self._refused
        return NetworkUsage(*counts, dict(self._rules))

    def connecting(self) -> None:
        """One more connection is to be made. Refused: there have been as many as may be; EAGAIN: too many at once."""
        if self._most is not None and self._connections >= self._most:
            raise Refused("limit: connections")
        if self._rate is not None:
            now = self._clock()
            self._tokens = min(max(1.0, self._rate), self._tokens + (now - self._filled) * self._rate)
            self._filled = now
            if self._tokens < 1:
                raise OSError(errno.EAGAIN, "")
            self._tokens -= 1
        self._connections += 1

    def decided(self, kind: str, rule: str, error: int) -> None:
        """A call was answered, by this rule where one decided."""
        self._sockets += kind == "socket" and not error
        self._accepted += kind == "admit" and not error
        self._refused += error == errno.EACCES
        if rule:
            self._rules[rule] += 1
