"""Fixtures: twin directories, a wheel of the project, and an interpreter that other users can reach."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import PATH, Twin, interpreter

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def twin() -> Iterator[Twin]:
    """Two empty directories outside of everything that the default view shows."""
    top = Path(tempfile.mkdtemp(prefix="sandbox-test-", dir="/var/tmp")).resolve()
    here, there = top / "here", top / "there"
    for path in (here, there):
        path.mkdir()
    env = {
        "PATH": f"{PATH}:{os.path.dirname(interpreter())}",
        "HOME": str(here),
        "USER": "tester",
        "LOGNAME": "tester",
        "LANG": "C.UTF-8",
        "TMPDIR": "/tmp",
        "TERM": "dumb",
    }
    yield Twin(here, there, env)
    subprocess.run(["chmod", "-R", "u+rwX", str(top)], check=False, stderr=subprocess.DEVNULL)
    shutil.rmtree(top, ignore_errors=True)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of the sources, so that nothing of the tree is touched."""
    copy = tmp_path_factory.mktemp("source") / "project"
    unwanted = shutil.ignore_patterns(".git", ".venv", "build", "dist", "*.egg-info", "*.so", "sentry", "stub.bin")
    shutil.copytree(ROOT, copy, ignore=unwanted, symlinks=True)
    out = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(out), str(copy)]
    subprocess.run(build, check=True, stdin=subprocess.DEVNULL)
    return next(out.glob("*.whl"))
