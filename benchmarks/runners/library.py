"""A runner that is a Python library, used in this process."""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .._build import HERE
from .base import Job, Missing, NotOffered, Outcome, Runner, checked
from .commands import run_command

__all__ = ["Library", "imported"]


def imported(name: str) -> Any:
    """That module. Missing: it cannot be imported."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise Missing(f"{name} cannot be imported: {error}") from None


class Library(Runner):
    package: str
    script: str  # what a caller writes to run the arguments in `here` and print their output

    def version(self) -> str:
        imported(self.package)
        return importlib.metadata.version(self.package)

    def own_files(self) -> Sequence[Path]:
        return [Path(imported(self.package).__file__).parent]

    def run_anew(self, job: Job) -> Outcome:
        """In an interpreter that has nothing loaded."""
        if job.network:
            raise NotOffered("only without a network")
        environment = {**job.environment, "PYTHONPATH": str(HERE.parent)}
        code = f"import os, sys, {self.package}; here = os.getcwd(); {self.script}"
        command = [sys.executable, "-c", code, *job.command]
        began = time.perf_counter()
        done = run_command(command, job.directory, environment)
        return checked(time.perf_counter() - began, done.returncode, done.stdout, done.stderr, command)
