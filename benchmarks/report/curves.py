"""What grows with guests or threads: the median over their number, both on a log axis, with all values as dots."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..result import Result, Series
from ..summary import summary
from .drawing import colour, legend, plain, styled, svg

__all__ = ["curves"]


def curves(result: Result, question: str) -> Iterator[tuple[str, str]]:
    """The name and the picture of each, by state of the second core."""
    groups: dict[str, list[Series]] = {}
    for series in result.series:
        if series.question == question and series.curve and series.values:
            groups.setdefault(f"{series.curve}, second core {series.core}", []).append(series)
    for name, group in groups.items():
        yield name, _curve(result, group)


def _curve(result: Result, group: Sequence[Series]) -> str:
    with styled():
        figure = Figure(figsize=(5.2, 3.2))
        axes = figure.add_subplot()
        for runner in result.used():
            _line(axes, runner, colour(runner), sorted(_of(group, runner), key=lambda series: series.x))
        _finish(axes, group)
        return svg(figure)


def _of(group: Sequence[Series], runner: str) -> list[Series]:
    return [series for series in group if series.runner == runner]


def _line(axes: Axes, runner: str, tint: str, points: Sequence[Series]) -> None:
    if not points:
        return
    medians = [found.median for series in points if (found := summary(series))]
    axes.plot(
        [series.x for series in points], medians, "o-", markersize=3, linewidth=1.2, color=tint, label=plain(runner)
    )
    for series in points:
        axes.plot([series.x] * len(series.values), series.values, ".", markersize=2, color=tint, alpha=0.6)


def _finish(axes: Axes, group: Sequence[Series]) -> None:
    xs = sorted({series.x for series in group})
    axes.set_xscale("log", base=2 if xs[-1] <= 64 else 10)
    axes.set_yscale("log")
    axes.set_xticks(xs, [f"{x:g}" for x in xs])
    axes.minorticks_off()
    axes.set_ylabel(group[0].unit)
    axes.grid()
    legend(axes)
