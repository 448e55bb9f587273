"""Bins as pictures: one path for all bars of a kind, so that many processes are a small page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from .timeline import BINS, Process, Timeline

_HIGH = 40
_LEVELS = (10, 1000)  # calls in a bin: less, less, and more


def _picture(kind: str, height: int, paths: Iterable[tuple[str, str]]) -> str:
    drawn = "".join(f'<path class="{level}" d="{path}"/>' for level, path in paths if path)
    return f'<svg class="{kind}" viewBox="0 0 {BINS} {height}" preserveAspectRatio="none">{drawn}</svg>'


def process(line: Timeline, of: Process) -> str:
    """A line from the first call to the last, darker where there are more."""
    places = sorted(of.bins)
    if not places:
        return ""
    levels: dict[int, str] = {1: "", 2: "", 3: ""}
    for place in places:
        level = 1 + sum(of.bins[place] >= least for least in _LEVELS)
        levels[level] += f"M{place - line.low} 1h1v6h-1z"
    span = f"M{places[0] - line.low} 3h{places[-1] - places[0] + 1}v2h-{places[-1] - places[0] + 1}z"
    return _picture("one", 8, [("l0", span), *((f"l{level}", path) for level, path in levels.items())])


def everything(line: Timeline) -> str:
    most = max(line.bins.values(), default=1)
    return _picture("all", _HIGH, [("l2", _columns(line, line.bins, most)), ("l4", _columns(line, line.refused, most))])


def _columns(line: Timeline, bins: Counter[int], most: int) -> str:
    """What is there at all can be seen."""
    path = ""
    for place, count in sorted(bins.items()):
        high = max(1, round(_HIGH * count / most))
        path += f"M{place - line.low} {_HIGH - high}h1v{high}h-1z"
    return path
