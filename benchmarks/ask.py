"""Asking: cases are made once; then all runners take turns, round after round, and every run is compared with native's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Callable

from ._processors import second_core
from .questions import Case, Question, Reading, Setup, Unmade
from .result import Series
from .runners import RUNNERS, NotOffered, Runner

__all__ = ["Asking"]

Say = Callable[[str], None]


@dataclass(frozen=True)
class Asking:
    """Who is asked, and how often. `step` is told of each measurement before it is made, `say` of what goes wrong."""

    runners: Mapping[str, Runner]
    rounds: int
    cores: Sequence[str]
    step: Say
    say: Say

    def ask(self, question: Question, setup: Setup) -> tuple[list[Series], dict[str, str]]:
        """Its series; and, by name, why cases could not be made."""
        asked, unmade = self._prepare(question, setup)
        for turn in asked:
            if turn.runner.name != "native":  # which has had its turn: it said what is expected
                self.step(f"{question.name}: {turn.name} by {turn.runner.name}, a first time")
                turn.check()
        for core in self._cores(question):
            for number in range(self.rounds):
                self._round(question, asked, core, number)
        for turn in asked:
            if turn.failed:
                self.say(f"{question.name}: {turn.name} by {turn.runner.name} failed: {turn.failed}")
        return [series for turn in asked for series in turn.series(question.name, self._cores(question))], unmade

    def steps(self, question: Question, setup: Setup) -> int:
        """About how many measurements there will be."""
        turns = sum(len(self._asked(question, setup, name)) for name, _ in question.cases(setup) if setup.wants(name))
        return turns * (1 + self.rounds * len(self._cores(question)))  # but for `times`

    def _cores(self, question: Question) -> list[str]:
        return [core for core in question.cores if core in self.cores]

    def _asked(self, question: Question, setup: Setup, case: str) -> list[Runner]:
        there = (runner for name, runner in self.runners.items() if name not in question.without)
        return [runner for runner in there if setup.asks(case, runner.name)]

    def _prepare(self, question: Question, setup: Setup) -> tuple[list[_Turn], dict[str, str]]:
        turns: list[_Turn] = []
        unmade: dict[str, str] = {}
        for name, make in question.cases(setup):
            if setup.wants(name):
                try:
                    turns += self._turns(name, make(), self._asked(question, setup, name))
                except Unmade as reason:
                    unmade[f"{question.name}: {name}"] = str(reason)
                    self.say(f"{question.name}: {name} is left out: {reason}")
        return turns, unmade

    @staticmethod
    def _turns(name: str, case: Case, asked: Iterable[Runner]) -> Iterator[_Turn]:
        try:
            expected = case.take(RUNNERS["native"]).evidence
        except Exception as error:  # whatever it is, nobody can be compared with it
            raise Unmade(f"natively: {error or type(error).__name__}") from error
        return (_Turn(name, case, runner, expected) for runner in asked)

    def _round(self, question: Question, turns: list[_Turn], core: str, number: int) -> None:
        for same in _by_case(turns):
            if number >= same[0].case.rounds:
                continue
            with second_core(core):
                for turn in (same[:: -1 if number % 2 else 1]) * same[0].case.times:
                    self.step(f"{question.name}: {turn.name} by {turn.runner.name}, round {number + 1}, {core}")
                    turn.measure(core)


class _Turn:
    """One case by one runner: values by state of the second core, or why there are none."""

    def __init__(self, name: str, case: Case, runner: Runner, expected: bytes) -> None:
        self.name, self.case, self.runner, self._expected = name, case, runner, expected
        self.failed = self.skipped = ""
        self._readings: dict[str, list[Reading]] = {}

    def check(self) -> None:
        self._take()

    def measure(self, core: str) -> None:
        reading = None if self.failed or self.skipped else self._take()
        if reading:
            self._readings.setdefault(core, []).append(reading)

    def _take(self) -> Reading | None:
        try:
            reading = self.case.take(self.runner)
        except NotOffered as reason:
            self.skipped = str(reason)
        except Exception as error:  # a runner may fail in any way: it has no figure then
            self.failed = str(error) or type(error).__name__
        else:
            if reading.evidence == self._expected:
                return reading
            self.failed = "another result than natively"
        return None

    def series(self, question: str, cores: Iterable[str]) -> Iterator[Series]:
        for core in cores:
            for number, part in enumerate(self.case.parts):
                values = [] if self.failed else [reading.values[number] for reading in self._readings.get(core, ())]
                about = (part.name, self.runner.name, core, part.unit)
                yield Series(question, *about, values, self.failed, self.skipped, part.curve, part.x)


def _by_case(turns: list[_Turn]) -> Iterator[list[_Turn]]:
    groups: dict[str, list[_Turn]] = {}
    for turn in turns:
        groups.setdefault(turn.name, []).append(turn)
    return iter(groups.values())
