"""What a question is made of. A case is measured as a whole and gives one value for each of its parts."""

from __future__ import annotations

import hashlib
import select
import shutil
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from ..runners import TIMEOUT, Failed, Job, Outcome, Runner, Running

__all__ = [
    "FULL",
    "OF_FILES",
    "OF_THE_NETWORK",
    "QUICK",
    "TINY",
    "Case",
    "Part",
    "Question",
    "Reading",
    "Scale",
    "Setup",
    "Unmade",
    "digest",
    "one",
    "ready",
    "reset",
]


OF_FILES = ("floor", "floor-unpinned", "floor-two")
"""Runners that serve files, and nothing else."""
OF_THE_NETWORK = ("floor-network", "floor-served", "sandbox-rules")
"""Runners that differ from others in the network only."""


class Unmade(Exception):
    """The case cannot be made here, for any runner; says why."""


@dataclass(frozen=True)
class Scale:
    """How much there is to do. FULL is what figures are published of; the others look the same and are worth nothing."""

    ms: float = 30  # a loop of one call
    count: int = 20_000  # calls shared by guests or threads
    starts: int = 5  # of `true`, in each round
    at_once: int = 10
    guests: Sequence[int] = (1, 10, 100, 1000)
    served: Sequence[int] = (1000, 100_000)  # calls of two kinds that a guest has made
    parallel: Sequence[int] = (1, 2, 4, 8)
    probe_ms: float = 1000
    blocked: int = 300  # calls that wait beside the probe
    megabytes: int = 1024  # by TCP
    files: int = 10_000
    tracked: int = 5000
    units: int = 50  # of C
    packages: int = 20
    tests: int = 2000
    rows: int = 20_000
    requests: int = 20_000
    turns: int = 100  # of a shell loop
    seconds: int = 2  # of load


FULL = Scale()
QUICK = Scale(10, 4000, 2, 10, (1, 10, 100), (1000, 10_000), (1, 2, 4), 300, 100, 100, 1000, 500, 10, 5, 200, 2000, 2000, 20, 1)
TINY = Scale(0.2, 20, 1, 2, (1, 2), (10, 20), (1, 2), 5, 20, 1, 20, 20, 2, 2, 5, 50, 50, 3, 1)


@dataclass(frozen=True)
class Setup:
    """Where cases make their files, how much of everything, and which of them are wanted: parts of names (none is all); and, if `needed`
    says so, these by these runners alone, beside native."""

    scratch: Path
    scale: Scale
    only: Sequence[str] = ()
    needed: Mapping[str, Collection[str]] | None = None

    def wants(self, name: str) -> bool:
        chosen = not self.only or any(part in name for part in self.only)
        return chosen and (self.needed is None or name in self.needed)

    def asks(self, name: str, runner: str) -> bool:
        return self.needed is None or runner == "native" or runner in self.needed[name]

    def folder(self, name: str) -> Path:
        path = self.scratch / "".join(letter if letter.isalnum() else "-" for letter in name)
        path.mkdir(parents=True, exist_ok=True)
        return path


@dataclass(frozen=True)
class Part:
    """One series of values. Parts of one `curve` are drawn over their `x`."""

    name: str
    unit: str
    curve: str = ""
    x: float = 0.0


@dataclass(frozen=True)
class Reading:
    """A value for each part, and what came out: the same as natively, or the values are worth nothing."""

    values: tuple[float, ...]
    evidence: bytes = b""


@dataclass(frozen=True)
class Case:
    """`take` may raise Failed, or NotOffered. It is done `times` in each round, and in at most `rounds` of them."""

    parts: tuple[Part, ...]
    take: Callable[[Runner], Reading]
    times: int = 1
    rounds: int = 1000


@dataclass(frozen=True)
class Question:
    """`cases` gives names and makers, each of which makes its files and may raise Unmade. `cores`: the states of the second core
    that it is asked in. `without`: runners for which it makes no sense."""

    name: str
    title: str
    cases: Callable[[Setup], Iterable[tuple[str, Callable[[], Case]]]]
    cores: Sequence[str] = ("idle",)
    without: Sequence[str] = ()


def one(name: str, unit: str, take: Callable[[Runner], Reading], times: int = 1) -> Case:
    """A case of one part."""
    return Case((Part(name, unit),), take, times)


@contextmanager
def ready(runner: Runner, job: Job) -> Iterator[Running]:
    """It has been started, and has said so; at the end it is ended."""
    guest = runner.start(job)
    try:
        poll = select.poll()  # of any number, where there are a thousand guests
        poll.register(guest.stdout, select.POLLIN)
        if not poll.poll(TIMEOUT * 1000):
            raise Failed(f"it was not ready after {TIMEOUT:g} seconds")
        said = guest.stdout.readline()
        if said != b"ready\n":
            raise Failed(f"it said {said!r} and not that it is ready")
        yield guest
    finally:
        guest.end()


def reset(job: Job, names: Iterable[str]) -> None:
    """Take away what an earlier run has made, by patterns below the job's directory."""
    for path in _matches(job.directory, names):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def digest(outcome: Outcome, job: Job, names: Iterable[str]) -> bytes:
    """What a run printed and, by patterns below its directory, what it made: names, permissions and contents."""
    total = hashlib.sha256(outcome.stdout)
    for path in _matches(job.directory, names):
        status = path.lstat()
        total.update(f"{path.relative_to(job.directory)} {stat.filemode(status.st_mode)}\n".encode())
        if path.is_symlink():
            total.update(str(path.readlink()).encode())
        elif path.is_file():
            total.update(path.read_bytes())
    return total.digest()


def _matches(directory: Path, names: Iterable[str]) -> Iterator[Path]:
    return iter(sorted({path for name in names for path in directory.glob(name)}))
