"""Figures as Markdown tables, alone or two results side by side. Ratios are what can be compared between machines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .measure import Figure

__all__ = ["compare", "tables"]

Rows = dict[tuple[str, str], dict[str, Figure]]


def _number(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _rows(figures: Sequence[Figure], question: str) -> Rows:
    rows: Rows = {}
    for figure in figures:
        if figure.question == question:
            rows.setdefault((figure.what, figure.second_core), {})[figure.runner] = figure
    return rows


def _cell(figure: Figure | None, native: Figure | None) -> str:
    if figure is None:
        return "–"
    if native is None or figure is native or figure.unit == "x":
        return _number(figure.median)
    return f"{_number(figure.median)} ({_number(figure.median / native.median)}×)"


def tables(figures: Sequence[Figure]) -> str:
    """One table a question: medians, in brackets times native; the last column is the sandbox's ratio to the floor."""
    texts = []
    for question in dict.fromkeys(figure.question for figure in figures):
        rows = _rows(figures, question)
        runners = list(dict.fromkeys(runner for row in rows.values() for runner in row))
        unit = next(iter(next(iter(rows.values())).values())).unit
        floor = {"floor", "sandbox"} <= set(runners)
        head = [f"{question}, {unit}", "second core", *runners, *(["sandbox / floor"] if floor else [])]
        body = []
        for (what, core), row in rows.items():
            cells = [_cell(row.get(runner), row.get("native")) for runner in runners]
            body.append([what, core, *cells, *([_ratio(row.get("sandbox"), row.get("floor"))] if floor else [])])
        texts.append(_table(head, body))
    return "\n\n".join(texts)


def _ratio(figure: Figure | None, to: Figure | None) -> str:
    return f"{_number(figure.median / to.median)}×" if figure and to else "–"


def compare(old: Sequence[Figure], new: Sequence[Figure]) -> str:
    """What changed: ratios to the same run's native figure, old and new, and new divided by old. Where there is no
    native figure the medians themselves are compared."""
    before, after = _relative(old), _relative(new)
    body = []
    for key in [key for key in after if key in before]:
        change = after[key] / before[key] if before[key] else float("inf")
        mark = "slower" if change > 1.1 else "faster" if change < 0.9 else ""
        body.append([*key, _number(before[key]), _number(after[key]), f"{change:.2f}×", mark])
    head = ["question", "what", "runner", "second core", "before", "after", "change", ""]
    return _table(head, body) if body else "nothing in common"


def _relative(figures: Sequence[Figure]) -> dict[tuple[str, str, str, str], float]:
    native = {(f.question, f.what, f.second_core): f.median for f in figures if f.runner == "native"}
    return {
        f.key: f.median / (native.get((f.question, f.what, f.second_core)) or 1.0)
        for f in figures
        if f.runner != "native" or f.unit == "x"
    }
