"""Real work: whole programs, each a row. What a run prints and makes must be what the native one prints and makes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Callable

from ..runners import Job, Runner
from . import work_python, work_shell
from .case import OF_THE_NETWORK, Case, Question, Reading, Setup, Unmade, digest, one, reset

__all__ = ["TABLE", "WORK", "Work", "work_case"]


@dataclass(frozen=True)
class Work:
    """`make` fills a directory and gives the job. `made`: patterns of what is compared; `anew`: of what is removed before each
    run. `read` makes a value of the output, in `unit`; else it is the time of the whole process."""

    name: str
    make: Callable[[Setup, Path], Job]
    needs: tuple[str, ...] = ()
    made: tuple[str, ...] = ()
    anew: tuple[str, ...] = ()
    read: Callable[[bytes], Reading] | None = None
    unit: str = "ms"


TABLE = (
    Work("python imports", work_python.imports),
    Work("python computing", work_python.computing),
    Work("pip install", work_python.pip_install, (), ("installed/**/*.py",), ("installed",)),
    Work("pytest collection", work_python.collection),
    Work("sqlite", work_python.database, (), (), ("bench.db*",)),
    Work("make -j2", work_shell.make, ("gcc", "make"), ("*.o", "program"), ("*.o", "program")),
    Work("git status", work_shell.status, ("git",)),
    Work("git clone", work_shell.clone, ("git",), ("copy/folder*/**/*",), ("copy",)),
    Work("git checkout", work_shell.checkout, ("git",), ("repository/folder*/**/*",)),
    Work("find", work_shell.find, ("find",)),
    Work("grep -r", work_shell.grep, ("grep",)),
    Work("tar c", work_shell.packing, ("tar",), ("packed.tar",), ("packed.tar",)),
    Work("tar x", work_shell.unpacking, ("tar",), ("unpacked/**/*",), ("unpacked",)),
    Work("npm ci", work_shell.npm_ci, ("npm",), ("node_modules/**/*.js*",), ("node_modules", "cache", ".npm")),
    Work("sh loop of /bin/true", work_shell.shell_loop),
    Work("sh pipelines", work_shell.pipelines),
    Work("redis-benchmark", work_shell.redis, ("redis-server", "redis-cli", "redis-benchmark")),
    Work("nginx and wrk", work_shell.nginx, ("nginx", "wrk"), (), (), work_shell.served, "µs per request"),
)


def _take(work: Work, job: Job, runner: Runner) -> Reading:
    reset(job, work.anew)
    outcome = runner.run(job)
    if work.read:
        return work.read(outcome.stdout)
    return Reading((outcome.seconds * 1e3,), digest(outcome, job, work.made))


def work_case(setup: Setup, work: Work) -> Case:
    for program in work.needs:
        if shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") is None:
            raise Unmade(f"no {program} on the PATH")
    job = work.make(setup, setup.folder(work.name))
    return one(work.name, work.unit, partial(_take, work, job))


def _cases(setup: Setup) -> Iterator[tuple[str, Callable[[], Case]]]:
    for work in TABLE:
        yield work.name, partial(work_case, setup, work)


WORK = Question("work", "Real work: whole programs", _cases, cores=("idle", "busy"), without=("floor", "sandbox-cli", *OF_THE_NETWORK))
