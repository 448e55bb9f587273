"""How long until `true` has run: at once again, from nothing, ten together, in a guest that stands."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Callable

from ..runners import Job, Runner
from .case import OF_THE_NETWORK, Case, Question, Reading, Setup, one

__all__ = ["START", "forget"]


def _warm(job: Job, runner: Runner) -> Reading:
    return Reading((runner.run(job).seconds * 1e3,))


def _cold(job: Job, runner: Runner) -> Reading:
    for path in (*runner.own_files(), Path(job.command[0])):
        forget(path)
    return Reading((runner.run_anew(job).seconds * 1e3,))


def _at_once(job: Job, count: int, runner: Runner) -> Reading:
    with ThreadPoolExecutor(count) as pool:
        list(pool.map(lambda _: time.sleep(0), range(count)))  # its threads stand
        began = time.perf_counter()
        list(pool.map(lambda _: runner.run(job), range(count)))
        return Reading(((time.perf_counter() - began) * 1e3,))


def _standing(job: Job, runner: Runner) -> Reading:
    with runner.standing(job) as run:
        run()
        return Reading((run().seconds * 1e3,))


def forget(path: Path) -> None:
    """Drop a file's clean pages, or those of all files below a folder, from the kernel's cache. What others have mapped stays."""
    for each in path.rglob("*") if path.is_dir() else (path,):
        with suppress(OSError):
            if each.is_file():
                _forget_file(each)


def _forget_file(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)


def _cases(setup: Setup) -> Iterator[tuple[str, Callable[[], Case]]]:
    job = Job(["/bin/true"], setup.folder("start"))
    count, times = setup.scale.at_once, setup.scale.starts
    for name, take, repeated in (
        ("warm", _warm, times),
        ("cold", _cold, 1),
        (f"{count} at once", partial(_at_once, count=count), 1),
        ("in a standing guest", _standing, times),
    ):
        yield name, partial(one, name, "ms", _of(take, job), repeated)


def _of(take: Callable[..., Reading], job: Job) -> Callable[[Runner], Reading]:
    return lambda runner: take(job, runner=runner)


START = Question(
    "start",
    "Start-up: /bin/true, from the request to the end",
    _cases,
    ("idle", "busy"),
    ("floor", "floor-unpinned", *OF_THE_NETWORK),
)
