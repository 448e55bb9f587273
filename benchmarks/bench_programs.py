"""What do real programs cost, whole, and do two guests get in each other's way?"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from .measure import Samples, Setup, second_core
from .programs import PROGRAMS
from .runners import RUNNERS, Job, Runner

__all__ = ["bench", "bench_pair"]

PAIRED = ("imports", "computing", "100 x")


def bench(setup: Setup) -> Samples:
    samples = Samples("programs", "ms")
    for program, job in _jobs(setup):
        for runner in setup.runners.values():
            samples.attempt(program, runner.name, _check, runner, job)  # and fills the caches
        for core, runners in setup.rounds():
            with second_core(core):
                for runner in runners:
                    samples.attempt(program, runner.name, _once, samples, program, runner, job, core)
    return samples


def bench_pair(setup: Setup) -> Samples:
    """Two of the same at once, on two cores: time of both divided by the time of one. 1.0 is no disturbance."""
    samples = Samples("pair", "x")
    for program, job in _jobs(setup, PAIRED):
        for _, runners in replace(setup, cores=["idle"]).rounds():
            for runner in runners:
                samples.attempt(program, runner.name, _pair, samples, program, runner, job)
    return samples


def _jobs(setup: Setup, default: Sequence[str] = ("",)) -> Iterator[tuple[str, Job]]:
    for number, program in enumerate(PROGRAMS):
        if any(part in program.name for part in setup.only or default):
            directory = setup.scratch / f"program-{number}"
            directory.mkdir()
            yield program.name, program.make(directory)


def _check(runner: Runner, job: Job) -> None:
    if runner.run(job).stdout != RUNNERS["native"].run(job).stdout:
        raise AssertionError("another output than natively")


def _once(samples: Samples, program: str, runner: Runner, job: Job, core: str) -> None:
    samples.add(program, runner.name, core, runner.run(job).seconds * 1e3)


def _pair(samples: Samples, program: str, runner: Runner, job: Job) -> None:
    one = runner.run(job).seconds
    with ThreadPoolExecutor(2) as pool:
        began = time.perf_counter()
        for outcome in [pool.submit(runner.run, job) for _ in range(2)]:
            outcome.result()
        samples.add(program, runner.name, "idle", (time.perf_counter() - began) / one)
