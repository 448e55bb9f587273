"""Long suites, natively and inside, as root and as an ordinary user: the same must pass.

    python -m tests.soak [--only WORD] [--seconds N] [--no-user]

The interpreter's own regression tests (of the system's Python; those of the network twice), stress-ng, and a long run
of test_differential.py. What passes natively and not inside must stand in soak_exceptions.txt with its reason."""

from __future__ import annotations

import argparse
import fnmatch
import os
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import sandbox
from sandbox._network import Network
from tests import other_user
from tests.helpers import PATH, give_up_privileges

HERE = Path(__file__).resolve().parent
PYTHON = "/usr/bin/python3"
MODULES = ["test_os", "test_posix", "test_subprocess", "test_shutil", "test_pathlib", "test_tempfile", "test_glob", "test_zipfile", "test_mmap", "test_fcntl", "test_signal", "test_threading", "test_multiprocessing_fork", "test_pty", "test_sqlite3", "test_fileio", "test_io", "test_socket", "test_socketserver", "test_select", "test_selectors", "test_epoll", "test_poll", "test_asyncio", "test_ssl", "test_httplib", "test_httpservers", "test_urllib2_localnet", "test_ftplib", "test_smtplib", "test_xmlrpc"]  # fmt: skip
SERVED = ["test_socket", "test_select", "test_epoll", "test_poll", "test_asyncio", "test_ssl", "test_httplib", "test_urllib2_localnet", "test_ftplib", "test_smtplib"]  # fmt: skip
"""Whose sockets are those of a guest with rules, too."""
RESOURCES = {"test_socketserver": "network"}  # it is their own loopback
RULES = [sandbox.Allow("192.0.2.1:1")]  # a rule, so that sockets are served
STRESSORS = ["fork", "vfork", "exec", "clone", "zombie", "kill", "open", "dir", "dentry", "rename", "link", "symlink", "flock", "lockf", "inotify", "xattr", "chmod", "getdent", "fallocate", "hdd"]  # fmt: skip
TIMEOUT = 1800
OTHER = os.environ.get("SOAK_PYTHON") or os.path.realpath(sys.executable)


class Row(NamedTuple):
    suite: str
    native: str
    inside: str
    fine: bool
    notes: list[str]


def exceptions() -> dict[str, str]:
    """Names of tests that cannot pass inside, or `served NAME` where sockets are served, or `stress-ng NAME: part of
    its complaint` (* for any), and why."""
    found = {}
    for line in (HERE / "soak_exceptions.txt").read_text().splitlines():
        name, _, reason = line.partition("  ")
        if name and not name.startswith("#"):
            assert reason.strip(), f"soak_exceptions.txt: {name} has no reason"
            found[name] = reason.strip()
    return found


class Place:
    """Two directories, and the ways to run a command in them at the same path."""

    def __init__(self) -> None:
        self.top = Path(tempfile.mkdtemp(prefix="sandbox-soak-", dir="/var/tmp"))
        self.here, self.there = self.top / "here", self.top / "there"
        self.here.mkdir()
        self.there.mkdir()
        prefix = str(Path(OTHER).parent.parent)
        self.mounts = {prefix: prefix} if "SOAK_PYTHON" in os.environ else {}
        self.env = {"PATH": PATH, "HOME": str(self.here), "LANG": "C.UTF-8", "TMPDIR": "/tmp", "USER": "tester", "LOGNAME": "tester"}

    def native(self, command: list[str]) -> tuple[int, str]:
        done = subprocess.run(command, cwd=self.here, env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, preexec_fn=give_up_privileges, timeout=TIMEOUT, check=False)  # fmt: skip
        return done.returncode, done.stdout.decode(errors="replace")

    def inside(self, command: list[str], network: Network = "loopback") -> tuple[int, str]:
        try:
            done = sandbox.run(command, cwd=str(self.here), env=self.env, writable={str(self.here): str(self.there)},
                               stderr=subprocess.STDOUT, timeout=TIMEOUT, network=network, mounts=self.mounts)  # fmt: skip
        except sandbox.CommandTimeout as error:
            return 124, (error.output or b"").decode(errors="replace")
        return done.returncode, done.stdout.decode(errors="replace")

    def close(self) -> None:
        shutil.rmtree(self.top, ignore_errors=True)


