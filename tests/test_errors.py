"""The exception tree: caught as subprocess's too, and messages that say what, on what and why."""

from __future__ import annotations

import pickle
import subprocess

import pytest

import sandbox
from sandbox import CommandFailed, CommandTimeout, GuestFault, PolicyError, SandboxError, WallMissing

TREE = [
    (CommandFailed, subprocess.CalledProcessError),
    (CommandTimeout, subprocess.TimeoutExpired),
    (PolicyError, ValueError),
    (WallMissing, SandboxError),
    (GuestFault, SandboxError),
]
EXAMPLES = [
    CommandFailed(3, ["cmd"], b"out", b"err"),
    CommandFailed(-9, ["cmd"], None, None, "memory"),
    CommandTimeout(["cmd"], 1.5, b"out", None),
    PolicyError("mount /data: /srv/data: no such file or directory"),
    WallMissing("landlock", "Function not implemented"),
    GuestFault("sentry: plan"),
]


@pytest.mark.parametrize(("error", "other"), TREE)
def test_tree(error: type[Exception], other: type[Exception]) -> None:
    """Each error is a SandboxError, and what code for subprocess catches."""
    assert issubclass(error, SandboxError) and issubclass(error, other)


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_pickles(error: Exception) -> None:
    """An error crosses a process boundary with what it says."""
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error) and str(again) == str(error) and vars(again) == vars(error)


def test_command_failed_says_which_limit() -> None:
    """The limit that ended the guest is in the message."""
    assert "limit memory exceeded" in str(EXAMPLES[1]) and "SIGKILL" in str(EXAMPLES[1])


def test_wall_missing_says_which_and_why() -> None:
    error = EXAMPLES[4]
    assert isinstance(error, WallMissing)
    assert (error.wall, error.reason) == ("landlock", "Function not implemented")
    assert str(error) == "required wall landlock does not stand: Function not implemented"


def test_missing_source_names_mount_and_path() -> None:
    with pytest.raises(PolicyError, match=r"^mount /data: /nowhere/at/all: no such file or directory$"):
        sandbox.run(["true"], mounts={"/data": "/nowhere/at/all"})
