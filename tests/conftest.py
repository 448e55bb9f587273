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
        "PATH": ":".join(dict.fromkeys([*PATH.split(":"), os.path.dirname(interpreter())])),
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


def clean_copy(target: Path) -> Path:
    """The project's own files, as a clean clone would have them; new ones included."""
    listing = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listing, capture_output=True, check=False)
    if done.returncode:  # not a clone: a release
        unwanted = shutil.ignore_patterns(".git", ".venv", "build", "*.egg-info", "*.so", "__pycache__")
        shutil.copytree(ROOT, target, ignore=unwanted, symlinks=True)
        return target
    for name in filter(None, done.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    return target


@pytest.fixture(scope="session")
def shared_dir() -> Iterator[Path]:
    """A directory that every user can read."""
    path = Path(tempfile.mkdtemp(prefix="sandbox-test-shared-", dir="/var/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def wheel(shared_dir: Path) -> Path:
    """A wheel built from a clean copy of the sources."""
    copy, out = clean_copy(shared_dir / "source"), shared_dir / "wheel"
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(out), str(copy)]
    subprocess.run(build, check=True, stdin=subprocess.DEVNULL)
    return next(out.glob("*.whl"))


def install(python: str, target: Path, *packages: str) -> str:
    """A virtual environment with these packages; its interpreter."""
    subprocess.run([python, "-m", "venv", str(target)], check=True)
    mine = str(target / "bin" / "python")
    pip = [mine, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--root-user-action=ignore", *packages]
    subprocess.run(pip, check=True, stdin=subprocess.DEVNULL)
    return mine
