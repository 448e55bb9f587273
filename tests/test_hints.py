"""Hints after sandbox run: what was refused, and an option with which it is not."""

from __future__ import annotations

import os
import pty
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from sandbox import Event, Policy
from sandbox._cli_hints import LINES_MAX, Refusals
from tests.helpers import Twin, interpreter
from tests.test_cli import COMMAND, ENV, call

EVIL = r"""
import os
names = [b"/n%d/\x1b[2J\n\xff" % i for i in range(300)] + [b"/\x1b]0;;\n%d" % i for i in range(300)]
names += [top + b"/a\x1b[2Jb\n" for top in (b"/etc", b"/usr", b"/sys/devices/system/cpu", b"/dev", b"/data", b"/x")]
for name in names:
    try:
        os.mkdir(name)
    except OSError:
        pass
"""


def hints(*arguments: str) -> list[str]:
    done = call("run", "--hints", *arguments)
    return [line.partition("hint: ")[2] for line in done.stderr.splitlines() if line.startswith("sandbox: hint: ")]


def test_a_hint_is_followed(tmp_path: Path) -> None:
    """The option that a hint names makes the same command work, and then there is none."""
    command = ["--", "sh", "-c", "touch /data/x /data/y"]
    (line,) = hints("--ro", f"{tmp_path}:/data", *command)
    assert line.startswith("/data is read-only (openat /data/x, 2 calls): ")
    option = shlex.split(re.search(r"--rw \S+", line)[0])  # type: ignore[index]
    assert hints(*option, *command) == []
    assert sorted(os.listdir(tmp_path)) == ["x", "y"]


def test_a_missing_file_is_told_of_when_the_command_fails(twin: Twin) -> None:
    """What the host has and the view has not; one line for a directory."""
    for name in ("one", "two"):
        (twin.here / name).write_text(name)
    command = ["--", "cat", f"{twin.here}/one", f"{twin.here}/two", f"{twin.here}/three"]
    (line,) = hints(*command)
    assert line.endswith(f"--ro {twin.here}/one and 1 more there")
    assert hints("--", "sh", "-c", f"cat {twin.here}/one; true") == []


def test_the_network() -> None:
    connect = "import socket\nfor p in (80, 443):\n  socket.socket().connect_ex(('192.0.2.1', p))"
    python = ["--", interpreter(), "-c", connect]
    (line,) = hints("--allow", "192.0.2.9", *python)
    assert line.startswith("192.0.2.1 is refused by default (connect 192.0.2.1:")
    assert "--allow 192.0.2.1:80" in line and "--allow 192.0.2.1:443" in line
    assert hints("--", interpreter(), "-c", "import socket; socket.socket()") == [
        "there is no network (socket): --network loopback for its own; --allow TARGET for more"
    ]


def test_noexec(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text('[[mounts]]\nsource = "."\ntarget = "/data"\nnoexec = true\n')
    (tmp_path / "run").write_text("#!/bin/sh\n")
    (tmp_path / "run").chmod(0o755)
    (line,) = hints("--policy", str(tmp_path / "p.toml"), "--", "sh", "-c", "/data/run")
    assert line == "/data is noexec (execve /data/run): no noexec = true for /data in the policy"


def test_an_audit_file_is_read_again(tmp_path: Path) -> None:
    """With --audit the records go to the file, whole; hints are of this run only."""
    trail, touch = str(tmp_path / "trail"), ["--ro", f"{tmp_path}:/data", "--", "sh", "-c", "touch /data/x"]
    for _ in range(2):
        (line,) = hints("--audit", trail, *touch)
        assert line.startswith("/data is read-only (openat /data/x): ")
    assert call("audit", "--verify", trail).returncode == 0


def test_never_more_than_five_and_nothing_raw(tmp_path: Path) -> None:
    """Whatever names a guest makes up."""
    done = call("run", "--hints", "--ro", f"{tmp_path}:/data", "--", interpreter(), "-c", EVIL)
    lines = done.stderr.splitlines()
    assert 0 < len(lines) <= LINES_MAX
    assert all(line.startswith("sandbox: hint: ") and line.isprintable() for line in lines)


def test_it_is_bounded() -> None:
    """A guest with endless kinds of refusals costs neither memory nor lines."""
    kept = Refusals()
    for i in range(5000):
        kept(Event(1, 0.0, i, 1, "mkdir", (f"/d{i}/x" + "y" * 4000,), "/", "denied", "EROFS", 0.0, None))
        kept(Event(1, 0.0, i, 1, "open", (f"/d{i}",), "/", "failed", "ENOENT", 0.0, None))
    lines = kept.lines(Policy(), failed=True)
    assert len(kept._denied) + len(kept._missing) < 300
    assert len(lines) <= LINES_MAX and max(map(len, lines)) <= 400
    assert lines[-1].endswith("--audit FILE keeps them all")


@pytest.mark.parametrize(("option", "told"), [("--hints", True), ("--no-hints", False), ("", False)])
def test_status_is_the_commands(tmp_path: Path, option: str, told: bool) -> None:
    """Without a terminal the standard error is the command's own, unless hints are asked for; they change no status."""
    done = call("run", *filter(None, [option]), "--ro", f"{tmp_path}:/data", "--", "sh", "-c", "mkdir /data/x 2>&1; echo its own >&2; exit 7")
    assert done.returncode == 7
    first, *hinted = done.stderr.splitlines()
    assert first == "its own" and [line[:15] for line in hinted] == ["sandbox: hint: "] * told


def test_a_terminal_gets_them(tmp_path: Path) -> None:
    main, theirs = pty.openpty()
    command = [*COMMAND, "run", "--ro", f"{tmp_path}:/data", "--", "mkdir", "/data/x"]
    process = subprocess.Popen(command, env=ENV, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    text = b""
    while True:
        try:
            text += os.read(main, 4096)
        except OSError:
            break
    os.close(main)
    assert process.wait() == 1
    assert b"sandbox: hint: /data is read-only (mkdir /data/x): --rw " in text
