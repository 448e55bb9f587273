"""All cases of a question as times native, on a log axis: a dot is the median, its line the quartiles."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..result import Result, Series
from ..summary import Summary, summarize, times_native
from .drawing import colour, legend, plain, row_of, styled, svg

__all__ = ["overview"]

Cells = Sequence[tuple[str, dict[str, Series]]]


def overview(result: Result, question: str, core: str) -> str:
    """ "" where there is nothing to compare."""
    cells = row_of(result, question, core)
    with styled():
        figure = Figure(figsize=(8, 0.9 + 0.3 * len(cells)))
        axes = figure.add_subplot()
        runners = [name for name in result.used() if name != "native"]
        drawn = [_dots(axes, name, cells, _shift(place, len(runners))) for place, name in enumerate(runners)]
        _finish(axes, cells)
        return svg(figure) if any(drawn) else ""


def _shift(place: int, count: int) -> float:
    return (place / max(1, count - 1) - 0.5) * 0.6


def _dots(axes: Axes, runner: str, cells: Cells, shift: float) -> bool:
    found = [(place + shift, _relative(row, runner)) for place, (_, row) in enumerate(cells)]
    points = [(place, middle) for place, middle in found if middle is not None]
    if points:
        axes.errorbar(
            [one.median for _, one in points],
            [place for place, _ in points],
            xerr=[[one.median - one.low for _, one in points], [one.high - one.median for _, one in points]],
            fmt="o",
            markersize=3.5,
            elinewidth=1,
            color=colour(runner),
            label=plain(runner),
        )
    return bool(points)


def _relative(row: dict[str, Series], runner: str) -> Summary | None:
    pairs = times_native(row.get(runner), row.get("native"))
    return summarize(pairs) if pairs else None


def _finish(axes: Axes, cells: Cells) -> None:
    axes.axvline(1, color="#444444", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xlabel("times native, less is better")
    axes.set_yticks(range(len(cells)), [plain(name) for name, _ in cells])
    axes.set_ylim(len(cells) - 0.5, -0.5)
    axes.grid(axis="x", which="both")
    legend(axes)
