"""Fixtures: twin directories, a wheel of the project, and an interpreter that other users can reach."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import PATH, Twin, interpreter
from tests.other_user import build_wheel
from tests.processes import children


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
    return build_wheel(shared_dir)


@pytest.fixture(autouse=True)
def no_child_is_left() -> Iterator[None]:
    """Each test ends or waits for what it has started."""
    before = children()
    yield
    left = {pid: words for pid, words in children().items() if pid not in before}
    assert not left, left


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest file first: the workers end at about the same time."""
    items.sort(key=lambda item: "test_as_user" not in item.nodeid)


def pytest_configure() -> None:
    """Signals that whoever started us ignores (nohup, a background job) would be ignored natively and not inside."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
