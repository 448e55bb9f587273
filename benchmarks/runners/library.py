"""A runner that is a Python library, used in this process."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import cache
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


LOADED = """
modules = {path for module in list(sys.modules.values()) for path in (getattr(module, "__file__", 0), getattr(module, "__cached__", 0)) if path}
mapped = {line.split(None, 5)[5].strip() for line in open("/proc/self/maps") if " /" in line}
print(*sorted(modules | mapped), sep="\\n")
"""


@cache
def _loaded(package: str, script: str) -> list[Path]:
    """What an interpreter has read from files when it has run `true` by the library: itself, its libraries, modules."""
    code = f"import os, sys, {package}; here = os.getcwd(); {script}\n{LOADED}"
    with tempfile.TemporaryDirectory(prefix="sandbox-benchmarks-", dir="/var/tmp") as here:
        environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
        done = subprocess.run([sys.executable, "-c", code, "/bin/true"], cwd=here, env=environment, capture_output=True, text=True, check=True)
    return [path for path in map(Path, done.stdout.splitlines()) if path.is_file()]


class Library(Runner):
    package: str
    script: str  # what a caller writes to run the arguments in `here` and print their output

    def version(self) -> str:
        imported(self.package)
        return importlib.metadata.version(self.package)

    def own_files(self) -> Sequence[Path]:
        return [Path(imported(self.package).__file__).parent, *_loaded(self.package, self.script)]

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
