"""How many bytes a guest may move one way, in total and by the second, and how many it has moved."""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Callable
from functools import partial

from .._loop import READABLE, Loop, Timer

_PAUSE = 0.02  # seconds between two looks at an empty bucket, at least
_WORTH = 4096  # bytes that are worth a turn


class Flow:
    """One way of one guest. `rate` is a token bucket that holds one second's worth; who finds it empty waits, and then
    all who wait have a turn. In the loop's thread."""

    def __init__(
        self, loop: Loop, limit: str, most: int | None, rate: int | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`limit` is the name of the limit on the total; `cuts` counts the connections that it has ended and
        the datagrams that it has kept."""
        self.limit, self._most, self._rate = limit, most, rate
        self.total = self.cuts = 0
        self.rules: Counter[str] = Counter()
        self._loop, self._clock = loop, clock
        self._tokens, self._filled = float(rate or 0), clock()
        self._waiting: dict[Callable[[], None], None] = {}
        self._timer: Timer | None = None

    @property
    def limited(self) -> bool:
        return self._most is not None or self._rate is not None

    @property
    def spent(self) -> bool:
        """Has as much moved as may in all?"""
        return self._most is not None and self.total >= self._most

    def room(self, wanted: int) -> int:
        """How many bytes may move now."""
        if self._most is not None:
            wanted = min(wanted, self._most - self.total)
        if self._rate is not None:
            now = self._clock()
            self._tokens = min(self._rate, self._tokens + (now - self._filled) * self._rate)
            self._filled = now
            wanted = min(wanted, int(self._tokens))
        return max(0, wanted)

    def takes(self, count: int) -> bool:
        """May a datagram of this size go? Else it is one more that the limit has cut."""
        fits = self._most is None or self.total + count <= self._most
        self.cuts += not fits
        return fits

    def moved(self, count: int, rule: str) -> None:
        """A datagram is moved whole: then the bucket owes the rest."""
        self.total += count
        self._tokens -= count
        self.rules[rule] += count

    def delays(self, source: socket.socket) -> bool:
        """Has what comes by a socket that is watched to wait? Then it is looked at again when there is room."""
        if self.spent or self.room(1):
            return False
        self._loop.want(source.fileno(), None)
        self.wait(partial(self._look_again, source))
        return True

    def _look_again(self, source: socket.socket) -> None:
        self._loop.want(source.fileno(), READABLE)

    def wait(self, turn: Callable[[], None]) -> None:
        """Call when there is room again."""
        self._waiting.setdefault(turn)
        self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is None and self._rate is not None:
            lacking = max(1.0, min(_WORTH, self._rate / 10)) - self._tokens
            self._timer = self._loop.call_at(time.monotonic() + max(_PAUSE, lacking / self._rate), self._again)

    def close(self) -> None:
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _again(self) -> None:
        """Who was first comes last the next time: wait() puts it at the end. Who has no turn keeps its place."""
        self._timer = None
        try:
            for turn in list(self._waiting):
                if not self.spent and not self.room(1):
                    break
                self._waiting.pop(turn, None)
                turn()
        finally:
            if self._waiting:
                self._set_timer()
