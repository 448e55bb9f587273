"""Programs run in every combination of walls that a kernel or a container may refuse."""

from __future__ import annotations

import functools
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import refusing

ROOT = Path(__file__).resolve().parent.parent
NAMESPACE_WALLS = {"userns", "pidns", "netns", "ipcns", "utsns", "mountns"}
COMBINATIONS = [
    [name for name in chosen if name]
    for chosen in itertools.product(("", "namespaces"), ("", "landlock"), ("", "pidfd_getfd"))
]
ALONE = [["sync_wake_up"], ["execve_check"], ["newer"], ["mounts"], ["newuser"], ["newpid"], ["newns"], ["newnet"],
         ["newipc", "newuts"], ["landlock-off"], ["newer", "sync_wake_up", "execve_check"],
         ["namespaces", "newer", "sync_wake_up", "execve_check", "pidfd_getfd", "landlock"]]  # fmt: skip


def _run(refused: list[str], before: tuple[str, ...] = ()) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.refusing", *refused, "--", *before, sys.executable, "-m", "tests.walls_main"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@functools.lru_cache(maxsize=1)
def _here() -> dict[str, Any]:
    """What stands and happens with nothing refused."""
    return _run([])


def test_everything_runs_with_all_walls() -> None:
    done = _here()["done"]
    assert done["true"] == [0, "", ""]
    assert done["false"] == [1, "", ""]
    assert {"bin", "etc", "usr", "work", "data", "out", "proc"} <= set(done["ls"][1].split())
    assert done["python"][:2] == [0, "/work ['hello.c']\n"]
    assert done["pipeline"] == [0, "1000\nx\n", ""]
    assert done["gcc"][:2] == [4, "compiled\n"]
    assert done["reading"][1] == "input\ninput\n"
    assert done["writing"] == [0, "from the guest\n", ""]
    assert done["descriptors"] == [0, "600 5\n", ""]
    assert done["fifo"] == [0, "through\nlocked\n", ""]
    assert done["left"] == ["dir", "file", "link", "made"]


@pytest.mark.parametrize("refused", [*COMBINATIONS[1:], *ALONE], ids="+".join)
def test_refused(refused: list[str]) -> None:
    """The same outputs; the refused walls are not claimed, the others still stand."""
    there, here = _here(), _run(refused)
    assert here["done"] == there["done"]
    gone: set[str] = set()
    if "namespaces" in refused:
        gone |= NAMESPACE_WALLS
    if "landlock" in refused or "landlock-off" in refused:
        gone |= {"landlock", "landlock-scope"}
    if refused == ["newuser"] and "userns" in there["walls"]:
        gone |= NAMESPACE_WALLS if _needs_userns() else {"userns"}
    for name in refused:  # a pid namespace stands only with a /proc of its own, and that must be mounted
        gone |= {"newpid": {"pidns"}, "newns": {"mountns", "pidns"}, "mounts": {"mountns", "pidns"}, "newnet": {"netns"},
                 "newipc": {"ipcns"}, "newuts": {"utsns"}}.get(name, set())  # fmt: skip
    assert set(here["walls"]) == set(there["walls"]) - gone


def _needs_userns() -> bool:
    return os.getuid() != 0


@pytest.mark.parametrize("abi", [1, 2, 3, 4, 5, 6])
def test_older_landlock(old_landlock: Path, abi: int) -> None:
    """Each older Landlock still is a wall; its scopes stand from the sixth on."""
    there = _here()
    if "landlock" not in there["walls"]:
        pytest.skip("this kernel has no Landlock")
    here = _run([], (str(old_landlock), str(abi)))
    assert here["done"] == there["done"]
    assert "landlock" in here["walls"]
    assert ("landlock-scope" in here["walls"]) == (abi >= 6)


@pytest.fixture(scope="session")
def old_landlock() -> Path:
    return refusing.old_landlock()
