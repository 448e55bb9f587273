"""report.html: a result as one page that needs nothing else. Every text of the result is escaped."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from html import escape

from ..result import Result, Series
from ..runners import WAYS
from ..summary import ratio, summary, with_unit
from ..tables import reached
from .bars import bars
from .curves import curves
from .drawing import row_of
from .overview import overview

__all__ = ["page"]

CSS = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; color: #222; background: #fff }
table { border-collapse: collapse; font-size: 13px; margin: 1rem 0 } th, td { padding: .2rem .6rem; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top }
td:first-child { white-space: nowrap } td.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap } .failed { color: #b91c1c } .none { color: #888 }
svg { max-width: 100%; height: auto; display: block; margin: 1rem 0 } .curves { display: flex; flex-wrap: wrap; gap: 1rem }
figure { margin: 0 } figcaption, .about { color: #555; font-size: 13px } .wide { overflow-x: auto }
"""
METHOD = """Runners took turns, round after round, in one run; each got the same command, files, directory and environment.
Nothing is pinned but <i>floor</i> and its variants but <i>floor-unpinned</i> and <i>floor-two</i>, whose guest and server share one processor, and what is said to be on one processor. A run whose output or files are not the native one's has no
figure. All values are kept; medians and quartiles are shown. Ratios hold, times are this machine's."""
SAFETY = ("files", "sockets", "names", "reach")


def page(result: Result) -> str:
    parts = [
        "<!DOCTYPE html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>Benchmarks</title><style>{CSS}</style></head><body>',
        "<h1>What a sandbox costs</h1>",
        f'<p class="about">Made {escape(result.made)}; {escape(_settings(result))}</p><p>{METHOD}</p>',
        *_runners(result),
        *(part for question in result.questions() for part in _question(result, question)),
        *_reasons(result),
        "<h2>The machine, and what was asked</h2>",
        _table(
            ["", ""], ([_td(name), _td(_text(value))] for name, value in {**result.machine, **result.settings}.items())
        ),
        "</body></html>",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def _settings(result: Result) -> str:
    told = {name: result.settings[name] for name in ("rounds", "scale", "cores") if name in result.settings}
    return ", ".join(f"{name}: {_text(value)}" for name, value in told.items())


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _td(text: str, kind: str = "") -> str:
    return f'<td class="{kind}">{escape(text)}</td>' if kind else f"<td>{escape(text)}</td>"


def _table(head: Sequence[str], rows: Iterable[Iterable[str]]) -> str:
    top = "".join(f"<th>{escape(text)}</th>" for text in head)
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{top}</tr>{body}</table></div>'


def _runners(result: Result) -> Iterator[str]:
    used = result.used()
    yield "<h2>The runners, and what they are safe against</h2>"
    yield f"<p>The last column was tried in this run, by a guest and from outside: whether it {escape('; '.join(WAYS.values()))}.</p>"
    rows = ((_td(name), _td(result.runners[name].version), *_safety(result, name)) for name in used)
    yield _table(["runner", "version", "mediates files", "sockets", "names", "its guest reaches", "tried"], rows)


def _safety(result: Result, name: str) -> Iterator[str]:
    info = result.runners[name]
    return map(_td, [*(info.safety.get(key, "") for key in SAFETY), reached(info)])


def _question(result: Result, question: str) -> Iterator[str]:
    yield f"<h2>{escape(result.settings.get('titles', {}).get(question, question))}</h2>"
    cores = dict.fromkeys(core for _, core, _ in result.rows(question))
    for core in cores:
        yield f"<h3>Second core {escape(core)}</h3>"
        yield _figure(
            overview(result, question, core), "Times native: the median, and a line from quartile to quartile."
        )
        yield _figure(bars(result, question, core), "Median, quartiles, and every value.")
        yield _numbers(result, question, core)
    pictures = [_figure(picture, name) for name, picture in curves(result, question)]
    yield f'<div class="curves">{"".join(pictures)}</div>' if pictures else ""


def _figure(picture: str, caption: str) -> str:
    return f"<figure>{picture}<figcaption>{escape(caption)}</figcaption></figure>" if picture else ""


def _numbers(result: Result, question: str, core: str) -> str:
    cells = row_of(result, question, core)
    asked = [name for name in result.used() if any(name in row for _, row in cells)]
    rows = ((_td(name), *(_number(row.get(who), row.get("native")) for who in asked)) for name, row in cells)
    return _table(["", *asked], rows)


def _number(series: Series | None, native: Series | None) -> str:
    found = summary(series)
    if series is None or found is None:
        failed = series is not None and bool(series.failed)
        return _td("failed" if failed else "–", "n failed" if failed else "n none")
    times = ratio(series, native)
    relative = "" if times is None or series is native else f" ({times:.3g}×)"
    return _td(with_unit(found.median, series.unit) + relative, "n")


def _reasons(result: Result) -> Iterator[str]:
    rows = [(runner or "all", word, why, ", ".join(cases)) for runner, word, why, cases in result.reasons()]
    if rows:
        yield "<h2>What there is no figure of</h2>"
        yield _table(["runner", "", "why", "cases"], (map(_td, row) for row in rows))
