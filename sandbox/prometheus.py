"""sandbox.metrics() for Prometheus; needs `prometheus_client`, which the extra `prometheus` installs.

    prometheus_client.REGISTRY.register(sandbox.prometheus.Collector())

Names begin with `sandbox_`: guests, guests_started_total, guests_failed_total, guests_exceeded_total{limit},
calls_total{call,verdict}, call_seconds (a sample, of guests with an audit trail), record_bytes_total,
served_bytes_total, output_bytes_total, network_sent_bytes_total, network_received_bytes_total,
guests_unmetered_total (whose bytes of the network are not all known), peak_memory_bytes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import Any

from ._metrics import Latency, Metrics
from ._supervisor import metrics

__all__ = ["Collector"]

_VERDICTS = ("denied", "failed", "done")  # in the order of AuditSummary
_COUNTERS = (
    ("guests_started", "guests that were made", "started"),
    ("guests_failed", "guests that ended by a fault", "failed"),
    ("record_bytes", "bytes of audit records", "record_bytes"),
    ("served_bytes", "bytes of files that were made at each open", "served_bytes"),
    ("output_bytes", "bytes of commands' output that callers kept", "output_bytes"),
    ("network_sent_bytes", "bytes sent to the outside, at least", "sent_bytes"),
    ("network_received_bytes", "bytes received from there, at least", "received_bytes"),
    ("guests_unmetered", "guests that have moved more than is known", "unmetered"),
)
_GAUGES = (
    ("guests", "guests that run", "guests"),
    ("peak_memory_bytes", "the most that a guest that has ended used", "peak_memory"),
)


class Collector:
    """Asks for the numbers when it is asked. Costs nothing in between."""

    def collect(self) -> Iterator[Any]:
        """The metric families, as prometheus_client wants them."""
        yield from _families(metrics())


def _families(found: Metrics) -> Iterator[Any]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    for name, help_, field in _GAUGES:
        yield GaugeMetricFamily(f"sandbox_{name}", help_, value=getattr(found, field))
    for name, help_, field in _COUNTERS:
        yield CounterMetricFamily(f"sandbox_{name}", help_, value=getattr(found, field))
    exceeded = CounterMetricFamily("sandbox_guests_exceeded", "guests that a limit ended", labels=["limit"])
    for limit, count in found.exceeded.items():
        exceeded.add_metric([limit], count)
    calls = CounterMetricFamily("sandbox_calls", "served calls", labels=["call", "verdict"])
    for call, row in found.served.calls.items():
        for verdict, count in zip(_VERDICTS, row):
            calls.add_metric([call, verdict], count)
    yield from (exceeded, calls)
    took = "from reception to answer: a sample, of guests with an audit trail"
    buckets, total = _histogram(found.latency)
    yield HistogramMetricFamily("sandbox_call_seconds", took, buckets=buckets, sum_value=total)


def _histogram(latency: Latency) -> tuple[list[tuple[str, int]], float]:
    """Prometheus counts what is at most a bound."""
    bounds = [*map(repr, latency.bounds), "+Inf"]
    return list(zip(bounds, accumulate(latency.buckets))), latency.total
