"""Real work: whole programs, each a row. What a run prints and makes must be what the native one prints and makes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Callable

from ..runners import Job, NotOffered, Runner
from . import work_python, work_shell
from .case import OF_FILES, OF_THE_NETWORK, Case, Part, Question, Reading, Setup, Unmade, digest, reset

__all__ = ["TABLE", "WORK", "Work", "need", "work_case"]


@dataclass(frozen=True)
class Work:
    """`make` fills a directory and gives the job. `made`: patterns of what is compared; `anew`: of what is removed before each
    run. `read` makes values of the output, and evidence, in `unit`, one for each of `parts`; else there is
    one, the time of the whole process. `whole`: what it opens and asks for it names from where it was started, so that the floor
    serves it all."""

    name: str
    make: Callable[[Setup, Path], Job]
    needs: tuple[str, ...] = ()
    made: tuple[str, ...] = ()
    anew: tuple[str, ...] = ()
    read: Callable[[bytes], Reading] | None = None
    unit: str = "ms"
    parts: tuple[str, ...] = ()
    whole: bool = False


TABLE = (
    Work("python imports", work_python.imports, whole=True),
    Work("python computing", work_python.computing),
    Work("pip install", work_python.pip_install, (), ("installed/**/*.py",), ("installed",)),
    Work("pytest collection", work_python.collection),
    Work("sqlite", work_python.database, (), ("bench.db*",), ("bench.db*",)),
    Work("gcc, one file", work_shell.compiling, ("gcc",), ("*.o",), ("*.o",), whole=True),
    Work("make -j2", work_shell.make, ("gcc", "make"), ("*.o", "program"), ("*.o", "program"), whole=True),
    Work("git status", work_shell.status, ("git",), whole=True),
    Work("git clone", work_shell.clone, ("git",), ("copy/folder*/**/*",), ("copy",)),
    Work("git checkout", work_shell.checkout, ("git",), ("repository/folder*/**/*",)),
    Work("find", work_shell.find, ("find",)),
    Work("grep -r", work_shell.grep, ("grep",)),
    Work("tar c", work_shell.packing, ("tar",), ("packed.tar",), ("packed.tar",)),
    Work("tar x", work_shell.unpacking, ("tar",), ("unpacked/**/*",), ("unpacked",)),
    Work("npm ci", work_shell.npm_ci, ("npm",), ("node_modules/**/*.js*",), ("node_modules",)),
    Work("sh loop of /bin/true", work_shell.shell_loop, whole=True),
    Work("sh pipelines", work_shell.pipelines),
    Work("redis-benchmark", work_shell.redis, work_shell.REDIS_NEEDS),
    Work("nginx and wrk", work_shell.nginx, ("nginx", "wrk"), (), (), work_shell.served, "µs per request"),
)


def _take(work: Work, job: Job, runner: Runner) -> Reading:
    if runner.name in OF_FILES and not work.whole:
        raise NotOffered("serves a part of its calls only")
    reset(job, work.anew)
    outcome = runner.run(job)
    if work.read:
        return work.read(outcome.stdout)
    return Reading((outcome.seconds * 1e3,), digest(outcome, job, work.made))


def need(*programs: str) -> None:
    """Unmade: one of them is not here."""
    for program in programs:
        if shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") is None:
            raise Unmade(f"no {program} on the PATH")


def work_case(setup: Setup, work: Work) -> Case:
    need(*work.needs)
    job = work.make(setup, setup.folder(work.name))
    parts = tuple(Part(name, work.unit) for name in work.parts or (work.name,))
    return Case(parts, partial(_take, work, job))


def _cases(setup: Setup) -> Iterator[tuple[str, Callable[[], Case]]]:
    for work in TABLE:
        yield work.name, partial(work_case, setup, work)


WORK = Question("work", "Real work: whole programs", _cases, cores=("idle", "busy"), without=("floor-two", "sandbox-cli", *OF_THE_NETWORK))
