"""sandbox.otel: what OpenTelemetry's own SDK gets of a guest, in its in-memory exporter."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

import sandbox
from sandbox import GuestFault, PolicyError, Sandbox, _audit
from tests.helpers import interpreter
from tests.test_audit import record
from tests.test_audit_file import ABOUT, LOOP

pytest.importorskip("opentelemetry.sdk", reason="the SDK is the extra otel")

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider  # noqa: E402
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter, SpanExportResult  # noqa: E402
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter  # noqa: E402
from opentelemetry.trace import StatusCode  # noqa: E402

from sandbox.otel import Spans  # noqa: E402


class Kept:
    """A provider, and the spans that have ended."""

    def __init__(self) -> None:
        self.exporter, self.provider = InMemorySpanExporter(), TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self.exporter.get_finished_spans()


@pytest.fixture
def kept() -> Kept:
    return Kept()


REFUSED = "import os\nfor number in range({}):\n try: os.open(f'/usr/x{{number}}', 65)\n except OSError: pass"


def test_a_span_for_each_guest(kept: Kept) -> None:
    """Below the caller's own, from the guest's beginning to its end, with its counts; what was refused is an event that
    says what decided."""
    with kept.provider.get_tracer("test").start_as_current_span("caller") as caller:
        result = sandbox.run("cat /nowhere; echo x > /usr/x", shell=True, audit=Spans(kept.provider))
    span, _ = kept.spans
    assert span.name == "sandbox guest" and span.parent is not None
    assert span.parent.span_id == caller.get_span_context().span_id
    told = dict(span.attributes or {})
    audit = result.audit
    assert [told[f"sandbox.calls.{name}"] for name in ("done", "failed", "denied")] == [audit.done, audit.failed, audit.denied]
    assert told["sandbox.network"] == 'network = "none"' and len(str(told["sandbox.guest"])) == 16
    assert span.start_time and span.end_time and span.status.status_code is StatusCode.UNSET
    (event,) = span.events
    assert event.name == "sandbox.refused" and span.start_time < event.timestamp < span.end_time
    assert dict(event.attributes or {}) == {
        "sandbox.call": "openat",
        "sandbox.verdict": "denied",
        "sandbox.rule": sandbox.Policy().explain("open", "/usr/x", mode="w").rule,
        "error.type": "EROFS",
        "sandbox.paths": ("/usr/x",),
        "sandbox.access": ("write", "create"),
        "sandbox.pid": (event.attributes or {})["sandbox.pid"],
    }


def test_a_sandbox_is_one_span(kept: Kept) -> None:
    with Sandbox(audit=Spans(kept.provider)) as box:
        box.run(["true"])
        box.run(["true"])
        assert kept.spans == ()
    assert len(kept.spans) == 1


def test_every_call_is_a_span_where_that_is_asked_for(kept: Kept) -> None:
    """With its own times, inside its guest's."""
    result = sandbox.run(["cat", "/etc/hostname"], audit=Spans(kept.provider, calls="all"))
    *calls, guest = kept.spans
    assert len(calls) == result.audit.total > 5
    assert guest.context is not None
    for call in calls:
        assert call.parent is not None and call.parent.span_id == guest.context.span_id
        assert call.start_time and call.end_time and guest.start_time and call.start_time <= call.end_time
    opened = [call for call in calls if (call.attributes or {}).get("sandbox.paths") == ("/etc/hostname",)]
    assert [(call.name, (call.attributes or {})["sandbox.access"]) for call in opened] == [("openat", ("read",))]


def test_none_are_told_of_where_none_are_wanted(kept: Kept) -> None:
    sandbox.run("echo x > /usr/x", shell=True, audit=Spans(kept.provider, calls="none"))
    (span,) = kept.spans
    assert not span.events and (span.attributes or {})["sandbox.calls.denied"] == 1