# ---- the interpreter's own tests ----------------------------------------------------------------------------------------


def passing(report: Path) -> set[str]:
    """Tests of a JUnit report that ran and did not fail."""
    if not report.exists():
        return set()
    cases = ElementTree.parse(report).getroot().iter("testcase")
    ran = (case for case in cases if case.get("status") == "run" and case.get("result") == "completed")
    return {case.get("name", "") for case in ran if case.find("failure") is None and case.find("error") is None}


def interpreter_with(module: str) -> str:
    """The system's Python, or the one that runs us where the system leaves this module out; "" if neither has it."""
    for python in (PYTHON, OTHER):
        find = f"import importlib.util, sys; sys.exit(importlib.util.find_spec('test.{module}') is None)"
        if subprocess.run([python, "-c", find], check=False, stderr=subprocess.DEVNULL).returncode == 0:
            return python
    return ""


def excuse(name: str, known: dict[str, str]) -> str:
    """The reason why a test cannot pass, or ""."""
    return next((reason for pattern, reason in known.items() if fnmatch.fnmatchcase(name, pattern)), "")


def regression(module: str, known: dict[str, str], network: Network = "loopback") -> Row:
    served = "" if network == "loopback" else "served "
    python = interpreter_with(module)
    if not python:
        return Row(served + module, "not there", "", False, ["neither Python here has these tests: install libpythonX.Y-testsuite"])
    place = Place()
    command = [python, "-m", "test", "--junit-xml", str(place.here / "report.xml"), "-u", RESOURCES.get(module, "none"), "--timeout", "900"]
    command += [part for name in known if name.startswith("!") for part in ("-i", name[1:])]
    native_status, _ = place.native([*command, module])
    native = passing(place.here / "report.xml")
    status, output = place.inside([*command, module], network)
    inside = passing(place.there / "report.xml")
    lost = sorted(native - inside)
    if lost:  # once more, for tests that depend on the moment
        (place.there / "report.xml").unlink(missing_ok=True)
        again = [part for name in lost[:200] for part in ("-m", name.split(" ")[0].rsplit(".", 1)[-1])]
        place.inside([*command, *again, module], network)
        inside |= passing(place.there / "report.xml")
    place.close()
    lost = sorted(native - inside)
    excuses = {name: excuse(name, known) or (excuse(served + name, known) if served else "") for name in lost}
    notes = [f"{name}: {reason or 'NOT EXPECTED'}" for name, reason in excuses.items()]
    if not native:
        notes.append(f"natively nothing passed, status {native_status}")
    if not inside:
        notes.append(f"inside nothing passed, status {status}: {output[-500:]}")
    fine = bool(native) and all(excuses.values())
    return Row(served + module, f"{len(native)} pass", f"{len(native & inside)} of them", fine, notes)


# ---- stress-ng ------------------------------------------------------------------------------------------------------------


def _trouble(output: str) -> set[str]:
    lines = [line for line in output.splitlines() if re.search(r"fail:|error:", line)]
    return {re.sub(r"\[\d+\]|\d+", "N", line) for line in lines}


def _operations(output: str) -> float:
    found = re.search(r"metrc:.* (\S+)\s+\d+\s+[\d.]+\s+[\d.]+\s+[\d.]+\s+([\d.]+)\s+[\d.]+$", output, re.M)
    return float(found[2]) if found else 0.0


