"""The timeline of a page: a row for each process, which opens."""

from __future__ import annotations

from collections.abc import Iterator

from . import bars
from .report import Report
from .text import clock, more, number, shown, table, took
from .timeline import Moment, Process

_PROCESSES = 200
_CALLS = 12


def processes(report: Report) -> Iterator[str]:
    line = report.timeline
    rows = line.processes.top(_PROCESSES)
    if not rows:
        yield "<p>No call.</p>\n"
        return
    begin, end = (clock(place * line.width, date=True) for place in (line.low, line.high + 1))
    yield f"<p>From {begin} to {end} UTC. A column is {took(line.width)}; red is refused.</p>\n"
    yield f'<div class="row"><span>pid</span><span>program</span>{bars.everything(line)}</div>\n'
    for (_, pid), process in sorted(rows, key=lambda row: row[1].first):
        yield _row(pid, process, bars.process(line, process))
    others = line.processes
    if others.folded:
        rest = more(others.folded, others.exact)
        yield f"<p>{rest}, with {number(others.rest.count)} calls in all</p>\n"


def _row(pid: int, process: Process, bar: str) -> str:
    program = shown(process.program, 60) if process.program else "ran no program"
    refused = f'<i class="refused">{number(process.refused)} refused</i>' if process.refused else ""
    told = f"<span>{pid}</span><span>{program}</span>{bar}<span>{number(process.count)} calls</span>{refused}"
    return f'<details class="process"><summary class="row">{told}</summary>\n{_opened(process)}</details>\n'


def _opened(process: Process) -> str:
    calls = process.calls.most_common(_CALLS)
    named = ", ".join(f"{shown(call)} {number(count)}" for call, count in calls)
    others = more(len(process.calls) - len(calls), True)
    rest = more(process.notable - len(process.moments), True)
    moments = table(("time", "call", "verdict", "about"), map(_moment, process.moments), "", rest)
    return f"<p>{clock(process.first)} to {clock(process.last)}: {named} {others}</p>\n{moments}"


def _moment(moment: Moment) -> list[str]:
    verdict = " ".join(filter(None, (moment.verdict, moment.error)))
    return [clock(moment.time), *map(shown, (moment.call, verdict, moment.about))]
