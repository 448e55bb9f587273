"""Runners that are a command line put before the job's own. Each is a row: options, and what they make safe."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from .._build import BUILD
from .base import TIMEOUT, Failed, Job, Missing, NotOffered, Outcome, Runner, Running, Safety, checked

__all__ = ["PEERS", "SYSTEM", "CommandRunner", "FolderRunner", "find", "program_version", "run_command", "seen", "with_libraries"]

PEERS = BUILD / "peers"  # what install_peers.sh puts here comes before the PATH
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc")


def find(program: str) -> str:
    """Its path. Missing: it is not installed."""
    path = shutil.which(program, path=os.pathsep.join([str(PEERS), os.environ.get("PATH", ""), "/usr/sbin"]))
    if path is None:
        raise Missing(f"no {program} on the PATH")
    return path


def program_version(program: str) -> str:
    """The first word with a digit in front in what `program --version` says."""
    said = subprocess.run([find(program), "--version"], capture_output=True, text=True)
    number = re.search(r"\b\d\S*\d", said.stdout + said.stderr)
    return number.group() if number and said.returncode == 0 else "of unknown version"


def with_libraries(program: Path) -> list[Path]:
    """The file, and those that the loader maps for it, itself included."""
    said = subprocess.run(["ldd", str(program)], capture_output=True, text=True).stdout
    return [program, *map(Path, re.findall(r"(/\S+) \(0x", said))]


def seen(job: Job) -> list[str]:
    """What a guest may read: the system's directories that are here, and what the job names beyond them."""
    system = [path for path in SYSTEM if os.path.exists(path)]
    return [*system, *(str(path) for path in job.readable if not _below(str(path), (*system, str(job.directory))))]


def _below(path: str, tops: Sequence[str]) -> bool:
    return any((path + "/").startswith(top + "/") for top in tops)


@dataclass(frozen=True)
class CommandRunner(Runner):
    """`prefix(job)` comes before the command; `program` is what is looked for ("": nothing is needed)."""

    name: str
    program: str
    prefix: Callable[[Job], Sequence[str]]
    safety: Safety
    says: Callable[[str], str] = program_version
    network: bool = True
    outside: bool = False
    own: Callable[[], Sequence[Path]] = tuple

    def version(self) -> str:
        if self.program:
            find(self.program)
        return self.says(self.program)

    @contextlib.contextmanager
    def line(self, job: Job) -> Iterator[list[str]]:
        """The whole command line; what it needs is there meanwhile."""
        self.offers(job)
        yield [*self.prefix(job), *job.command]

    def offers(self, job: Job) -> None:
        """NotOffered: it has not the network that the job needs."""
        if job.network and not self.network:
            raise NotOffered("no network, not even its own")
        if (job.serves or job.meets) and not self.outside:
            raise NotOffered("set up for a loopback of its own only")

    def environment(self, job: Job) -> dict[str, str]:
        return job.environment

    def own_files(self) -> Sequence[Path]:
        return [*(with_libraries(Path(find(self.program))) if self.program else ()), *self.own()]

    def run(self, job: Job) -> Outcome:
        with self.line(job) as command:
            began = time.perf_counter()
            done = run_command(command, job.directory, self.environment(job))
            return checked(time.perf_counter() - began, done.returncode, done.stdout, done.stderr, command)

    run_anew = run

    def start(self, job: Job) -> Running:
        with contextlib.ExitStack() as stack:
            command = stack.enter_context(self.line(job))
            process = subprocess.Popen(
                command,
                cwd=job.directory,
                env=self.environment(job),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            return _running(process, stack.pop_all())


@dataclass(frozen=True)
class FolderRunner(CommandRunner):
    """One that needs an empty folder of its own for each command; `whole` fills it, before the clock runs,
    and gives the whole command line."""

    whole: Callable[[Job, Path], list[str]] = lambda job, folder: [*job.command]

    @contextlib.contextmanager
    def line(self, job: Job) -> Iterator[list[str]]:
        self.offers(job)
        folder = tempfile.mkdtemp(prefix="sandbox-benchmarks-runner-", dir="/var/tmp")
        try:
            yield self.whole(job, Path(folder))
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def run_command(command: Sequence[str], cwd: Path, env: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    """Its output is captured and it has no input. Failed: it takes too long."""
    try:
        return subprocess.run(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        raise Failed(f"took longer than {TIMEOUT:g} seconds") from None


def _running(process: subprocess.Popen[bytes], held: contextlib.ExitStack) -> Running:
    assert process.stdin is not None and process.stdout is not None

    def wait() -> None:
        process.wait(20)
        held.close()

    def kill() -> None:
        process.kill()
        process.wait()
        held.close()

    return Running(process.stdin, process.stdout, wait, kill)
