"""A series in numbers, and numbers in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median, quantiles

from .result import Series

__all__ = ["Summary", "number", "ratio", "summarize", "summary", "times_native", "with_unit"]


@dataclass(frozen=True)
class Summary:
    """Median and quartiles. Nothing is left out as an outlier."""

    median: float
    low: float
    high: float
    count: int


def summary(series: Series | None) -> Summary | None:
    """None: there are no values."""
    return summarize(series.values) if series is not None and series.values else None


def summarize(values: Sequence[float]) -> Summary:
    """Of at least one value."""
    low, middle, high = quantiles(values, n=4, method="inclusive") if len(values) > 1 else [*values] * 3
    return Summary(middle, low, high, len(values))


def times_native(series: Series | None, native: Series | None) -> list[float] | None:
    """The values divided by native's next to them: what makes the machine slower for a while makes both slower. None: one of
    the two is missing."""
    if series is None or native is None or not series.values or len(series.values) != len(native.values):
        return None
    return [value / other for value, other in zip(series.values, native.values) if other > 0] or None


def ratio(series: Series | None, native: Series | None) -> float | None:
    """The median of times_native."""
    pairs = times_native(series, native)
    return median(pairs) if pairs else None


def number(value: float) -> str:
    """Three digits, or all before the point."""
    if abs(value) >= 1000:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


_LARGER = {"ns": ("µs", 1e3), "µs": ("ms", 1e3), "ms": ("s", 1e3), "KiB": ("MiB", 1024.0)}


def with_unit(value: float, unit: str) -> str:
    """In a unit in which the number is short.

    >>> with_unit(1234567.0, "ns")
    '1.23 ms'
    """
    while abs(value) >= 1000 and unit in _LARGER:
        unit, factor = _LARGER[unit]
        value /= factor
    return f"{number(value)} {unit}"
