"""The sections of a page that are tables."""

from __future__ import annotations

from collections.abc import Iterator

from .._audit.event import Event
from .._audit.times import Times
from .groups import Groups, Seen, Tally
from .report import About, Report
from .text import clock, more, number, shown, table, took

_ROWS = 200
_VERDICTS = ("done", "failed", "denied", "damaged", "other")
_TIMES = ("total#", "median#", "worst#")
_STATES = {
    "ended": "whole",
    "rotated": "whole, goes on in the next file",
    "open": "no end: it still runs, or its caller was killed, or the file was cut off",
    "unchained": "of version 1, which has no chain",
}


def totals(report: Report) -> Iterator[str]:
    every = Tally()
    for tally in report.calls.values():
        every.merge(tally)
    if every.count:
        begin, end = (clock(when, date=True) for when in (report.seen.first, report.seen.last))
        yield f"<p>{number(every.count)} calls from {begin} to {end} UTC.</p>\n"
    verdicts = [verdict for verdict in _VERDICTS if every.verdicts[verdict]]
    yield table(("verdict", "calls#"), ([name, number(every.verdicts[name])] for name in verdicts), "No call.")
    yield "<h3>By call</h3>\n" + _tallies("call", report.calls, verdicts)
    yield "<h3>By what decided</h3>\n" + _tallies("mount or rule", report.mounts, verdicts)


def _tallies(head: str, groups: Groups[str, Tally], verdicts: list[str]) -> str:
    rows = sorted(groups.top(_ROWS), key=lambda row: -row[1].count)
    heads = (head, *(f"{verdict}#" for verdict in verdicts), *_TIMES)
    cells = ([_name(name), *_counts(tally, verdicts), *_times(tally.times)] for name, tally in rows)
    return table(heads, cells, "None.", more(groups.folded, groups.exact))


def _name(text: str) -> str:
    return shown(text) if text else "none"


def _counts(tally: Tally, verdicts: list[str]) -> list[str]:
    return [number(tally.verdicts[verdict]) if tally.verdicts[verdict] else "" for verdict in verdicts]


def _times(times: Times) -> list[str]:
    return [took(value / 1e9) for value in (times.total, times.median(), times.worst)]


def guests(report: Report) -> Iterator[str]:
    heads = ("guest", "caller's pid#", "began", "calls#", "its trail")
    rows = (
        [shown(f"{name:016x}"), part.caller, clock(part.began, date=True), number(part.count), _STATES[part.state]]
        for name, part in report.guests.top(_ROWS)
    )
    yield table(heads, rows, "No guest.", more(report.guests.folded, report.guests.exact))


def refused(report: Report) -> Iterator[str]:
    yield _abouts(report.refused, "The policy refused nothing.")


def connections(report: Report) -> Iterator[str]:
    yield _abouts(report.connections, "No served call of the network.")


def _abouts(groups: Groups[About, Seen], empty: str) -> str:
    heads = ("first", "calls#", "call", "about", "decided by", "verdict")
    rows = (
        [clock(seen.first), number(seen.count), *map(shown, about)] for about, seen in groups.top(_ROWS)
    )
    return table(heads, rows, empty, more(groups.folded, groups.exact))


def slowest(report: Report) -> Iterator[str]:
    heads = ("took#", "time", "pid#", "call", "verdict", "about")
    yield table(heads, map(_slow, report.slowest()), "No call.")


def _slow(event: Event) -> list[str]:
    told = (event.call, event.verdict, " → ".join(event.paths))
    return [took(event.duration), clock(event.time), str(event.pid), *map(shown, told)]


def wrong(report: Report) -> str:
    """The first records that are not what the Supervisor knows."""
    rows = (
        [shown(f"{event.guest:016x}"), number(event.sequence), shown(event.call), shown(_why(event))]
        for event in report.wrong
    )
    rest = more(report.untrusted - len(report.wrong), True)
    return table(("guest", "record#", "call", "what"), rows, "", rest)


def _why(event: Event) -> str:
    if event.verdict == "damaged":
        return event.error or ""
    return f"is not what was served: {event.served}" if event.served else "names a request that was not served for it"