def test_refusals_without_end_are_bounded(kept: Kept) -> None:
    """A span holds 128 of them, whatever the SDK is set to; all are counted."""
    from opentelemetry.sdk.trace import SpanLimits

    kept.provider = TracerProvider(span_limits=SpanLimits(max_events=SpanLimits.UNSET))
    kept.provider.add_span_processor(SimpleSpanProcessor(kept.exporter))
    sandbox.run([interpreter(), "-S", "-c", REFUSED.format(1000)], audit=Spans(kept.provider), check=True)
    (span,) = kept.spans
    assert len(span.events) == 128 and (span.attributes or {})["sandbox.calls.denied"] >= 1000


def test_names_are_printable(kept: Kept) -> None:
    """An exporter wants UTF-8, and whoever shows a span may be a terminal."""
    code = "import os\ntry: os.open(b'/usr/\\x1b[2J\\n\\xff', 65)\nexcept OSError: pass"
    sandbox.run([interpreter(), "-S", "-c", code], audit=Spans(kept.provider, calls="all"), check=True)
    texts = [str(text) for span in kept.spans for text in (span.name, *(span.attributes or {}).values())]
    assert all(text.isprintable() and text.encode() for text in texts)
    assert any(r"/usr/\\x1b[2J\\n\\xff" in text for text in texts)


def test_damage_is_an_error(kept: Kept) -> None:
    """What a broken sentry claims: an event, an error, and no time that is to come."""
    sink = _audit.Sink(Spans(kept.provider, calls="all"), 1, ABOUT)
    sink.begin(lambda: None)
    sink.records(record(2, service=9) + b"no record")
    sink.close()
    *calls, span = kept.spans
    assert [event.name for event in span.events] == ["sandbox.damaged"] * 3
    assert span.status.status_code is StatusCode.ERROR and len(calls) == 3
    assert all(call.end_time and span.end_time and call.end_time <= span.end_time for call in calls)


class Stuck(SpanExporter):
    """Exports nothing until it may."""

    def __init__(self) -> None:
        self.go = threading.Event()

    def export(self, spans: Any) -> SpanExportResult:
        self.go.wait(60)
        return SpanExportResult.SUCCESS


def test_a_batch_processor_that_does_not_keep_up_holds_nobody() -> None:
    """The SDK's queue is full and it drops; the guest goes on."""
    exporter, provider = Stuck(), TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=64, max_export_batch_size=16, schedule_delay_millis=10))
    try:
        done = sandbox.run([interpreter(), "-S", "-c", LOOP.format(3000)], audit=Spans(provider, calls="all"), timeout=120)
        assert done.returncode == 0 and not exporter.go.is_set()
    finally:
        exporter.go.set()
        provider.shutdown()


class Raising(SpanProcessor):
    def __init__(self, at: Callable[[Any], bool]) -> None:
        self._at = at

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        if self._at(span):
            raise ValueError("not this one")


def test_a_processor_that_raises_ends_its_guest() -> None:
    """As a function that raises does."""
    provider = TracerProvider()
    provider.add_span_processor(Raising(lambda span: span.attributes.get("sandbox.paths") == ("/bad",)))
    with pytest.raises(GuestFault, match="not this one"):
        sandbox.run("cat /bad; while :; do : < /etc/hostname; done", shell=True, audit=Spans(provider, calls="all"), timeout=60)


def test_words() -> None:
    with pytest.raises(PolicyError, match="otel: calls: 'some' is none of none, refused, all"):
        Spans(calls="some")


def test_it_is_optional() -> None:
    """Nothing imports OpenTelemetry but who asks for it; without it, that is an ImportError."""
    code = (
        "import sys, sandbox; sandbox.run(['true'], audit=print); assert 'opentelemetry' not in sys.modules\n"
        "sys.modules['opentelemetry'] = None\nimport sandbox.otel\n"
        "try: sandbox.otel.Spans()\nexcept ImportError: print('missing')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.endswith("missing\n")
