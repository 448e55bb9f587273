"""Popen: streams while it runs, signals, descriptors, terminals."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sandbox import CommandTimeout, GuestFault, Limits, Popen

PIPE, STDOUT, DEVNULL = subprocess.PIPE, subprocess.STDOUT, subprocess.DEVNULL


def test_streams_line_by_line() -> None:
    """A line is there when the command has written it, not when the command has ended."""
    with Popen(["cat"], stdin=PIPE, stdout=PIPE, text=True, bufsize=1) as process:
        assert process.stdin and process.stdout
        for line in ("one\n", "two\n"):
            process.stdin.write(line)
            assert process.stdout.readline() == line
            assert process.poll() is None
        process.stdin.close()
        assert process.stdout.read() == ""
    assert process.returncode == 0


def test_iterates_over_lines() -> None:
    with Popen(["seq", "1000"], stdout=PIPE) as process:
        assert process.stdout and [int(line) for line in process.stdout] == list(range(1, 1001))


def test_output_of_background_processes_is_waited_for() -> None:
    """As with subprocess: the pipe ends when the last process that holds it does."""
    with Popen("(sleep 0.2; echo late) & echo soon", shell=True, stdout=PIPE) as process:
        assert process.communicate()[0] == b"soon\nlate\n"


def test_communicate_much_both_ways() -> None:
    data = os.urandom(1 << 20)
    with Popen("tee /dev/stderr", shell=True, stdin=PIPE, stdout=PIPE, stderr=PIPE) as process:
        assert process.communicate(data) == (data, data)


def test_communicate_goes_on_after_a_timeout() -> None:
    with Popen(["sh", "-c", "echo a; read x; echo $x"], stdin=PIPE, stdout=PIPE) as process:
        with pytest.raises(CommandTimeout):
            process.wait(timeout=0.05)
        with pytest.raises(CommandTimeout) as caught:
            Popen.communicate(process, b"", timeout=0.0)
        assert isinstance(caught.value, subprocess.TimeoutExpired)
        assert process.communicate(timeout=30)[0] == b"a\n\n"


def test_partial_output_of_a_timeout() -> None:
    with Popen(["sh", "-c", "echo a; exec sleep 100"], stdout=PIPE) as process:
        with pytest.raises(CommandTimeout) as caught:
            while True:
                process.communicate(timeout=0.2)
        process.kill()
        assert process.communicate()[0] == b"a\n"
    assert caught.value.stdout in (b"a\n", b"") and process.returncode == -9


def test_command_that_does_not_read_its_input() -> None:
    with Popen(["true"], stdin=PIPE, stdout=PIPE) as process:
        assert process.communicate(b"x" * (1 << 20)) == (b"", None)


@pytest.mark.parametrize("send", [lambda p: p.terminate(), lambda p: p.send_signal(signal.SIGTERM)])
def test_signals(send: object) -> None:
    with Popen(["sleep", "100"]) as process:
        send(process)  # type: ignore[operator]
        assert process.wait(10) == -signal.SIGTERM
        send(process)  # type: ignore[operator]  # nothing happens to who has ended


def test_signal_is_handled_by_the_command() -> None:
    script = "trap 'echo got; exit 5' USR1; echo ready; while :; do sleep 0.01; done"
    with Popen(script, shell=True, stdout=PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGUSR1)
        assert process.stdout.read() == "got\n"
    assert process.returncode == 5


def test_stop_and_continue() -> None:
    with Popen(["cat"], stdin=PIPE, stdout=PIPE) as process:
        assert process.stdin and process.stdout
        process.send_signal(signal.SIGSTOP)
        process.stdin.write(b"x")
        process.stdin.close()
        assert not select.select([process.stdout], [], [], 0.2)[0]
        process.send_signal(signal.SIGCONT)
        assert process.stdout.read() == b"x"


def test_pid_is_the_guests() -> None:
    with Popen("echo $$", shell=True, stdout=PIPE) as process:
        assert process.stdout and int(process.stdout.read()) == process.pid


def test_pass_fds() -> None:
    """Descriptors keep their numbers; nothing else is there."""
    reader, writer = os.pipe()
    code = f"import os; os.write({writer}, b'through'); print(sorted(map(int, os.listdir('/proc/self/fd')))[:-1])"
    with Popen([sys.executable, "-c", code], stdout=PIPE, pass_fds=[writer]) as process:
        os.close(writer)
        assert os.read(reader, 100) == b"through"
        assert process.stdout and eval(process.stdout.read())[:4] == sorted({0, 1, 2, 3, writer})[:4]
    os.close(reader)


def test_many_descriptors() -> None:
    """More than one message holds."""
    fds = [os.open(os.devnull, os.O_RDONLY) for _ in range(50)]
    try:
        with Popen("ls /proc/self/fd | wc -l", shell=True, stdout=PIPE, pass_fds=fds) as process:
            assert process.stdout and int(process.stdout.read()) >= 53
    finally:
        for fd in fds:
            os.close(fd)


def test_too_many_descriptors() -> None:
    many = [os.open(os.devnull, os.O_RDONLY) for _ in range(70)]
    with pytest.raises(ValueError, match="descriptors"):
        Popen(["true"], pass_fds=many)
    for fd in many:
        os.close(fd)


@pytest.mark.parametrize("fds", [[-1], [True], ["1"]])
def test_no_descriptors(fds: list[object]) -> None:
    with pytest.raises(ValueError, match="pass_fds"):
        Popen(["true"], pass_fds=fds)  # type: ignore[arg-type]


def test_closed_descriptor() -> None:
    fd = os.open(os.devnull, os.O_RDONLY)
    os.close(fd)
    with pytest.raises(OSError):
        Popen(["true"], pass_fds=[fd])


def test_stdin_none_is_no_input(tmp_path: Path) -> None:
    with Popen(["cat"], stdout=PIPE) as process:
        assert process.communicate()[0] == b""


def test_stdin_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("content")
    with open(tmp_path / "in", "rb") as file, Popen(["cat"], stdin=file, stdout=PIPE) as process:
        assert process.communicate()[0] == b"content"


def test_start_new_session() -> None:
    for session in (True, False):
        code = "import os; print(os.getsid(0) == os.getpid(), os.getpgid(0) == os.getpid())"
        with Popen([sys.executable, "-c", code], stdout=PIPE, start_new_session=session) as process:
            assert process.communicate()[0].split() == [str(session).encode(), b"True"]


def test_ends_with_its_last_reference() -> None:
    """A Popen that nobody holds any more leaves no guest."""
    process = Popen(["sleep", "100"])
    guest = process._guest
    del process
    assert guest.wait_ended(10)


def test_exit_of_the_block_waits() -> None:
    began = time.monotonic()
    with Popen(["sleep", "0.3"]) as process:
        pass
    assert time.monotonic() - began > 0.2 and process.returncode == 0


def test_guest_that_is_lost() -> None:
    """A sentry that dies takes the guest along, and the caller is told."""
    with pytest.raises(GuestFault, match="signal 9"), Popen(["sleep", "100"], stdout=PIPE) as process:
        signal.pidfd_send_signal(process._guest.parts.pidfd, signal.SIGKILL)
        process.wait(10)


def test_attributes_of_the_sandbox() -> None:
    with Popen(["cat", "/etc/passwd"], stdout=DEVNULL, limits=Limits(processes=50)) as process:
        assert process.wait() == 0
    assert process.walls and process.audit.total and process.exceeded is None and process.duration > 0
    assert repr(process) == "<Popen: returncode: 0 args: ['cat', '/etc/passwd']>"


# ---- terminals --------------------------------------------------------------------------------------------------


def test_terminal() -> None:
    """The command has a controlling terminal of the size that was asked for."""
    with Popen("stty size; tty -s && : < /dev/tty && echo is", shell=True, pty=True, terminal_size=(30, 100)) as process:
        assert process.communicate(timeout=30)[0] == b"30 100\r\nis\r\n"
        assert process.stdin is process.stdout is process.stderr is None


def test_a_terminal_that_cannot_be_leaves_nothing() -> None:
    """No descriptor stays where the command is refused before it has begun."""
    before = set(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises(ValueError, match="for stderr only"):
            Popen(["true"], pty=True, stdout=STDOUT)
    assert set(os.listdir("/proc/self/fd")) <= before


def test_terminal_resizes() -> None:
    """The command hears of it by SIGWINCH."""
    script = "trap 'stty size; exit' WINCH; echo ready; while :; do sleep 0.01; done"
    with Popen(script, shell=True, pty=True) as process:
        assert process.terminal and process.terminal.read() == b"ready\r\n"
        process.resize(50, 120)
        assert process.terminal.size == (50, 120)
        out = b""
        while data := process.terminal.read():
            out += data
    assert out == b"50 120\r\n"


def test_terminal_interrupts() -> None:
    """Ctrl-C written to the terminal is SIGINT for the command."""
    with Popen("trap 'echo int; exit 7' INT; echo ready; while :; do sleep 0.01; done", shell=True, pty=True) as process:
        assert process.terminal and process.terminal.read() == b"ready\r\n"
        process.terminal.write(b"\x03")
        out = b""
        while data := process.terminal.read():
            out += data
    assert b"int" in out and process.returncode == 7


def test_terminal_takes_input() -> None:
    with Popen(["sh", "-c", "read x; echo got $x"], pty=True) as process:
        assert process.communicate(b"hello\n", timeout=30)[0] == b"hello\r\ngot hello\r\n"


def test_no_terminal_no_resize() -> None:
    with Popen(["true"]) as process, pytest.raises(ValueError, match="no terminal"):
        process.resize(1, 1)
