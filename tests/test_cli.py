"""python -m sandbox: exit statuses, options, signals, a terminal."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import sandbox
from sandbox import __main__ as cli
from tests.test_run import alive

HERE = str(Path(sandbox.__file__).parent.parent)
COMMAND = [sys.executable, "-m", "sandbox"]
ENV = {**os.environ, "PYTHONPATH": HERE}


def call(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Without the warning of a root caller on a machine where no wall can be had."""
    if "input" not in options:
        options["stdin"] = subprocess.DEVNULL
    done = subprocess.run([*COMMAND, *arguments], env=ENV, capture_output=True, text=True, timeout=60, **options)
    lines = done.stderr.splitlines(keepends=True)
    done.stderr = "".join(line for line in lines if not line.startswith("sandbox: warning: "))
    return done


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["--", "true"], 0),
        (["--", "sh", "-c", "exit 42"], 42),
        (["--", "sh", "-c", "kill -TERM $$"], 128 + signal.SIGTERM),
        (["--timeout", "0.2", "--", "sleep", "9"], 124),
        (["--wall-seconds", "0.2", "--", "sleep", "9"], 128 + signal.SIGKILL),
        (["--", "/etc/passwd"], 126),
        (["--", "/usr"], 126),
        (["--", "nonesuch"], 127),
        (["--cwd", "/nowhere", "--", "true"], 127),
        (["--ro", "/nowhere/x:/a", "--", "true"], 125),
        (["--policy", "/nowhere", "--", "true"], 125),
        (["--require", "moat", "--", "true"], 125),
        (["--memory", "much", "--", "true"], 125),
        (["--env", "novalue", "--", "true"], 125),
        (["--nonsense", "--", "true"], 125),
        ([], 125),
    ],
)
def test_status(arguments: list[str], status: int) -> None:
    done = call("run", *arguments)
    assert done.returncode == status, done.stderr
    assert (status in (0, 42, 143)) == (done.stderr == "")
    assert "Traceback" not in done.stderr


def test_no_action() -> None:
    assert call().returncode == 125


def test_output_and_input() -> None:
    done = call("run", "--", "sh", "-c", "cat; echo err >&2", input="in\0")
    assert (done.stdout, done.stderr) == ("in\0", "err\n")


