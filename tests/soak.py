"""The long suites (make soak): the interpreter's own regression tests and stress-ng, natively and inside.

    python -m tests.soak [regress] [stress] [--only NAME] [--seconds N] [--user NAME]

A test that passes natively passes inside, or `soak_exceptions.txt` says why it cannot. A stressor gives no error that the same
run gives not natively, too. `--user` runs everything as that user, in an interpreter that it can reach."""

from __future__ import annotations

import argparse
import fnmatch
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import sandbox

TESTS = (
    *("test_os", "test_posix", "test_subprocess", "test_shutil", "test_pathlib", "test_tempfile", "test_glob"),
    *("test_zipfile", "test_mmap", "test_fcntl", "test_signal", "test_threading", "test_multiprocessing_fork"),
    *("test_pty", "test_sqlite3", "test_fileio", "test_io"),
)
STRESSORS = (
    *("fork", "vfork", "exec", "clone", "zombie", "kill", "open", "dir", "dentry", "rename", "link", "symlink"),
    *("flock", "lockf", "inotify", "xattr", "chmod", "getdent", "fallocate", "hdd"),
)
EXCEPTIONS = Path(__file__).with_name("soak_exceptions.txt")
_LINE = re.compile(r"^(test\w* \([\w.]+\))(?:\n.*?)? ?\.\.\. (?:.*?)?(ok|FAIL|ERROR|skipped .*|expected failure)$", re.MULTILINE)
_ENV = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "TMPDIR": "/tmp"}


def system_python() -> str:
    for path in sorted(Path("/usr/bin").glob("python3.[0-9]*"), reverse=True):
        if re.fullmatch(r"python3\.\d+", path.name) and (Path("/usr/lib") / path.name / "test/test_os.py").exists():
            return str(path)
    sys.exit("no interpreter in /usr/bin has its regression tests: install libpython3-testsuite")


def natively(command: list[str], timeout: int) -> tuple[int, str]:
    with tempfile.TemporaryDirectory() as folder:
        env = {**_ENV, "HOME": folder, "TMPDIR": folder}
        done = subprocess.run(command, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=timeout, check=False)  # fmt: skip
    return done.returncode, done.stdout.decode(errors="replace")


def inside(command: list[str], timeout: int) -> tuple[int, str]:
    limits = sandbox.Limits(scratch_bytes=4 << 30, scratch_files=500_000)
    try:
        done = sandbox.run(command, env={**_ENV, "HOME": "/home/user"}, limits=limits, stderr=subprocess.STDOUT, timeout=timeout)
    except sandbox.CommandTimeout as error:
        return 124, bytes(error.stdout or b"").decode(errors="replace")
    return done.returncode, done.stdout.decode(errors="replace")


def exceptions() -> dict[str, str]:
    """Pattern of "module test" -> why it cannot pass. A line: pattern, two spaces or more, reason."""
    lines = (line.strip() for line in EXCEPTIONS.read_text().splitlines())
    found = {}
    for line in lines:
        if line and not line.startswith("#"):
            pattern, reason = re.split(r"\s{2,}", line, maxsplit=1)
            found[pattern] = reason
    return found


def passed(output: str) -> set[str]:
    return {name for name, verdict in _LINE.findall(output) if verdict in ("ok", "expected failure")}


def regress(only: str | None) -> list[str]:
    python, known, wrong = system_python(), exceptions(), []
    for test in TESTS:
        if only and only != test:
            continue
        command = [python, "-m", "test", "-v", "-u", "none", test]
        there, here = passed(natively(command, 1200)[1]), passed(inside(command, 1200)[1])
        missing = sorted(there - here)
        why = {name: next((known[each] for each in known if fnmatch.fnmatchcase(f"{test} {name}", each)), None) for name in missing}
        unexplained = [name for name in missing if why[name] is None]
        print(f"{test:28} natively {len(there):5} inside {len(there & here):5} explained {len(missing) - len(unexplained):4}"
              f" unexplained {len(unexplained)}", flush=True)  # fmt: skip
        for name in unexplained:
            print(f"    {name}", flush=True)
        wrong += [f"{test} {name}" for name in unexplained]
        if not there:
            wrong.append(f"{test}: nothing passed natively")
    return wrong


def errors(output: str) -> set[str]:
    """Complaints of stress-ng, without the numbers that differ from run to run."""
    lines = (line for line in output.splitlines() if re.search(r"\b(fail|error):", line))
    return {re.sub(r"0x[0-9a-f]+|\d+", "N", re.sub(r"^stress-ng: ", "", line)) for line in lines}


def stress(only: str | None, seconds: int) -> list[str]:
    program, known, wrong = shutil.which("stress-ng"), exceptions(), []
    if program is None:
        sys.exit("stress-ng is not installed")
    for name in STRESSORS:
        if only and only != name:
            continue
        command = [program, f"--{name}", "2", "--timeout", f"{seconds}s", "--verify", "--temp-path", "."]
        (there, there_told), (here, here_told) = natively(command, seconds * 6 + 60), inside(command, seconds * 6 + 60)
        new = sorted(errors(here_told) - errors(there_told))
        new = [line for line in new if not any(fnmatch.fnmatchcase(f"{name} {line}", each) for each in known)]
        if here != there and not new:
            new = [f"status natively {there}, inside {here}"]
        print(f"stress {name:12} natively {there} inside {here} {'ok' if not new else 'NEW ERRORS'}", flush=True)
        for line in new:
            print(f"    {line}", flush=True)
        wrong += [f"stress {name}: {line}" for line in new]
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("parts", nargs="*", choices=[[], "regress", "stress"])
    parser.add_argument("--only")
    parser.add_argument("--seconds", type=int, default=20)
    options = parser.parse_args()
    parts = options.parts or ["regress", "stress"]
    wrong = regress(options.only) if "regress" in parts else []
    wrong += stress(options.only, options.seconds) if "stress" in parts else []
    print(f"{len(wrong)} unexplained" if wrong else "soak: all as natively, or explained", f"(uid {os.getuid()})")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
