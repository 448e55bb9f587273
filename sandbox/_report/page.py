"""One page of HTML for a Report. A section is a row of SECTIONS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from . import tables
from .files import files
from .processes import processes
from .report import Report
from .style import HEAD
from .text import number, shown


class Section(NamedTuple):
    name: str
    title: str
    make: Callable[[Report], Iterator[str]]
    note: str = ""


SECTIONS = (
    Section("totals", "Totals", tables.totals),
    Section("guests", "Guests", tables.guests),
    Section("refused", "Refused", tables.refused),
    Section(
        "processes",
        "Processes",
        processes,
        "A thread is a row of its own; whose child it is, and calls that the kernel answers by itself, are not in a"
        " trail. A row opens, and then shows programs, changes, connections and refusals one by one.",
    ),
    Section(
        "files",
        "Files",
        files,
        "<b>read</b> is what was opened to read only, <b>written</b> what was opened to write, truncate or make;"
        " <b>changed</b> are mkdir, unlink, rename, link, chmod, truncate and the like; <b>opened</b> is what was"
        " opened for its path only, or by a trail of an older version, which does not say what for. <b>refused</b> is"
        " the policy's answer, <b>failed</b> Linux's own error, often that there is no such file. A directory counts"
        " what is below it. Paths are as the guest gave them: .. and links are not"
        " resolved, and where a relative path began is not in a trail.",
    ),
    Section(
        "connections",
        "Connections",
        tables.connections,
        "Served calls, with the address or the socket's path where the call has one. What goes over a connected socket"
        " goes past the sandbox and is not here.",
    ),
    Section(
        "slowest",
        "Slowest calls",
        tables.slowest,
        "From reception to answer: a call that waits, as connect and accept do, has the wait in it.",
    ),
)


def page(report: Report) -> Iterator[str]:
    """The page, in pieces."""
    yield f"{HEAD}<h1>Audit report</h1>\n<p>{' '.join(map(shown, report.files))}</p>\n"
    yield from _alarms(report)
    yield "<nav>" + "".join(f'<a href="#{section.name}">{section.title}</a>' for section in SECTIONS) + "</nav>\n"
    for section in SECTIONS:
        yield f'<section id="{section.name}"><h2>{section.title}</h2>\n'
        yield f'<p class="note">{section.note}</p>\n' if section.note else ""
        yield from section.make(report)
        yield "</section>\n"
    yield "</body></html>\n"


def _alarms(report: Report) -> Iterator[str]:
    if report.damage is not None:
        told = shown(str(report.damage), 2000)
        yield f'<p class="wrong" id="damage">{told}. The page shows what is before that place.</p>\n'
    if report.untrusted:
        yield f'<div class="wrong" id="untrusted"><p>{number(report.untrusted)} records are not what the Supervisor'
        yield f" knows: damaged, left out, or made up by a sentry.</p>\n{tables.wrong(report)}</div>\n"
