"""What a change did: two results side by side, with a test of significance.

Compared are values as times native, each divided by the native one beside it, so that a machine that was slower on one of the two days
does not count; where there is no native figure, the values themselves. The test is Mann and Whitney's U (scipy), which assumes no
distribution. Many rows are tested at once: p is adjusted by Benjamini and Hochberg's procedure, so of the rows
called slower or faster about one in twenty is called so by chance. With few rounds nothing can be shown: that is said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import comb
from statistics import median

from scipy import stats  # type: ignore[import-untyped]

from .result import Result, Series
from .summary import number, times_native
from .tables import markdown_table

__all__ = ["Change", "changes", "compare"]

ALPHA = 0.05
LEAST = 0.02  # a smaller change is none, however sure


@dataclass(frozen=True)
class Change:
    """One series in both results: medians, their quotient, adjusted p, and what that comes to."""

    key: tuple[str, str, str, str]
    unit: str
    before: float
    after: float
    p: float | None

    @property
    def quotient(self) -> float:
        return self.after / self.before if self.before else float("inf")

    @property
    def verdict(self) -> str:
        if self.p is None:
            return "too few rounds"
        if self.p >= ALPHA or abs(self.quotient - 1) < LEAST:
            return "no difference shown"
        return "slower" if self.quotient > 1 else "faster"


def changes(old: Result, new: Result) -> list[Change]:
    """Of every series that both results have values of."""
    pairs = []
    before = {series.key: series for series in old.series}
    for series in new.series:
        earlier = before.get(series.key)
        if earlier is not None and earlier.values and series.values:
            pairs.append((series.key, *_comparable(old, earlier, new, series)))
    adjusted = _adjusted([_p(left, right) for _, _, left, right in pairs])
    return [Change(key, unit, median(left), median(right), p) for (key, unit, left, right), p in zip(pairs, adjusted)]


def _comparable(old: Result, earlier: Series, new: Result, series: Series) -> tuple[str, list[float], list[float]]:
    left, right = times_native(earlier, _native(old, earlier)), times_native(series, _native(new, series))
    if left and right and series.runner != "native":
        return "× native", left, right
    return series.unit, earlier.values, series.values


def _native(result: Result, series: Series) -> Series | None:
    wanted = (series.question, series.name, "native", series.core)
    return next((other for other in result.series if other.key == wanted), None)


def _p(left: Sequence[float], right: Sequence[float]) -> float | None:
    """None: with so few values not even the clearest difference would count."""
    if 2 / comb(len(left) + len(right), len(left)) >= ALPHA:
        return None
    return float(stats.mannwhitneyu(left, right, alternative="two-sided").pvalue)


def _adjusted(ps: Sequence[float | None]) -> list[float | None]:
    known = [p for p in ps if p is not None]
    if not known:
        return list(ps)
    rest = iter(stats.false_discovery_control(known))
    return [None if p is None else float(next(rest)) for p in ps]


def compare(old: Result, new: Result) -> str:
    """A Markdown table of every change, and how many there are of each verdict."""
    found = changes(old, new)
    if not found:
        return "nothing in common\n"
    rows = [
        [
            *change.key,
            change.unit,
            number(change.before),
            number(change.after),
            f"{change.quotient:.2f}×",
            _told(change.p),
            change.verdict,
        ]
        for change in found
    ]
    head = ["question", "what", "runner", "second core", "unit", "before", "after", "change", "p", "verdict"]
    counts = Counter(change.verdict for change in found)
    told = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
    words = [f"{told}; failures: {len(_failures(old))} before, {len(_failures(new))} after", *_unlike(old, new), *_lost(old, new)]
    return f"{markdown_table(head, rows, left=5)}\n\n" + "\n".join(words) + "\n"


SAME = {"machine": ("kernel", "cpu_model_name", "cpus", "memory_mib", "distribution", "tools"), "settings": ("scale", "sizes", "figures")}


def _unlike(old: Result, new: Result) -> Iterator[str]:
    """What else than the change may be the reason: another machine, other sizes, other versions of what is compared with."""
    for part, names in SAME.items():
        before, after = getattr(old, part), getattr(new, part)
        for name in names:
            if before.get(name) != after.get(name):
                yield f"not alike: {name}: {before.get(name)} before, {after.get(name)} after"
    for name in (name for name in new.runners if name in old.runners):
        pair = old.runners[name].version, new.runners[name].version
        if pair[0] != pair[1]:
            yield f"not alike: {name}: {pair[0] or 'not there'} before, {pair[1] or 'not there'} after"


def _lost(old: Result, new: Result) -> Iterator[str]:
    """Who had figures, or at least did not fail, and fails now; what was asked of whom, and is not any more."""
    for key in sorted(_failures(new) - _failures(old)):
        yield f"fails now: {', '.join(key)}"
    for key in sorted({series.key[:3] for series in old.series} - {series.key[:3] for series in new.series}):
        yield f"not asked now: {', '.join(key)}"


def _told(p: float | None) -> str:
    return "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def _failures(result: Result) -> set[tuple[str, ...]]:
    return {series.key[:3] for series in result.series if series.failed}
