"""Does it grow with the machine? Guests at once, threads in one guest, and a neighbour that is loud."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Callable

from ..runners import Failed, Job, Runner
from .calls import call_job, parse
from .case import OF_THE_NETWORK, Case, Part, Question, Reading, Setup
from .work_python import imports

__all__ = ["SCALING"]

PROBED = "stat"
LOUD = "open+close"


def _together(jobs: list[Job], runner: Runner) -> Reading:
    """Milliseconds until all have ended, each started by a thread of its own."""
    with ThreadPoolExecutor(len(jobs)) as pool:
        began = time.perf_counter()
        outcomes = list(pool.map(runner.run, jobs))
        seconds = time.perf_counter() - began
    return Reading((seconds * 1e3,), _same([outcome.stdout for outcome in outcomes]))


def _same(outputs: list[bytes]) -> bytes:
    """Of guests that print times, that they printed at all."""
    return b"" if outputs[0].startswith(b"{") and all(outputs) else b"\n".join(outputs)


def _guests(setup: Setup, name: str, count: int) -> Case:
    if name == "imports":
        jobs = [imports(setup, setup.folder(f"scaling {number}")) for number in range(count)]
    else:
        arguments = ("--count", str(setup.scale.count), PROBED, LOUD)
        jobs = [call_job(setup, *arguments, folder=f"scaling {number}") for number in range(count)]
    curve = {"imports": "guests importing Python modules", "calls": "guests making served calls"}[name]
    return Case((Part(f"{curve}: {count}", "ms", curve, count),), partial(_together, jobs))


def _threads(setup: Setup, name: str, count: int) -> Case:
    job = call_job(setup, "--ms", str(setup.scale.ms), "--threads", str(count), name)
    curve = f"threads sharing {name}"
    take = partial(_ns, job, name)
    return Case((Part(f"{curve}: {count}", "ns", curve, count),), take)


def _ns(job: Job, name: str, runner: Runner) -> Reading:
    return Reading((float(parse(runner.run(job).stdout, name)["ns"]),))


def _probe(setup: Setup, runner: Runner) -> tuple[float, float]:
    job = call_job(setup, "--probe", str(setup.scale.probe_ms), PROBED, folder="probe")
    row = parse(runner.run(job).stdout, PROBED)
    return float(row["p50"]), float(row["p99"])


def _quiet(setup: Setup, runner: Runner) -> Reading:
    return Reading(_probe(setup, runner))


def _beside(setup: Setup, runner: Runner) -> Reading:
    neighbour = runner.start(call_job(setup, "--noise", LOUD, folder="noise"))
    try:
        if neighbour.stdout.readline() != b"ready\n":
            raise Failed("the neighbour did not start")
        return Reading(_probe(setup, runner))
    finally:
        neighbour.end()


def _latency(setup: Setup, name: str, take: Callable[[Setup, Runner], Reading]) -> Case:
    parts = tuple(Part(f"{PROBED} {name}, {what}", "ns") for what in ("median", "99th percentile"))
    return Case(parts, partial(take, setup))


def _cases(setup: Setup) -> Iterator[tuple[str, Callable[[], Case]]]:
    for count in setup.scale.parallel:
        for name in ("calls", "imports"):
            yield f"{count} guests, {name}", partial(_guests, setup, name, count)
        for call in (PROBED, LOUD):
            yield f"{count} threads, {call}", partial(_threads, setup, call, count)
    for name, take in (("alone", _quiet), ("beside a loud neighbour", _beside)):
        yield f"{PROBED} {name}", partial(_latency, setup, name, take)


SCALING = Question("scaling", "Scaling and neighbours", _cases, without=("floor", "sandbox-cli", *OF_THE_NETWORK))
