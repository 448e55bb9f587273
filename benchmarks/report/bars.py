"""Every case in its own unit: a bar is the median, its whisker the quartiles, and dots are all values, outliers too."""

from __future__ import annotations

import itertools

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..result import Result, Series
from ..summary import Summary, summary
from .drawing import colour, plain, row_of, styled, svg

__all__ = ["bars"]

ACROSS = 4
LOG_FROM = 30.0  # where the longest bar is that many times the shortest


def bars(result: Result, question: str, core: str) -> str:
    """ "" where nothing has values."""
    cells = [cell for cell in row_of(result, question, core) if any(series.values for series in cell[1].values())]
    if not cells:
        return ""
    down = -(-len(cells) // ACROSS)
    most = max(len(row) for _, row in cells)
    with styled():
        figure = Figure(figsize=(11, down * (0.7 + 0.17 * most)), layout="constrained")
        panels = figure.subplots(down, ACROSS, squeeze=False)
        for axes, cell in itertools.zip_longest(panels.flat, cells):
            if cell:
                _panel(axes, result, *cell)
            else:
                axes.set_visible(False)
        return svg(figure)


def _panel(axes: Axes, result: Result, name: str, row: dict[str, Series]) -> None:
    shown = [runner for runner in result.used() if runner in row]
    axes.set_title(f"{plain(name)}, {next(iter(row.values())).unit}", loc="left", fontsize=8)
    axes.set_yticks(range(len(shown)), [plain(runner) for runner in shown])
    axes.set_ylim(len(shown) - 0.5, -0.5)
    for place, runner in enumerate(shown):
        _bar(axes, place, row[runner], colour(runner))
    medians = [found.median for runner in shown if (found := summary(row[runner]))]
    if min(medians) > 0 and max(medians) > LOG_FROM * min(medians):
        axes.set_xscale("log")
    else:
        axes.locator_params(axis="x", nbins=4)
        axes.ticklabel_format(axis="x", scilimits=(-3, 5))


def _bar(axes: Axes, place: int, series: Series, tint: str) -> None:
    found = summary(series)
    if found is None:
        word = " failed" if series.failed else " not offered"
        axes.text(0, place, word, va="center", color="#b91c1c", fontsize=6, transform=axes.get_yaxis_transform())
        return
    axes.barh(place, found.median, color=tint, alpha=0.55, height=0.7)
    axes.errorbar(found.median, place, xerr=_whisker(found), color="black", elinewidth=0.7, capsize=1.5)
    axes.plot(series.values, [place] * found.count, ".", markersize=1.8, color=tint)


def _whisker(found: Summary) -> list[list[float]]:
    return [[found.median - found.low], [found.high - found.median]]
