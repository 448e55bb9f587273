"""What does one system call cost? guests/calls.c, run by every runner."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from functools import partial
from typing import Any, Callable

from .._build import build
from ..runners import Failed, Job, Runner
from .case import OF_THE_NETWORK, Case, Question, Reading, Setup, one

__all__ = ["CALLS", "NETWORK_CALLS", "TRANSFER", "call_case", "call_job", "call_names", "evidence", "parse"]

TRANSFER = "tcp-two-processes"
NETWORK_CALLS = ("connect-tcp", "sendto-udp", "dns-answer", "dns-cached", "tcp-64k", TRANSFER)
"""They have a question of their own."""


def call_names() -> list[str]:
    listed = subprocess.run([str(build("calls")), "--list"], capture_output=True, text=True, check=True)
    return listed.stdout.split()


def call_job(setup: Setup, *arguments: str, network: bool = False, folder: str = "calls") -> Job:
    """guests/calls.c with these arguments."""
    program = build("calls")
    return Job([str(program), *arguments], setup.folder(folder), [program.parent], network=network)


def parse(stdout: bytes, name: str) -> dict[str, Any]:
    """The one line that the program prints for this call."""
    try:
        row: dict[str, Any] = json.loads(stdout)
        assert row["name"] == name and row["count"] > 0 and row["saw"]
        return row
    except (ValueError, KeyError, AssertionError):
        raise Failed(f"it printed {stdout[:200]!r}") from None


def evidence(row: dict[str, Any]) -> bytes:
    """What is the same wherever the call has given the same."""
    return f"{row['name']} {row['saw']}".encode()


def _take(job: Job, name: str, runner: Runner) -> Reading:
    row = parse(runner.run(job).stdout, name)
    return Reading((float(row["ns"]),), evidence(row))


def call_case(setup: Setup, name: str) -> Case:
    job = call_job(setup, "--ms", str(setup.scale.ms), name, network=name in NETWORK_CALLS)
    return one(name, "ns", partial(_take, job, name))


def _cases(setup: Setup) -> Iterator[tuple[str, Callable[[], Case]]]:
    for name in call_names():
        if name not in NETWORK_CALLS:
            yield name, partial(call_case, setup, name)


CALLS = Question(
    "calls", "Single system calls", _cases, cores=("idle", "busy"), without=("floor-unpinned", "floor-two", "sandbox-cli", *OF_THE_NETWORK)
)
