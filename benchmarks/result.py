"""What a run found, and its JSON.

    {"format": 1,
     "made": "2026-11-25T21:00:00+00:00",
     "settings": {"rounds": 10, "scale": "full", "cores": ["idle", "busy"], ...},
     "machine": {"kernel": ..., "cpu": ..., "cpus": ..., "load": ..., ...},          as pyperf collects it, and more
     "runners": {NAME: {"version": ..., "skipped": WHY or "", "safety": {"files": ..., "sockets": ..., "names": ..., "reach": ...,
                                                                          "reaches": [KEY, ...]},
                        "reached": {KEY: true or false, ...}}},                         by key of runners.WAYS; {}: it was not tried
     "unmade": {"QUESTION: CASE": WHY},                                              cases that nobody was asked
     "series": [{"question": ..., "name": ..., "runner": ..., "core": "idle" or "busy", "unit": ...,
                 "values": [...], "failed": WHY or "", "skipped": WHY or "", "curve": ..., "x": ...}]}

Smaller values are better, in every unit. `values` are all that were measured, in the order of the rounds: value n of every runner
was measured next to value n of native. Where a runner failed, or did not do what native did, there is a reason and no value; `skipped`
is what a runner does not offer. Series of one `curve` are points at `x`. A reader refuses another `format`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["FORMAT", "Result", "RunnerInfo", "Series", "load", "save"]

FORMAT = 1


@dataclass
class Series:
    """The values of one part of one case, by one runner, with the second core idle or busy."""

    question: str
    name: str
    runner: str
    core: str
    unit: str
    values: list[float] = field(default_factory=list)
    failed: str = ""
    skipped: str = ""
    curve: str = ""
    x: float = 0.0

    @property
    def key(self) -> tuple[str, str, str, str]:
        return self.question, self.name, self.runner, self.core


@dataclass(frozen=True)
class RunnerInfo:
    version: str
    skipped: str
    safety: dict[str, Any]
    reached: dict[str, bool] = field(default_factory=dict)


@dataclass
class Result:
    made: str
    settings: dict[str, Any]
    machine: dict[str, Any]
    runners: dict[str, RunnerInfo]
    unmade: dict[str, str] = field(default_factory=dict)
    series: list[Series] = field(default_factory=list)

    def used(self) -> list[str]:
        """Names of the runners that there are series of, in their order."""
        there = {series.runner for series in self.series}
        return [name for name in self.runners if name in there]

    def rows(self, question: str) -> Iterator[tuple[str, str, dict[str, Series]]]:
        """For each name and state of the second core of a question: its series by runner."""
        rows: dict[tuple[str, str], dict[str, Series]] = {}
        for series in self.series:
            if series.question == question:
                rows.setdefault((series.name, series.core), {})[series.runner] = series
        for (name, core), row in rows.items():
            yield name, core, row

    def reasons(self) -> Iterator[tuple[str, str, str, list[str]]]:
        """Where there is no figure: runner ("" is all of them), a word for it, why, and the cases."""
        for name, info in self.runners.items():
            if info.skipped:
                yield name, "skipped", info.skipped, []
        for case, why in self.unmade.items():
            yield "", "left out", why, [case]
        groups: dict[tuple[str, str, str], dict[str, None]] = {}
        for series in self.series:
            for word, why in (("failed", series.failed), ("not offered", series.skipped)):
                if why:
                    groups.setdefault((series.runner, word, why), {})[f"{series.question}: {series.name}"] = None
        for (runner, word, why), cases in groups.items():
            yield runner, word, why, list(cases)

    def questions(self) -> list[str]:
        return list(dict.fromkeys(series.question for series in self.series))


def save(path: Path, result: Result) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"format": FORMAT, **asdict(result)}, indent=1) + "\n")


def load(path: Path) -> Result:
    """ValueError: it is no result of this format."""
    try:
        read = json.loads(path.read_text())
        if read.pop("format") != FORMAT:
            raise ValueError("another format")
        read["runners"] = {name: RunnerInfo(**info) for name, info in read["runners"].items()}
        read["series"] = [Series(**series) for series in read["series"]]
        return Result(**read)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path}: no result of format {FORMAT}: {error}") from None
