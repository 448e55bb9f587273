"""How long until `true` has run: at once again, from nothing, ten together on all processors and on one, in a guest that stands."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Callable

from .._processors import first_only
from ..runners import Job, Runner, with_libraries
from .cache import cached_kib, forget
from .case import OF_FILES, OF_THE_NETWORK, Case, Part, Question, Reading, Setup, one

__all__ = ["START"]


def _warm(job: Job, runner: Runner) -> Reading:
    return Reading((runner.run(job).seconds * 1e3,))


def _cold(job: Job, runner: Runner) -> Reading:
    """With what stayed in the cache although it was to go: what this process and others have mapped."""
    files = [*runner.own_files(), *with_libraries(Path(job.command[0]))]
    forget(files)
    stayed = cached_kib(files)
    return Reading((runner.run_anew(job).seconds * 1e3, stayed))


def _together(job: Job, count: int, runner: Runner) -> float:
    """Milliseconds."""
    with ThreadPoolExecutor(count) as pool:
        list(pool.map(lambda _: time.sleep(0), range(count)))  # its threads stand
        began = time.perf_counter()
        list(pool.map(lambda _: runner.run(job), range(count)))
        return (time.perf_counter() - began) * 1e3


def _at_once(job: Job, count: int, runner: Runner) -> Reading:
    """On all processors, on the first alone, and the quotient: with two of them at best a half."""
    everywhere = _together(job, count, runner)
    with first_only():
        on_one = _together(job, count, runner)
    return Reading((everywhere, on_one, everywhere / on_one))


def _standing(job: Job, runner: Runner) -> Reading:
    with runner.standing(job) as run:
        run()
        return Reading((run().seconds * 1e3,))


def _cases(setup: Setup) -> Iterator[tuple[str, Callable[[], Case]]]:
    job = Job(["/bin/true"], setup.folder("start"))
    count, times = setup.scale.at_once, setup.scale.starts
    together = f"{count} at once"
    cold = (Part("cold", "ms"), Part("cold: left in the cache", "KiB"))
    parallel = (Part(together, "ms"), Part(f"{together} on one processor", "ms"), Part(f"{together}, all processors by one", "×"))
    yield "warm", partial(one, "warm", "ms", partial(_warm, job), times)
    yield "cold", partial(Case, cold, partial(_cold, job))
    yield together, partial(Case, parallel, partial(_at_once, job, count))
    yield "in a standing guest", partial(one, "in a standing guest", "ms", partial(_standing, job), times)


START = Question(
    "start",
    "Start-up: /bin/true, from the request to the end",
    _cases,
    ("idle", "busy"),
    (*OF_FILES, *OF_THE_NETWORK),
)
