"""Guests as OpenTelemetry sees them: `audit=sandbox.otel.Spans()`; needs `opentelemetry-sdk`, which the extra `otel`
installs.

A span for each guest, named `sandbox guest`, below the span that is current when the guest is made. Its attributes:
`sandbox.guest`, `sandbox.network`, and at its end `sandbox.calls.done`, `.failed` and `.denied`. A refused call is an
event `sandbox.refused`, damage of the records an event `sandbox.damaged` that makes the span's status an error.
Attributes of a call: `sandbox.call`, `sandbox.verdict`, `sandbox.pid`, and where it has them `sandbox.paths`,
`sandbox.access`, `sandbox.rule` and `error.type`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ._audit.event import Event
from ._errors import PolicyError
from ._paths import printable

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

__all__ = ["Spans"]

_WORDS = ("none", "refused", "all")
_EVENTS_MAX = 128  # of a span: a guest can be refused without end, and a span is in memory until it ends
_VERDICTS = ("done", "failed", "denied")


class Spans:
    """For `audit=`. `provider` is a TracerProvider, the global one by default. `calls` are those that are told of one
    by one: "refused" (the first 128 of a guest, as events), "all" (also each served call as a span of its own, with
    its times) or "none"; all are counted.

    Nothing is kept here: a call is told when it is read from the guest's records, and a guest whose spans are not taken
    waits. A provider with a BatchSpanProcessor takes them at once, and drops what is more than its queue. So this is
    no evidence; that is an audit file. PolicyError: `calls` is no such word. ImportError: the extra is missing.

    >>> run(["true"], audit=Spans()).returncode
    0
    """

    def __init__(self, provider: TracerProvider | None = None, *, calls: str = "refused") -> None:
        from opentelemetry import trace

        if calls not in _WORDS:
            raise PolicyError(f"otel: calls: {calls!r} is none of {', '.join(_WORDS)}")
        self._tracer = trace.get_tracer("sandbox", tracer_provider=provider)
        self._calls = calls

    def for_guest(self, guest: int, about: Mapping[str, object]) -> GuestSpan:
        """What gets the events of one guest."""
        return GuestSpan(self._tracer, self._calls, guest, about)


class GuestSpan:
    def __init__(self, tracer: Any, calls: str, guest: int, about: Mapping[str, object]) -> None:
        self._tracer, self._refused, self._all = tracer, calls != "none", calls == "all"
        self._events, self._counts = 0, Counter[str]()
        told = {"sandbox.guest": f"{guest:016x}", "sandbox.network": about.get("network") or "rules"}
        self._span = tracer.start_span("sandbox guest", attributes=told)

    def __call__(self, event: Event) -> None:
        from opentelemetry.trace import StatusCode

        self._counts[event.verdict] += 1
        wrong = not event.trusted
        if wrong:
            self._span.set_status(StatusCode.ERROR, "what its sentry recorded is damaged, or was not served")
        if wrong or (self._refused and event.verdict == "denied"):
            self._tell("sandbox.damaged" if wrong else "sandbox.refused", event)
        if self._all:
            self._show(event)

    def close(self) -> None:
        self._span.set_attributes({f"sandbox.calls.{verdict}": self._counts[verdict] for verdict in _VERDICTS})
        self._span.end()

    def _tell(self, name: str, event: Event) -> None:
        self._events += 1
        if self._events <= _EVENTS_MAX:
            self._span.add_event(name, _attributes(event), timestamp=_when(event))

    def _show(self, event: Event) -> None:
        from opentelemetry.trace import set_span_in_context

        end = _when(event)
        begin = max(0, end - round(event.duration * 1e9))
        inside = set_span_in_context(self._span)
        made = self._tracer.start_span(event.call, context=inside, attributes=_attributes(event), start_time=begin)
        made.end(end_time=end)


def _when(event: Event) -> int:
    """Nanoseconds since 1970; what damaged records claim is not later than now."""
    now = time.time_ns()
    return min(round(event.time * 1e9), now) or now


def _attributes(event: Event) -> dict[str, Any]:
    """Printable: exporters want UTF-8, and what shows them is no terminal that a guest should drive."""
    texts = {
        "sandbox.call": event.call,
        "sandbox.verdict": event.verdict,
        "sandbox.rule": event.rule,
        "error.type": event.error,
    }
    lists = {"sandbox.paths": [printable(path) for path in event.paths], "sandbox.access": event.access}
    told = {name: printable(text) for name, text in texts.items() if text}
    return {**told, "sandbox.pid": event.pid, **{name: given for name, given in lists.items() if given}}
