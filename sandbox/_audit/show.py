"""Events and summaries for people: with rich where a terminal is and rich is installed, else as plain lines."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from typing import Any

from .._console import console
from .._paths import printable
from .event import Event
from .summary import Row, Summary

_STYLES = {"done": "green", "failed": "yellow", "denied": "red"}
_ALARM = "bold red"
_HEADS = ("call", "access", "where", "verdict", "count", "total", "median", "worst")
_TEXTS = 4  # of them, the verdict last; then numbers
_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"))


def lines(events: Iterable[Event], as_json: bool) -> Iterator[str]:
    for event in events:
        yield event.to_json() if as_json else str(event)


def show(events: Iterable[Event], as_json: bool) -> None:
    terminal = None if as_json else console()
    if terminal is None:
        for line in lines(events, as_json):
            print(line)
    else:
        for event in events:
            terminal.print(_styled(event))


def _styled(event: Event) -> Any:
    from rich.text import Text

    verdict = _STYLES.get(event.verdict, _ALARM) if event.trusted else _ALARM
    styles = ("dim", "cyan", "bold", verdict, "dim", "" if event.trusted else _ALARM)
    return Text(" ").join(Text(text, style) for text, style in zip(event.columns(), styles))


def show_summary(made: Summary, as_json: bool) -> None:
    rows, terminal = made.rows(), console()
    if as_json:
        for row in [*rows, made.sum()]:
            print(json.dumps(row.__dict__))
    elif terminal is None:
        print("\n".join(_plain([_HEADS, *map(_cells, [*rows, made.sum()])])))
    else:
        terminal.print(_table(rows, made.sum()))
    if not as_json:
        print("\n".join(_notes(made)))


def _cells(row: Row) -> tuple[str, ...]:
    times = (seconds(value) for value in (row.total, row.median, row.worst))
    return (row.call, row.access, printable(row.place), row.verdict, str(row.count), *times)


def seconds(value: float) -> str:
    """A time with its unit.

    >>> seconds(2.5), seconds(0.0123456), seconds(3e-6)
    ('2.50s', '12.35ms', '3.00us')
    """
    scale, unit = next((pair for pair in _UNITS if value >= pair[0]), _UNITS[-1])
    return f"{value / scale:.2f}{unit}"


def _plain(rows: list[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row[:_TEXTS], widths)]
        cells += [cell.rjust(width) for cell, width in zip(row[_TEXTS:], widths[_TEXTS:])]
        yield "  ".join(cells).rstrip()


def _table(rows: list[Row], total: Row) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_footer=True)
    for head, foot in zip(_HEADS, _cells(total)):
        table.add_column(head, foot, justify="left" if head in _HEADS[:_TEXTS] else "right", overflow="fold")
    for row in rows:
        cells = [Text(cell) for cell in _cells(row)]
        cells[_TEXTS - 1].stylize(_STYLES.get(row.verdict, _ALARM))
        table.add_row(*cells)
    return table


def _notes(made: Summary) -> Iterator[str]:
    if made.last:
        begin, end = (time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(when)) for when in (made.first, made.last))
        yield f"from {begin} to {end} UTC; a directory stands for all below it that has no row of its own"
    if made.untrusted:
        yield f"{made.untrusted} of these are not what the Supervisor knows: damaged, or claimed by a sentry"
