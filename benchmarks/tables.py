"""A result as Markdown: for the terminal, and for a README."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from .result import Result, RunnerInfo, Series
from .runners import WAYS
from .summary import number, ratio, summary, with_unit

__all__ = ["about", "markdown_table", "reached", "safety_table", "short_table", "tables"]

SHORT = (
    *(("calls", name) for name in ("getppid", "stat", "open+close", "fork+exec")),
    *(("start", name) for name in ("warm", "10 at once")),
    *(("work", name) for name in ("python imports", "gcc, one file", "make -j2", "git status", "grep -r", "npm ci", "sh loop of /bin/true")),
    *(("network", name) for name in ("nginx and wrk, kept alive", "connect-tcp")),
)
SHORT_RUNNERS = ("native", "sandbox", "bubblewrap", "gvisor", "sandlock", "proot")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> str:
    """The first `left` columns stand on the left, the others on the right."""
    rules = ["---"] * left + ["---:"] * (len(head) - left)
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in [head, rules, *rows])


def reached(info: RunnerInfo) -> str:
    """What its guest reached when it was tried; and what is said of it and was not so."""
    if not info.reached:
        return "not tried"
    ways = [f"{told}{'' if key in info.safety['reaches'] else ' (NOT SAID)'}" for key, told in WAYS.items() if info.reached.get(key)]
    return ", ".join(ways) or "nothing of these"


def safety_table(result: Result) -> str:
    """What each runner is, looks at and lets its guest reach."""
    rows = []
    for name in result.used():
        info = result.runners[name]
        rows.append([name, info.version, *(info.safety[key] for key in ("files", "sockets", "names", "reach")), reached(info)])
    head = ["runner", "version", "mediates files", "sockets", "names", "its guest reaches", "tried"]
    return markdown_table(head, rows, left=len(head))


def _entry(series: Series | None, native: Series | None) -> str:
    found = summary(series)
    if series is None or found is None:
        return "–" if series is None or series.skipped else "failed"
    times = ratio(series, native)
    absolute = series is native or times is None or series.unit in ("KiB", "×")
    told = with_unit(found.median, series.unit) if absolute or times is None else f"{number(times)}×"
    return f"{told} ±{(found.high - found.low) / found.median * 50:.0f}%" if found.median and found.count > 1 else told


def _question(result: Result, question: str) -> str:
    rows = list(result.rows(question))
    present = [name for name in result.used() if any(name in row for _, _, row in rows)]
    body = [[name, core, *(_entry(row.get(who), row.get("native")) for who in present)] for name, core, row in rows]
    return markdown_table([question, "second core", *present], body, left=2)


def _reasons(result: Result) -> Iterator[str]:
    for runner, word, why, cases in result.reasons():
        yield _cell(" ".join(f"- {runner or 'all'} {word}: {why}{' in ' if cases else ''}{', '.join(cases)}".split()))


def about(result: Result) -> str:
    """Machine, code, rounds and time."""
    machine = result.machine
    where = f"{machine.get('cpu_model_name', '?')}, {machine.get('cpus', '?')} processors, kernel {machine.get('kernel', '?')}"
    return f"{where}; code {machine.get('revision', 'unknown')}; {result.settings.get('rounds', '?')} rounds; {result.made}"


def short_table(result: Result) -> str:
    """What a reader asks first, second core idle. Rows that nobody was asked are left out."""
    there = {(question, name): row for question in result.questions() for name, core, row in result.rows(question) if core == "idle"}
    rows = {key: there[key] for key in SHORT if key in there}
    asked = [who for who in SHORT_RUNNERS if any(who in row for row in rows.values())]
    return markdown_table(["", *asked], [[name, *(_entry(row.get(who), row.get("native")) for who in asked)] for (_, name), row in rows.items()])


def tables(result: Result) -> str:
    """Each question: the native median, and the others as times native (memory as it is); after ± half of the distance between the quartiles, in
    percent of the median. Then what there is no figure of, and why."""
    parts = [about(result), safety_table(result)]
    parts += [_question(result, question) for question in result.questions()]
    return "\n\n".join([*parts, "\n".join(_reasons(result))]).rstrip() + "\n"
