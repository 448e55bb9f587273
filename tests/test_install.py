"""The wheel installs and works with every interpreter found, from 3.9 to 3.13."""

from __future__ import annotations

import glob
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.other_user import install

SMOKE = """
import asyncio, subprocess, sys
import sandbox
print(sandbox.run(["/bin/echo", "run"], text=True).stdout, end="")
with sandbox.Popen(["/bin/cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
    print(process.communicate(b"popen")[0].decode())
with sandbox.Sandbox(files={"/work/in": lambda: b"served"}) as box:
    print(box.run(["/bin/cat", "in"]).stdout.decode())
    box.write("/work/out", b"written")
    print(box.read("/work/out").decode())
print(asyncio.run(sandbox.arun(["/bin/echo", "async"])).stdout.decode(), end="")
policy = sandbox.Policy.loads('[limits]\\nmemory = 100000000\\n')
print(sandbox.Policy.loads(policy.to_toml()) == policy)
print(sandbox.run([sys.executable, "-c", "import sys; print(sys.version_info[:2])"], text=True).stdout, end="")
"""


SEEING = """
import subprocess
import sandbox
from sandbox import otel, prometheus
found = []
sandbox.run("cat /nowhere; echo > /usr/x", shell=True, audit=found.append)
print(sorted({event.verdict for event in found}), {event.access for event in found if event.verdict == "denied"})
print(sandbox.run(["/bin/true"], audit=otel.Spans()).returncode, len(list(prometheus.Collector().collect())) > 5)
print(sandbox.Policy().explain("rename", "/usr/a", to="/usr/b").error)
print(sandbox.learn(["/bin/cat", "/etc/hostname"], stdout=subprocess.DEVNULL).returncode)
with sandbox.Popen(["/bin/true"], trace=True) as process:
    print(any(event.call == "execve" for event in process.events()))
"""
SEEN = "['denied', 'done', 'failed'] {('write', 'create')}\n0 True\nEROFS\n0\nTrue\n"


def _version(python: str) -> tuple[int, int]:
    ask = [python, "-Ic", "import ensurepip, sys, venv; print(*sys.version_info[:2])"]
    done = subprocess.run(ask, capture_output=True, text=True, check=False)
    found = re.match(r"(\d+) (\d+)", done.stdout) if done.returncode == 0 else None
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _interpreters() -> list[str]:
    """One interpreter of each version that is supported."""
    folders = [*os.get_exec_path(), "/usr/bin", "/usr/local/bin", *glob.glob("/opt/*/bin")]
    folders += glob.glob(os.path.expanduser("~/.pyenv/versions/*/bin"))
    names = [os.path.join(folder, f"python3.{minor}") for folder in folders for minor in range(9, 14)]
    found: dict[tuple[int, int], str] = {}
    for name in (os.path.realpath(sys.executable), *filter(os.path.exists, names)):
        version = _version(name)
        if (3, 9) <= version <= (3, 13):
            found.setdefault(version, name)
    return [found[version] for version in sorted(found)]


@pytest.mark.parametrize("python", _interpreters(), ids=lambda path: path.replace("/", "_"))
def test_wheel(wheel: Path, tmp_path: Path, python: str) -> None:
    """Installed into an environment of its own, it runs programs, and so does its command."""
    mine = install(python, tmp_path / "env", f"{wheel}[cli,learn,otel,prometheus]")
    done = subprocess.run([mine, "-Ic", SMOKE], capture_output=True, text=True, cwd=tmp_path, check=False)
    version = "({}, {})".format(*_version(python))
    assert done.stdout == f"run\npopen\nserved\nwritten\nasync\nTrue\n{version}\n", done.stderr
    command = [str(tmp_path / "env/bin/sandbox"), "run", "--", "/bin/sh", "-c", "echo command; exit 3"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout) == (3, "command\n"), done.stderr
    done = subprocess.run([mine, "-Ic", SEEING], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.stdout == SEEN, done.stderr
    for arguments in (["run", "--audit", "trail", "--", "true"], ["audit", "--summary", "trail"], ["report", "trail"], ["doctor"]):
        done = subprocess.run([command[0], *arguments], capture_output=True, text=True, cwd=tmp_path, check=False)
        assert done.returncode == 0 and "Traceback" not in done.stderr, (arguments, done.stderr)


def test_wheel_holds_what_it_needs(wheel: Path) -> None:
    """The extension for the stable interface, the two executables with their modes, and no sources."""
    import zipfile

    assert "-cp39-abi3-" in wheel.name
    with zipfile.ZipFile(wheel) as archive:
        modes = {entry.filename: entry.external_attr >> 16 for entry in archive.infolist()}
    for name in ("sandbox/sentry", "sandbox/stub"):
        assert modes[name] & 0o111 == 0o111
    assert "sandbox/py.typed" in modes
    assert any(re.fullmatch(r"sandbox/_ffi\..*so", name) for name in modes)
    assert not [name for name in modes if name.endswith((".c", ".h")) or name.startswith("tests")]
