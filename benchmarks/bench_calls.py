"""What does one call cost? guests/calls.c, run by every runner."""

from __future__ import annotations

import json
import subprocess

from ._build import build
from .measure import Samples, Setup, second_core
from .runners import Job, Runner

__all__ = ["bench", "names"]


def names() -> list[str]:
    listed = subprocess.run([str(build("calls")), "--list"], capture_output=True, text=True, check=True)
    return listed.stdout.split()


def bench(setup: Setup, ms: int = 30) -> Samples:
    """Runners take turns call by call, so that a figure and its native one are made within a second."""
    program = build("calls")
    samples = Samples("calls", "ns")
    wanted = [name for name in names() if not setup.only or name in setup.only]
    for core, runners in setup.rounds():
        for name in wanted:
            with second_core(core):
                for runner in runners:
                    directory = setup.scratch / f"calls-{runner.name}"
                    directory.mkdir(exist_ok=True)
                    job = Job([str(program), "--ms", str(ms), name], directory, [program.parent])
                    samples.attempt(name, runner.name, _once, samples, runner, job, core)
    return samples


def _once(samples: Samples, runner: Runner, job: Job, core: str) -> None:
    for line in runner.run(job).stdout.splitlines():
        row = json.loads(line)
        samples.add(row["name"], runner.name, core, row["ns"])
