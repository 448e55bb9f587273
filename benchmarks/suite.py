"""A result as a suite of pyperf's, for its own tools: check says which figures are unsteady, stats, hist and compare_to take them apart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyperf  # type: ignore[import-untyped]

from .result import Result, Series

__all__ = ["write_suite"]

UNITS = {"ns": ("second", 1e-9), "µs": ("second", 1e-6), "ms": ("second", 1e-3), "KiB": ("byte", 1024.0)}


def write_suite(path: Path, result: Result) -> int:
    """How many series are in it: those that have values in units that pyperf has. One that is there already is replaced."""
    made = list(_benchmarks(result))
    if not made:
        raise ValueError("no series that pyperf could hold")
    pyperf.BenchmarkSuite(made).dump(str(path), replace=True)
    return len(made)


def _benchmarks(result: Result) -> Iterator[pyperf.Benchmark]:
    for series in result.series:
        unit = UNITS.get(series.unit.partition(" ")[0])
        if unit and series.values and all(value > 0 for value in series.values):
            yield pyperf.Benchmark(list(_runs(series, *unit)))


def _runs(series: Series, unit: str, factor: float) -> Iterator[pyperf.Run]:
    """One for each round: a round is a process of its own, or several."""
    about = {"name": ", ".join(series.key), "unit": unit}
    return (pyperf.Run([value * factor], metadata=about, collect_metadata=False) for value in series.values)
