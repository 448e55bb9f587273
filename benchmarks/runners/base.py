"""What every way to run a command has in common: a job goes in; its output and its time come out."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Callable

__all__ = ["TIMEOUT", "WAYS", "Failed", "Job", "Missing", "NotOffered", "Outcome", "Runner", "Running", "Safety", "checked"]

TIMEOUT = 300.0
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LANG": "C.UTF-8", "TMPDIR": "/tmp"}


LIBRARY_NOISE = "no version information available"  # which the loader says at each start of nsjail


WAYS = {
    "read": "reads a file beside its own",
    "write": "writes beside its own",
    "shadow": "reads /etc/shadow",
    "loopback": "connects to the host's loopback",
    "see": "sees a process of the host",
    "end": "ends one",
}
"""What a guest may reach of the host by ways that can be tried (reach.py), where its user can."""


class Missing(Exception):
    """This runner is not to be had here; says why."""


class NotOffered(Exception):
    """The runner is here, but does not do this kind of thing; says what. No failure and no figure."""


class Failed(Exception):
    """The runner did not do the work, or not rightly; says why. No figure."""


@dataclass(frozen=True)
class Job:
    """A command, with host paths that it may read and the one directory that it works in and may write.

    The paths inside are the same as outside. `network`: it talks to itself over 127.0.0.1. `serves`: a port there at which the host
    meets it; `meets`: a port of the host's 127.0.0.1 that it meets."""

    command: Sequence[str]
    directory: Path
    readable: Sequence[Path] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    network: bool = False
    serves: int = 0
    meets: int = 0

    @property
    def environment(self) -> dict[str, str]:
        return {**ENVIRONMENT, "HOME": str(self.directory), **self.env}


@dataclass(frozen=True)
class Outcome:
    """Seconds from the request to the end, and what came out."""

    seconds: float
    stdout: bytes


@dataclass
class Running:
    """A command that has been started: its streams, and how to have done with it."""

    stdin: IO[bytes]
    stdout: IO[bytes]
    wait: Callable[[], Any]
    kill: Callable[[], Any]

    def end(self) -> None:
        """Close its input, which every guest of ours takes as the end; and wait, killing it if that does not help."""
        with contextlib.suppress(OSError):
            self.stdin.close()
        try:
            self.wait()
        except Exception:  # too late, by whatever name its runner calls that
            self.kill()
        finally:
            self.stdout.close()


@dataclass(frozen=True)
class Safety:
    """What a runner, configured as here, looks at while the guest runs; and what its guest can reach: in words, and by
    keys of WAYS."""

    files: str
    sockets: str
    names: str
    reach: str
    reaches: tuple[str, ...] = ()


class Runner(ABC):
    name: str
    safety: Safety
    network: bool = True  # its guest can talk to itself over 127.0.0.1
    outside: bool = False  # and to the host there

    @abstractmethod
    def version(self) -> str:
        """Of the program, in a few words. Missing: it is not here."""

    @abstractmethod
    def run(self, job: Job) -> Outcome:
        """From the request to the end. Failed: another status than 0, or too late."""

    @abstractmethod
    def start(self, job: Job) -> Running:
        """The same, still running, with its input open."""

    @abstractmethod
    def run_anew(self, job: Job) -> Outcome:
        """The same, with everything of the runner's own started for it: an interpreter, too, where it is one's library."""

    def own_files(self) -> Sequence[Path]:
        """What a start reads of the runner's own from the disk: files, or folders of them."""
        return ()

    @contextlib.contextmanager
    def standing(self, job: Job) -> Iterator[Callable[[], Outcome]]:
        """A guest that stands; each call runs the job's command in it."""
        raise NotOffered("no guest that stands for several commands")
        yield  # makes this a generator


def checked(seconds: float, status: int, stdout: bytes, stderr: bytes, command: Sequence[str]) -> Outcome:
    """The outcome of a command that succeeded, or Failed with the end of what it said."""
    if status != 0:
        lines = (stderr or stdout).decode(errors="replace").splitlines()
        said = "; ".join(line.strip() for line in lines if line.strip() and LIBRARY_NOISE not in line)
        raise Failed(f"{Path(command[0]).name}: status {status}: {said[-300:] or 'it said nothing'}")
    return Outcome(seconds, stdout)
