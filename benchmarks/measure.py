"""Repeating, interleaving, keeping a core busy: how a figure is made, and the form in which it is kept."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Callable

from ._build import build
from .runners import Runner

__all__ = ["CORES", "Figure", "Samples", "Setup", "load", "machine", "save", "second_core"]

CORES = ("idle", "busy")


@dataclass(frozen=True)
class Setup:
    """What a question is asked of: runners, second core, rounds, an empty directory, names (none is all)."""

    runners: dict[str, Runner]
    cores: Sequence[str]
    repeat: int
    scratch: Path
    only: Sequence[str] = ()

    def rounds(self) -> Iterator[tuple[str, list[Runner]]]:
        """The second core's state and the runners, whose order turns from round to round."""
        for core in self.cores:
            for number in range(self.repeat):
                runners = list(self.runners.values())
                yield core, runners[:: -1 if number % 2 else 1]


@dataclass(frozen=True)
class Figure:
    """The median of `samples` values of `what` of `question`, as `runner` ran it, with the second core idle or busy."""

    question: str
    what: str
    runner: str
    second_core: str
    unit: str
    median: float
    low: float
    high: float
    samples: int

    @property
    def key(self) -> tuple[str, str, str, str]:
        return self.question, self.what, self.runner, self.second_core


class Samples:
    """Collects values of one question and makes figures of them."""

    def __init__(self, question: str, unit: str) -> None:
        self.question, self.unit = question, unit
        self._values: dict[tuple[str, str, str], list[float]] = defaultdict(list)
        self.failures: dict[tuple[str, str], str] = {}

    def add(self, what: str, runner: str, core: str, value: float) -> None:
        self._values[what, runner, core].append(value)

    def attempt(self, what: str, runner: str, act: Callable[..., None], *arguments: object) -> None:
        """act(*arguments), unless it failed before; a failure is kept, said, and is no figure."""
        if (what, runner) in self.failures:
            return
        try:
            act(*arguments)
        except Exception as error:
            self.failures[what, runner] = f"{type(error).__name__}: {error}"
            print(f"  {self.question}: {what} by {runner} failed: {error}", file=sys.stderr)

    def figures(self) -> list[Figure]:
        return [
            Figure(self.question, *key, self.unit, median(values), min(values), max(values), len(values))
            for key, values in self._values.items()
        ]


@contextmanager
def second_core(state: str) -> Iterator[None]:
    """With "busy" a process spins on the last core meanwhile."""
    if state == "idle":
        yield
        return
    spinner = subprocess.Popen([str(build("calls")), "--spin", str(max(os.sched_getaffinity(0)))])
    try:
        yield
    finally:
        spinner.kill()
        spinner.wait()


def machine() -> dict[str, object]:
    return {
        "kernel": platform.release(),
        "python": platform.python_version(),
        "cpus": len(os.sched_getaffinity(0)),
        "cpu": _cpu_model(),
        "uid": os.getuid(),
        "load": os.getloadavg()[0],
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def save(path: Path, about: dict[str, object], figures: Sequence[Figure]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**about, "figures": [asdict(figure) for figure in figures]}, indent=1) + "\n")


def load(path: Path) -> tuple[dict[str, object], list[Figure]]:
    about = json.loads(path.read_text())
    return about, [Figure(**row) for row in about.pop("figures")]
