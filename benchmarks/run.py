"""One run: find the runners, ask the questions, keep what was found."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from . import questions
from ._build import HERE
from .ask import Asking
from .figures import figures_table, needed
from .machine import describe
from .progress import Shown
from .questions import QUESTIONS, Question, Setup
from .reach import tried
from .report import page
from .result import Result, RunnerInfo, save
from .runners import RUNNERS, find_runners
from .tables import tables

__all__ = ["Choice", "run"]

SCALES = {"full": questions.FULL, "quick": questions.QUICK, "tiny": questions.TINY}


@dataclass(frozen=True)
class Choice:
    """What is asked; no questions, runners or `only` are all of them."""

    questions: Sequence[str]
    runners: Sequence[str]
    only: Sequence[str]
    cores: Sequence[str]
    rounds: int
    scale: str
    figures: bool = False
    output: Path | None = None
    report: Path | None = None

    def settings(self) -> dict[str, Any]:
        titles = {name: question.title for name, question in QUESTIONS.items()}
        chosen = {key: value for key, value in asdict(self).items() if key not in ("output", "report")}
        return {**chosen, "sizes": asdict(SCALES[self.scale]), "titles": titles}

    def files(self) -> Files:
        folder = self.output or HERE / "results" / datetime.now().strftime("%Y%m%d-%H%M%S")
        return Files(folder / "result.json", folder / "table.md", self.report or folder / "report.html")


@dataclass(frozen=True)
class Files:
    result: Path
    table: Path
    page: Path

    def keep(self, result: Result) -> None:
        save(self.result, result)
        self.table.write_text(tables(result))
        self.page.write_text(page(result))


def run(choice: Choice) -> int:
    """1 where a runner failed at something. Results are kept after each question, so that a run that is stopped has some."""
    here, versions, skipped = find_runners(choice.runners)
    infos = {name: _info(name, versions, skipped) for name in (choice.runners or RUNNERS)}
    made = datetime.now(timezone.utc).isoformat(timespec="seconds")
    result = Result(made, choice.settings(), describe(), infos)
    files = choice.files()
    with tempfile.TemporaryDirectory(prefix="sandbox-benchmarks-", dir="/var/tmp") as scratch:
        asked = [(question, _setup(choice, question, scratch)) for question in _questions(choice)]
        with Shown() as shown:
            asking = Asking(here, choice.rounds, choice.cores, shown.step, shown.say)
            shown.runners(versions, skipped)
            shown.expect(sum(asking.steps(*each) for each in asked))
            for question, setup in asked:
                series, unmade = asking.ask(question, setup)
                result.series += series
                result.unmade.update(unmade)
                files.keep(result)
    print(tables(result), end="")
    if choice.figures:
        print(f"\n{figures_table(result)}")
    print(f"\nkept in {files.result.parent}; the page is {files.page}", file=sys.stderr)
    return 1 if any(series.failed for series in result.series) else 0


def _info(name: str, versions: dict[str, str], skipped: dict[str, str]) -> RunnerInfo:
    safety = {**asdict(RUNNERS[name].safety), "reaches": list(RUNNERS[name].safety.reaches)}
    return RunnerInfo(versions.get(name, ""), skipped.get(name, ""), safety, tried(RUNNERS[name]) if name in versions else {})


def _questions(choice: Choice) -> Iterator[Question]:
    asked = choice.questions or QUESTIONS
    return (QUESTIONS[name] for name in asked if not choice.figures or needed(name))


def _setup(choice: Choice, question: Question, scratch: str) -> Setup:
    directory = Path(scratch, question.name)
    directory.mkdir()
    return Setup(directory, SCALES[choice.scale], choice.only, needed(question.name) if choice.figures else None)
