"""What the pictures share: style, colours, and SVG of which several can stand in one page."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..result import Result, Series

__all__ = ["colour", "legend", "plain", "row_of", "styled", "svg"]

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "sandbox",  # the same result, the same picture
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "savefig.transparent": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.5,
}
COLOURS = {
    "native": "#444444",
    "floor": "#9a9a9a",
    "floor-unpinned": "#c4c4c4",
    "floor-two": "#b8a48a",
    "floor-network": "#8a8f9e",
    "floor-served": "#a8b0c8",
    "sandbox": "#0a7d4f",
    "sandbox-rules": "#5b9b2d",
    "sandbox-cli": "#7cc4a3",
    "sandlock": "#c2410c",
    "bubblewrap": "#2563eb",
    "nsjail": "#7cb3ff",
    "firejail": "#a855f7",
    "gvisor": "#d4a106",
    "proot": "#0891b2",
    "crun": "#be185d",
}
NO_METADATA: dict[str, Any] = {"Date": None, "Creator": None, "Format": None, "Type": None}
_number = itertools.count()


@contextmanager
def styled() -> Iterator[None]:
    with matplotlib.rc_context(STYLE):
        yield


def svg(figure: Figure) -> str:
    """The picture as an element of a page, with identifiers of its own."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata=NO_METADATA, bbox_inches="tight")
    element = text.getvalue()
    element = re.sub(r"<metadata>.*?</metadata>", "", element[element.index("<svg") :], flags=re.DOTALL)
    prefix = f"p{next(_number)}-"
    return re.sub(r'(\bid="|href="#|url\(#)', lambda found: found.group() + prefix, element)


def colour(runner: str) -> str:
    """A runner's own, whoever else is there; one for all that are unknown here."""
    return COLOURS.get(runner, "#7a5c3e")


def plain(text: str) -> str:
    """A name as it is: a dollar would begin mathematics, an underscore would hide it from a legend."""
    return text.replace("$", r"\$").lstrip("_")


def row_of(result: Result, question: str, core: str) -> list[tuple[str, dict[str, Series]]]:
    """Names of a question's cases with their series by runner."""
    return [(name, row) for name, where, row in result.rows(question) if where == core]


def legend(axes: Axes) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
