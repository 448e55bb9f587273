"""Does it grow with the machine? Guests at once, threads in one guest, a neighbour that is loud, and calls that wait."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Callable

from ..runners import Job, Runner
from .calls import call_job, evidence, parse
from .case import OF_THE_NETWORK, Case, Part, Question, Reading, Setup, ready
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
    return Reading((seconds * 1e3,), b"\n".join(_told(line) for outcome in outcomes for line in outcome.stdout.splitlines()))


def _told(line: bytes) -> bytes:
    """A line of output, but for the time that it tells."""
    if not line.startswith(b"{"):
        return line
    row = json.loads(line)
    return b"%s %d" % (evidence(row), row["count"])


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
    row = parse(runner.run(job).stdout, name)
    return Reading((float(row["ns"]),), evidence(row))


def _probe(setup: Setup, runner: Runner, *options: str) -> Reading:
    job = call_job(setup, *options, "--probe", str(setup.scale.probe_ms), PROBED, folder="probe")
    row = parse(runner.run(job).stdout, PROBED)
    return Reading((float(row["p50"]), float(row["p99"])), evidence(row))


def _beside(setup: Setup, runner: Runner) -> Reading:
    with ready(runner, call_job(setup, "--noise", LOUD, folder="noise")):
        return _probe(setup, runner)


def _blocked(setup: Setup, runner: Runner) -> Reading:
    return _probe(setup, runner, "--blocked", str(setup.scale.blocked))


def _latency(setup: Setup, name: str, take: Callable[[Setup, Runner], Reading]) -> Case:
    parts = tuple(Part(f"{PROBED} {name}, {what}", "ns") for what in ("median", "99th percentile"))
    return Case(parts, partial(take, setup))


def _cases(setup: Setup) -> Iterator[tuple[str, Callable[[], Case]]]:
    for count in setup.scale.parallel:
        for name in ("calls", "imports"):
            yield f"{count} guests, {name}", partial(_guests, setup, name, count)
        for call in (PROBED, LOUD):
            yield f"{count} threads, {call}", partial(_threads, setup, call, count)
    blocked = f"beside {setup.scale.blocked} calls that wait"
    for name, take in (("alone", _probe), ("beside a loud neighbour", _beside), (blocked, _blocked)):
        yield f"{PROBED} {name}", partial(_latency, setup, name, take)


SCALING = Question("scaling", "Scaling and neighbours", _cases, cores=("idle", "busy"), without=("floor", "sandbox-cli", *OF_THE_NETWORK))
