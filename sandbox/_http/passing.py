"""What both versions of HTTP need of a connection: whom it may be for, who judges, who is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from . import wire
from .heads import Asked, Bad
from .judge import Judge, Origin
from .streams import Stream


@dataclass(frozen=True)
class Passing:
    """`origins` are all that its requests may be for, `tell` hears of each decision, `busy` that something came."""

    guest: Stream
    upstream: Stream
    origins: Sequence[Origin]
    judge: Judge
    tell: Callable[[wire.Decision], None]
    busy: Callable[[], None]
    broken: str = ""
    """Why no request can be passed on."""

    def decide(self, asked: Asked) -> Mapping[bytes, tuple[bytes, bytes]]:
        """INVARIANT judged-first: no byte of a request goes upstream before this returns what it carries. Bad: it is
        refused."""
        rule = self.judge.rule(asked.method, asked.origin, asked.target)
        if rule is None:
            raise Bad(403, f"no rule allows {asked.method} {asked.origin.scheme}://{asked.origin.authority}{asked.target}")
        if self.broken:
            raise Bad(502, self.broken)
        texts = (text.encode() for text in (asked.method, asked.origin.name, asked.target))
        self.tell(wire.Decision(True, rule, asked.origin.port, 0, *texts))
        return self.judge.fields(asked.origin)

    def refused(self, bad: Bad, method: bytes, host: bytes, target: bytes) -> None:
        """Tell of a request that was not passed on, as the guest wrote it."""
        port = self.origins[0].port
        self.tell(wire.Decision(False, wire.NO_RULE, port, bad.status, method, host, target))