def stress(name: str, seconds: int, known: dict[str, str]) -> Row:
    place = Place()
    command = ["/usr/bin/stress-ng", f"--{name}", "2", "--timeout", f"{seconds}s", "--metrics-brief", "--temp-path", str(place.here)]
    native, inside = place.native(command), place.inside(command)
    place.close()
    excuses = {text.partition(": ")[2]: reason for text, reason in known.items() if text.startswith((f"stress-ng {name}: ", "stress-ng *: "))}
    new = _trouble(inside[1]) - _trouble(native[1])
    excused = {line: reason for line in new for text, reason in excuses.items() if text in line}
    if excused:  # and what stress-ng makes of it
        excused.update((line, "so it ends with an error") for line in new if "terminated with an error" in line)
    notes = [f"{line}: {excused.get(line, 'NOT EXPECTED')}" for line in sorted(new)]
    fine = new == set(excused) and (inside[0] == 0 or native[0] != 0 or bool(excused))
    if not fine:
        notes.append(inside[1][-500:])
    speeds = [f"status {status}, {_operations(output):.0f}/s" for status, output in (native, inside)]
    return Row(f"stress-ng {name}", *speeds, fine, notes)


# ---- random sequences -----------------------------------------------------------------------------------------------------


def differential() -> Row:
    env = {**os.environ, "HYPOTHESIS_RANDOM": "1", "HYPOTHESIS_EXAMPLES": "10000"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_differential.py"]
    done = subprocess.run(command, cwd=HERE.parent, env=env, stdout=subprocess.PIPE, text=True, errors="replace", check=False)
    return Row("differential", "", f"status {done.returncode}", done.returncode == 0, [] if done.returncode == 0 else [done.stdout[-3000:]])


def rows(only: str, seconds: int) -> Iterator[Row]:
    known = exceptions()
    for module in MODULES:
        if only in module:
            yield regression(module, known)
    for module in SERVED:
        if only in f"served {module}":
            yield regression(module, known, RULES)
    for name in STRESSORS:
        if only in f"stress-ng {name}":
            yield stress(name, seconds, known)
    if only in "differential":
        yield differential()


def as_user(arguments: list[str]) -> bool:
    """The same as an ordinary user, from an installed wheel."""
    user = other_user.user()
    python = other_user.reachable(user)
    if python is None:
        print("no Python that an ordinary user can reach: not run as one")
        return False
    top = Path(tempfile.mkdtemp(prefix="sandbox-soak-user-", dir="/var/tmp"))
    top.chmod(0o755)
    try:
        mine = other_user.install(python, top / "env", str(other_user.build_wheel(top)), "pytest", "hypothesis")
        project, home = top / "project", top / "home"
        project.mkdir()
        home.mkdir()
        os.chown(home, user.pw_uid, user.pw_gid)
        other_user.copy_tests(project)
        other = top / "python"  # ours, if it is nowhere that the user could reach: the system's may lack some tests
        shutil.copytree(sys.base_prefix, other, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        env = {**other_user.environment(home), "SOAK_PYTHON": str(other / "bin" / os.path.basename(os.path.realpath(sys.executable)))}
        command = [*other_user.become(user), mine, "-m", "tests.soak", *arguments]
        return subprocess.run(command, cwd=project, env=env, check=False).returncode == 0
    finally:
        shutil.rmtree(top, ignore_errors=True)


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--only", default="", help="suites whose name holds this")
    options.add_argument("--seconds", type=int, default=20, help="of each stressor")
    options.add_argument("--no-user", action="store_true", help="not as an ordinary user, too")
    chosen = options.parse_args()
    failed = passed = 0
    print(f"as {'root' if os.getuid() == 0 else 'an ordinary user'}")
    for row in rows(chosen.only, chosen.seconds):
        print(f"{'ok  ' if row.fine else 'FAIL'} {row.suite:30} natively {row.native:24} inside {row.inside}", flush=True)
        for note in row.notes:
            print(f"       {note}", flush=True)
        passed, failed = passed + row.fine, failed + (not row.fine)
    print(f"{passed} passed, {failed} failed", flush=True)
    fine = failed == 0
    if os.getuid() == 0 and not chosen.no_user:
        fine = as_user(sys.argv[1:]) and fine
    return 0 if fine else 1


if __name__ == "__main__":
    raise SystemExit(main())
