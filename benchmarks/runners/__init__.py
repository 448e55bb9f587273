"""Ways to run a command behind one interface: each takes the same job, shows it the same files and gives its output and time.

yardsticks.py has native and the floor, ours.py this project, the others its peers; most are a row of jails.py."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from .base import TIMEOUT, WAYS, Failed, Job, Missing, NotOffered, Outcome, Runner, Running, Safety
from .commands import with_libraries
from .crun import CRUN
from .jails import JAILS
from .ours import OURS
from .sandlock import SANDLOCK
from .yardsticks import YARDSTICKS

__all__ = [
    "RUNNERS",
    "TIMEOUT",
    "WAYS",
    "Failed",
    "Job",
    "Missing",
    "NotOffered",
    "Outcome",
    "Runner",
    "Running",
    "Safety",
    "find_runners",
    "with_libraries",
]

RUNNERS: dict[str, Runner] = {runner.name: runner for runner in (*YARDSTICKS, *OURS, SANDLOCK, *JAILS, CRUN)}


def find_runners(names: Sequence[str] = ()) -> tuple[dict[str, Runner], dict[str, str], dict[str, str]]:
    """Of these, or of all: the runners that are here and run `true`; their versions; and why the others are not used."""
    here: dict[str, Runner] = {}
    versions: dict[str, str] = {}
    skipped: dict[str, str] = {}
    for name in names or RUNNERS:
        try:
            versions[name] = _try(RUNNERS[name])
            here[name] = RUNNERS[name]
        except Missing as reason:
            skipped[name] = str(reason)
        except Exception as error:  # whatever it is, there is nothing to measure
            skipped[name] = f"does not run here: {error or type(error).__name__}"
    return here, versions, skipped


def _try(runner: Runner) -> str:
    version = runner.version()
    with tempfile.TemporaryDirectory(prefix="sandbox-benchmarks-", dir="/var/tmp") as directory:
        runner.run(Job(["/bin/true"], Path(directory)))
    return version