def test_options(tmp_path: Path) -> None:
    """Mounts, environment, policy and limits reach the guest."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "f").write_text("read")
    (tmp_path / "p.toml").write_text("[[files]]\ntarget='/work/t'\ncontent='toml'\n[env]\nB='2'\n[limits]\nprocesses=99\n")
    script = "cat /in/f t; echo $A$B; echo x > /out/y; ulimit -n; cat " + str(tmp_path / "in" / "f")
    done = call(
        *("run", "--ro", f"{tmp_path}/in:/in", "--ro", f"{tmp_path}/in", "--rw", f"{tmp_path}:/out"),
        *("--policy", f"{tmp_path}/p.toml", "--env", "A=1", "--open-files", "1500", "--memory", "512M"),
        *("--audit", str(tmp_path / "audit"), "--", "sh", "-c", script),
    )
    assert (done.stdout, done.stderr) == ("readtoml12\n1500\nread", "")
    assert (tmp_path / "y").read_text() == "x\n"
    shown = call("audit", str(tmp_path / "audit"), "--path", "/in/f", "--call", "openat", "--verdict", "done")
    assert len(shown.stdout.splitlines()) == 2 and "[/in]" in shown.stdout
    rows = [json.loads(line) for line in call("audit", str(tmp_path / "audit"), "--json").stdout.splitlines()]
    assert {"openat", "execve"} <= {row["call"] for row in rows} and all(row["trusted"] for row in rows)


def test_every_limit_has_an_option() -> None:
    text = call("run", "--help").stdout
    for name in sandbox.Limits.__dataclass_fields__:
        assert f"--{name.replace('_', '-')} " in text


def test_root(tmp_path: Path) -> None:
    busybox = Path("/bin/busybox")
    if not busybox.exists():
        pytest.skip("no busybox")
    (tmp_path / "sh").write_bytes(busybox.read_bytes())
    (tmp_path / "sh").chmod(0o755)
    assert call("run", "--root", str(tmp_path), "--", "/sh", "-c", "echo in $0").stdout == "in /sh\n"


@pytest.mark.parametrize(
    ("text", "value"), [("5", 5), ("1k", 1024), ("2M", 2 << 20), ("3GiB", 3 << 30), ("1T", 1 << 40)]
)
def test_sizes(text: str, value: int) -> None:
    assert cli.size(text) == value


@pytest.mark.parametrize(
    ("text", "pair"),
    [("/a:/b", ("/b", "/a")), ("/a", ("/a", "/a")), ("/a:b", ("/a:b", "/a:b")), ("/a:b:/c", ("/c", "/a:b"))],
)
def test_mount_option(text: str, pair: tuple[str, str]) -> None:
    assert cli.mount(text) == pair


def test_doctor() -> None:
    """What stands is what a guest says stands; text and JSON say the same."""
    done = call("doctor")
    assert done.returncode == 0 and "commands run here" in done.stdout
    report = json.loads(call("doctor", "--json").stdout)
    stand = {name for name, why in report["walls"].items() if not why}
    assert stand - {"cgroup"} == set(sandbox.run(["true"]).walls) - {"cgroup"}
    assert set(report["limits"]) == set(sandbox.Limits.__dataclass_fields__)
    for text in (*report["reach"].values(), *report["limits"].values()):
        assert text in done.stdout


def test_surface() -> None:
    assert "calls straight to the kernel" in call("surface").stdout


@pytest.mark.parametrize("content", [b"", b"SBXH", b"nothing of the kind " * 5, None])
def test_audit_of_no_audit_file(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "audit"
    if content is not None:
        path.write_bytes(content)
    done = call("audit", str(path))
    assert done.returncode == (0 if content == b"" else 125) and "Traceback" not in done.stderr


def test_reader_that_stops_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "audit"
    sandbox.run("for i in 1 2 3 4 5; do ls -R /usr/lib/python3* > /dev/null; done", shell=True, audit=path)
    line = f"{sys.executable} -m sandbox audit {path} | head -1"
    done = subprocess.run(line, shell=True, env=ENV, capture_output=True, text=True, timeout=60)
    assert len(done.stdout.splitlines()) == 1 and done.stderr == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_are_the_commands(number: int) -> None:
    """Ctrl-C is for the command; the status is the command's."""
    script = f"trap 'echo caught; exit 9' {number}; echo ready; while :; do sleep 0.01; done"
    process = subprocess.Popen([*COMMAND, "run", "--", "sh", "-c", script], env=ENV, stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout and process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.stdout.read() == "caught\n" and process.wait(30) == 9


def test_interrupt_that_the_command_does_not_catch() -> None:
    marker = f"77.{os.getpid()}"
    process = subprocess.Popen([*COMMAND, "run", "--", "sh", "-c", f"echo ready; sleep {marker}; true"], env=ENV, stdout=-1)
    with process:
        assert process.stdout and process.stdout.readline() == b"ready\n"
        # A dash that is interrupted while it starts a command may wait for it nevertheless, natively, too (19 of 600).
        deadline = time.monotonic() + 30
        while not alive(f"sleep\0{marker}"):
            assert time.monotonic() < deadline
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    assert not alive(marker)


class Terminal:
    """The command line on a terminal of its own, and what a person there sees."""

    def __init__(self, *arguments: str) -> None:
        self.pid, self.fd = os.forkpty()
        if self.pid == 0:
            os.execvpe(sys.executable, [*COMMAND, *arguments], {**ENV, "TERM": "dumb"})
        self.seen = b""

    def until(self, text: bytes, seconds: float = 30) -> bytes:
        deadline = time.monotonic() + seconds
        while text not in self.seen:
            left = deadline - time.monotonic()
            assert left > 0, self.seen
            if select.select([self.fd], [], [], left)[0]:
                try:
                    self.seen += os.read(self.fd, 4096)
                except OSError:
                    break
        found, self.seen = self.seen, b""
        return found

    def status(self) -> int:
        self.until(b"\0never")
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def test_terminal_is_the_commands() -> None:
    """A shell has job control, the size follows, Ctrl-C interrupts the program, the status is the shell's."""
    from sandbox._pty import set_size

    terminal = Terminal("run", "--", "sh", "-i")
    set_size(terminal.fd, 40, 90)
    os.write(terminal.fd, b"stty size; echo $TERM-$((1+1))\n")
    assert b"40 90" in terminal.until(b"dumb-2")
    set_size(terminal.fd, 41, 91)
    os.write(terminal.fd, b"sleep 0.2; stty size; echo do''ne\n")
    assert b"41 91" in terminal.until(b"done")
    os.write(terminal.fd, b"sleep 100\n")
    terminal.until(b"sleep 100")
    time.sleep(0.3)
    os.write(terminal.fd, b"\x03")
    os.write(terminal.fd, b"echo st''atus $?\nexit 3\n")
    assert b"status 130" in terminal.until(b"status 130")
    assert terminal.status() == 3


def test_terminal_is_given_back() -> None:
    """The mode of the terminal is the old one, even after a command that was killed."""
    code = (
        "import subprocess, sys, termios; a = termios.tcgetattr(0);"
        f"s = subprocess.call({[*COMMAND, 'run', '--timeout', '0.3', '--', 'sleep', '100']!r});"
        "print('same', termios.tcgetattr(0) == a, s)"
    )
    pid, fd = os.forkpty()
    if pid == 0:
        os.execvpe(sys.executable, [sys.executable, "-c", code], ENV)
    terminal = Terminal.__new__(Terminal)
    terminal.pid, terminal.fd, terminal.seen = pid, fd, b""
    assert b"same True 124" in terminal.until(b"same True 124")
    terminal.status()
