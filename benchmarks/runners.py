"""Ways to run a command: each takes the same command, sees the same files, and gives its output and its time.

`native` is the command itself; `floor` runs it under guests/floor.c; `sandbox` calls `sandbox.run` in this process and
`sandbox-cli` starts `python -m sandbox run`; the others are peers,
left out with a word where they are not installed."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Callable

from ._build import BUILD, HERE, build

__all__ = ["RUNNERS", "Job", "Missing", "Outcome", "Runner", "found"]

TIMEOUT = 300.0
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "TMPDIR": "/tmp"}


class Missing(Exception):
    """This way to run a command is not to be had here; says why."""


@dataclass(frozen=True)
class Job:
    """A command, with host paths that it may read and the one directory that it works in and may write.

    The paths inside are the same as outside."""

    command: Sequence[str]
    directory: Path
    readable: Sequence[Path] = ()
    env: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return {**ENVIRONMENT, "HOME": str(self.directory), **self.env}


@dataclass(frozen=True)
class Outcome:
    """Seconds from the request to the end, and what came out."""

    seconds: float
    stdout: bytes


@dataclass(frozen=True)
class Runner:
    name: str
    version: Callable[[], str]  # raises Missing
    run: Callable[[Job], Outcome]


class Failed(Exception):
    """The command did not succeed: no figure."""


def found(names: Sequence[str] | None = None) -> tuple[dict[str, Runner], dict[str, str]]:
    """The runners that are here, and the version, or the reason of absence, of each."""
    here, words = {}, {}
    for name in names or RUNNERS:
        try:
            words[name] = RUNNERS[name].version()
            here[name] = RUNNERS[name]
        except Missing as reason:
            words[name] = f"skipped: {reason}"
    return here, words


def _outcome(seconds: float, returncode: int, stdout: bytes, stderr: bytes, command: Sequence[str]) -> Outcome:
    if returncode != 0:
        raise Failed(f"{command[0]} ...: status {returncode}: {stderr.decode(errors='replace').strip()[-300:]}")
    return Outcome(seconds, stdout)


def _spawn(command: Sequence[str], job: Job) -> Outcome:
    began = time.perf_counter()
    done = subprocess.run(
        command, cwd=job.directory, env=job.environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT
    )
    return _outcome(time.perf_counter() - began, done.returncode, done.stdout, done.stderr, command)


def _wrapped(*prefix: str) -> Callable[[Job], Outcome]:
    return lambda job: _spawn([*prefix, *job.command], job)


def _floor(*options: str) -> Callable[[Job], Outcome]:
    return lambda job: _spawn([str(BUILD / "floor"), *options, "--", *job.command], job)


def _floor_version() -> str:
    build("floor")
    true = shutil.which("true") or "/bin/true"
    done = subprocess.run([str(BUILD / "floor"), "--", true], capture_output=True)
    if done.returncode:
        raise Missing(done.stderr.decode(errors="replace").strip() or f"status {done.returncode}")
    return "guests/floor.c"


def _sandbox(job: Job) -> Outcome:
    import sandbox

    began = time.perf_counter()
    done = sandbox.run(
        list(job.command),
        cwd=str(job.directory),
        env=job.environment,
        mounts={str(path): str(path) for path in job.readable},
        writable={str(job.directory): str(job.directory)},
        timeout=TIMEOUT,
    )
    return _outcome(time.perf_counter() - began, done.returncode, done.stdout, done.stderr, job.command)


def _sandbox_cli(job: Job) -> Outcome:
    options = [f"--ro={path}:{path}" for path in job.readable]
    options += [f"--rw={job.directory}:{job.directory}", f"--cwd={job.directory}"]
    options += [f"--env={name}={value}" for name, value in job.environment.items()]
    outer = replace(job, env={"PYTHONPATH": str(HERE.parent)})  # from the job's directory, the sandbox of this tree
    return _spawn([sys.executable, "-m", "sandbox", "run", *options, "--", *job.command], outer)


def _sandbox_version() -> str:
    try:
        import sandbox

        sandbox.run(["/bin/true"], check=True)
    except Exception as error:  # whatever it is, there is nothing to measure
        raise Missing(f"{type(error).__name__}: {error}") from None
    return "this tree"


def _program_version(program: str) -> Callable[[], str]:
    def version() -> str:
        if shutil.which(program) is None:
            raise Missing(f"no {program} on the PATH")
        said = subprocess.run([program, "--version"], capture_output=True, text=True)
        number = re.search(r"\d+(\.\d+)+|\d{8}", said.stdout + said.stderr)
        return number.group() if number else "unknown"

    return version


_BWRAP = ("bwrap", "--unshare-all", "--dev-bind", "/", "/")
_ALL = (
    Runner("native", platform.release, _wrapped()),
    Runner("floor", _floor_version, _floor()),
    Runner("floor-unpinned", _floor_version, _floor("--no-pin")),
    Runner("sandbox", _sandbox_version, _sandbox),
    Runner("sandbox-cli", _sandbox_version, _sandbox_cli),
    Runner("bubblewrap", _program_version("bwrap"), _wrapped(*_BWRAP)),
    Runner("proot", _program_version("proot"), _wrapped("proot")),
    Runner("runsc", _program_version("runsc"), _wrapped("runsc", "--network=none", "do")),
)
RUNNERS = {runner.name: runner for runner in _ALL}
