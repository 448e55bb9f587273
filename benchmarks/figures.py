"""The figures that were asked for: which series by which, and what they may be at most. A table; python -m benchmarks --figures asks for these alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from statistics import median

from .result import Result, Series
from .summary import number, times_native
from .tables import markdown_table

__all__ = ["FIGURES", "Figure", "figures_table", "needed"]

BY, LESS = "divided by", "less"


@dataclass(frozen=True)
class Figure:
    """Of a question: `runner`'s `name` divided by `other`'s `by`, or less it, which is to be `most` at most."""

    question: str
    name: str
    runner: str
    other: str
    most: float
    by: str = ""
    how: str = BY

    @property
    def text(self) -> str:
        return f"{self.runner}: {self.name}, {self.how} {self.other}'s{f' {self.by}' if self.by else ''}"

    def terms(self) -> list[tuple[str, str, str]]:
        """Question, name and runner of the series that it is made of."""
        return [(self.question, self.name, self.runner), (self.question, self.by or self.name, self.other)]

    def value(self, result: Result, core: str) -> float | None:
        """None: a series is missing."""
        first, other = (_series(result, term, core) for term in self.terms())
        if first is None or other is None:
            return None
        if self.how == BY:
            return median(times_native(first, other) or [median(first.values) / median(other.values)])
        return median(first.values) - median(other.values)


def _series(result: Result, term: tuple[str, str, str], core: str) -> Series | None:
    found = (series for series in result.series if series.key == (*term, core) and series.values)
    return next(found, None)


def _each(question: str, names: Iterable[str], runner: str, others: Iterable[str], most: float) -> Iterator[Figure]:
    return (Figure(question, name, runner, other, most) for other in others for name in names)


OURS = ("sandbox", "sandbox-rules")
SERVING = ("sandlock", "gvisor", "proot")  # peers that look at calls
NATIVE_CALLS = ("getppid", "read", "write", "pread-1", "pread-4K", "fstat", "fstat-at", "poll")
BUILDING = ("python imports", "gcc, one file", "make -j2", "sh loop of /bin/true")
LOOKING = ("find", "grep -r")
LEAST = (("python imports", "gcc, one file", "sh loop of /bin/true", "git status"), "floor"), (("make -j2",), "floor-unpinned")
THROUGHPUT = 1 / 0.95
DATA = (
    "TCP, 1024 MiB between two processes",
    *(f"redis {call}, {told}" for told in ("one at a time", "16 at a time") for call in ("SET", "GET")),
    *("nginx and wrk, kept alive", "nginx inside, wrk outside", "wrk inside, nginx outside"),
)
CONTROL = ("connect-tcp", "sendto-udp")
IDLE, MAKING = "memory of an idle guest, of", "making an idle guest, of"
FIGURES: tuple[Figure, ...] = (
    *_each("calls", NATIVE_CALLS, "sandbox", ["native"], 1.3),
    *_each("calls", ["compute"], "sandbox", ["native"], 1.02),
    *_each("calls", ["stat", "open+close"], "sandbox", ["floor"], 1.25),
    *_each("calls", ["fork+exec", "spawn"], "sandbox", ["native"], 1.8),
    *_each("start", ["warm"], "sandbox", ["native"], 3.0),
    *_each("start", ["warm"], "sandbox", ["bubblewrap"], 1.0),
    *_each("start", ["10 at once, all processors by one"], "sandbox", ["native"], 1.0),
    *_each("work", BUILDING, "sandbox", ["native"], 1.5),
    *_each("work", ("git status", *LOOKING), "sandbox", ["native"], 5.0),
    *(figure for names, floor in LEAST for figure in _each("work", names, "sandbox", [floor], 1.25)),
    *(figure for names, floor in LEAST for figure in _each("work", names, floor, ["native"], 1.5)),
    *_each("work", (*BUILDING, *LOOKING), "sandbox", SERVING, 1.0),
    *_each("work", ["git status"], "sandbox", SERVING, 0.2),
    *(figure for ours in OURS for figure in _each("network", DATA, ours, ["native"], THROUGHPUT)),
    *_each("network", CONTROL, "sandbox", ["floor-network"], 2.0),
    *_each("network", (*CONTROL, "dns-answer", "dns-cached"), "sandbox-rules", ["floor-served"], 2.0),
    *(figure for ours in OURS for figure in _each("network", ["connect-tcp"], ours, ["gvisor"], 1.0)),
    Figure("density", f"{IDLE} 1000", "sandbox", "native", 1500 / 1.024, how=LESS),
    Figure("density", f"{MAKING} 1000", "sandbox", "sandbox", 1.0, f"{MAKING} 10"),
    Figure("density", "memory of a guest after calls: 100000", "sandbox", "sandbox", 1.0, "memory of a guest after calls: 1000"),
    *(Figure("scaling", f"threads sharing {call}: 2", who, who, 1.0, f"threads sharing {call}: 1")
      for call in ("stat", "open+close") for who in ("sandbox", "floor-two")),
    *(Figure("scaling", f"guests {what}: 2", who, who, 1.0, f"guests {what}: 1")
      for what in ("making served calls", "importing Python modules") for who in ("sandbox", "native")),
    *(Figure("scaling", f"stat beside {what}, {which}", who, who, 1.0, f"stat alone, {which}")
      for what in ("300 calls that wait", "a loud neighbour") for which in ("median", "99th percentile") for who in ("sandbox", "floor-unpinned", "native")),
)  # fmt: skip
CASES = {
    "TCP, 1024 MiB between two processes": "tcp-two-processes",
    "10 at once, all processors by one": "10 at once",
    **{f"redis {call}, {told}": f"redis-benchmark, {told}" for told in ("one at a time", "16 at a time") for call in ("SET", "GET")},
    **{f"{what} {count}": f"{count} guests" for what in (IDLE, MAKING) for count in (10, 1000)},
    **{f"memory of a guest after calls: {count}": f"after {count} calls" for count in (1000, 100000)},
    **{f"threads sharing {call}: {count}": f"{count} threads, {call}" for call in ("stat", "open+close") for count in (1, 2)},
    **{f"guests making served calls: {count}": f"{count} guests, calls" for count in (1, 2)},
    **{f"guests importing Python modules: {count}": f"{count} guests, imports" for count in (1, 2)},
    **{f"stat {how}, {which}": f"stat {how}" for how in ("alone", "beside a loud neighbour", "beside 300 calls that wait")
       for which in ("median", "99th percentile")},
}  # fmt: skip
"""Cases by names of their series, where those are others."""


def needed(question: str) -> dict[str, set[str]]:
    """Of a question: the cases that the figures need, and by whom."""
    cases: dict[str, set[str]] = {}
    for figure in FIGURES:
        for asked, name, runner in figure.terms():
            if asked == question:
                cases.setdefault(CASES.get(name, name), set()).add(runner)
    return cases


def figures_table(result: Result) -> str:
    """What each is, what it may be, and what it was with the second core idle and busy. Those of which nothing was measured are left out."""
    rows = []
    for figure in FIGURES:
        found = [figure.value(result, core) for core in ("idle", "busy")]
        if any(value is not None for value in found):
            rows.append([figure.question, figure.text, f"≤ {number(figure.most)}", *(_told(value, figure.most) for value in found)])
    return markdown_table(["question", "figure", "asked", "second core idle", "busy"], rows, left=2) if rows else ""


def _told(value: float | None, most: float) -> str:
    return "–" if value is None else number(value) if value <= most else f"**{number(value)}**"
