"""What a guest has used of the network, and the limits on it."""

from __future__ import annotations

import errno
import time
from collections import Counter
from collections.abc import Callable, Mapping

from .._grants import Limits
from .._loop import Loop
from .._messages import NetworkUsage
from ._flow import Flow
from ._refused import Refused


class Meter:
    """One guest's."""

    def __init__(self, limits: Limits, loop: Loop, clock: Callable[[], float] = time.monotonic) -> None:
        self.flows = (
            Flow(loop, "bytes_sent", limits.bytes_sent, limits.bytes_sent_per_second),
            Flow(loop, "bytes_received", limits.bytes_received, limits.bytes_received_per_second),
        )
        self._most, self._rate, self._clock = limits.connections, limits.connections_per_second, clock
        self._tokens, self._filled = max(1.0, self._rate or 0.0), clock()
        self._sockets = self._connections = self._accepted = self._refused = 0
        self._rules: Counter[str] = Counter()

    @property
    def bytes_are_limited(self) -> bool:
        return any(flow.limited for flow in self.flows)

    def usage(self, carried: Mapping[str, tuple[int, int]] | None) -> NetworkUsage:
        """`carried` is what is known of bytes that are not relayed."""
        counts = self._sockets, self._connections, self._accepted, self._refused
        decided = dict(self._rules)  # at once: calls are being decided
        for flow in self.flows:
            if flow.cuts:
                decided[f"limit: {flow.limit}"] = decided.get(f"limit: {flow.limit}", 0) + flow.cuts
        if carried is None and not self.bytes_are_limited:
            return NetworkUsage(*counts, decided)
        carried = self._with_relayed(carried or {})
        sent, received = (sum(pair[way] for pair in carried.values()) for way in (0, 1))
        return NetworkUsage(*counts, decided, sent, received, carried)

    def _with_relayed(self, carried: Mapping[str, tuple[int, int]]) -> Mapping[str, tuple[int, int]]:
        out, back = (Counter(flow.rules) for flow in self.flows)  # copies: data is being moved
        out.update({rule: sent for rule, (sent, _) in carried.items()})
        back.update({rule: received for rule, (_, received) in carried.items()})
        return {rule: (out[rule], back[rule]) for rule in {**out, **back}}

    def connecting(self) -> None:
        """One more connection is to be made. Refused: there have been as many as may be, or as many bytes; EAGAIN: too
        many at once."""
        self.sending()
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

    def sending(self) -> None:
        """Something goes to the outside. Refused: as many bytes have moved as may."""
        for flow in self.flows:
            if flow.spent:
                raise Refused(f"limit: {flow.limit}")

    def accepted(self, rule: str) -> bool:
        """A connection has come that is relayed; may it stand?"""
        spent = any(flow.spent for flow in self.flows)
        self._accepted += not spent
        self._refused += spent
        self._rules[rule] += not spent
        return not spent

    def decided(self, kind: str, rule: str, error: int) -> None:
        """A call was answered, by this rule where one decided."""
        self._sockets += kind == "socket" and not error
        self._accepted += kind == "admit" and not error
        self._refused += error == errno.EACCES
        if rule:
            self._rules[rule] += 1
