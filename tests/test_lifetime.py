"""No process outlives its guest, and no guest its caller; guests do not reach one another or the host."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import sandbox
from sandbox import _sentry
from tests.processes import children, marked, sentries, wait_end, wait_gone

ROOT = Path(__file__).resolve().parent.parent
PYTHON = str(Path(sys.executable).resolve())
SLEEP = [PYTHON, "-c", "import signal; signal.pause()"]
REFUSED = [(), ("namespaces",), ("namespaces", "landlock", "pidfd_getfd")]


@pytest.fixture
def marker() -> Iterator[str]:
    word = f"marker-{uuid.uuid4()}"
    yield word
    for pid in marked(word):
        os.kill(pid, signal.SIGKILL)


@contextmanager
def caller(marker: str, what: str, *more: str, refused: tuple[str, ...] = ()) -> Iterator[subprocess.Popen[bytes]]:
    """A caller with a guest whose processes all run."""
    command = [sys.executable, "-m", "tests.lifetime_main", marker, what, *more]
    if refused:
        command = [sys.executable, "-m", "tests.refusing", *refused, "--", *command]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    try:
        line = process.stdout.readline()
        assert line == b"ready\n", (line, process.stderr.read())
        yield process
    finally:
        process.kill()
        process.wait()


def others(marker: str, process: subprocess.Popen[bytes]) -> list[int]:
    """Marked processes that are the guest's, not the caller's."""
    return [pid for pid in marked(marker) if pid != process.pid]


@pytest.mark.parametrize("runner", [[], ["runner"]], ids=["", "runner"])
@pytest.mark.parametrize("refused", REFUSED, ids="+".join)
def test_sentry_is_killed(marker: str, refused: tuple[str, ...], runner: list[str]) -> None:
    """Every process of the guest dies with the sentry, and the caller is told."""
    with caller(marker, "hold", *runner, refused=refused) as process:
        assert len(others(marker, process)) >= 9
        for pid in sentries(process.pid):
            os.kill(pid, signal.SIGKILL)
        out, err = process.communicate()
        assert process.returncode == 3, err
        assert out.startswith(b"GuestFault")
        wait_gone(marker)


@pytest.mark.parametrize("what", ["hold", "forked"])
@pytest.mark.parametrize("refused", REFUSED, ids="+".join)
def test_caller_is_killed(marker: str, refused: tuple[str, ...], what: str) -> None:
    """Every process of the guest and the sentry die with the caller, even if a forked child of it lives on."""
    with caller(marker, what, refused=refused) as process:
        sentry = sentries(process.pid)
        guests = set(others(marker, process)) - {pid for pid in marked(marker) if b"tests.lifetime_main" in _words(pid)}
        assert len(sentry) == 1
        assert len(guests) >= 9
        process.kill()
        process.wait()
        for pid in (*guests, *sentry):
            wait_end(pid)


def _words(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []


@pytest.mark.parametrize(("what", "status"), [("exit", 0), ("raise", 1), ("hard exit", 0), ("thread", 0)])
@pytest.mark.parametrize("refused", REFUSED[:2], ids="+".join)
def test_caller_ends(marker: str, refused: tuple[str, ...], what: str, status: int) -> None:
    """The interpreter's exit, in every manner, ends the guest."""
    with caller(marker, what, refused=refused) as process:
        sentry = sentries(process.pid)
        assert process.wait() == status
        for pid in sentry:
            wait_end(pid)
        wait_gone(marker)


@pytest.mark.parametrize("refused", REFUSED[:2], ids="+".join)
def test_keyboard_interrupt(marker: str, refused: tuple[str, ...]) -> None:
    """Ctrl-C in run() raises KeyboardInterrupt and leaves nothing."""
    with caller(marker, "interrupted", refused=refused) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"  # the guest's own
        sentry = sentries(process.pid)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
        assert b"KeyboardInterrupt" in err
        for pid in sentry:
            wait_end(pid)
        wait_gone(marker)


@pytest.mark.parametrize("refused", REFUSED[:2], ids="+".join)
def test_command_is_killed(marker: str, refused: tuple[str, ...]) -> None:
    """When the command of a Popen ends, everything that it started ends."""
    with caller(marker, "killed command", refused=refused) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"waited\n"
        for pid in others(marker, process):
            if b"tests.lifetime_main" not in _words(pid):
                wait_end(pid)


def test_timeout_leaves_nothing(marker: str) -> None:
    """CommandTimeout has the output so far, and no process is left."""
    script = "echo started; sleep 100000 & setsid sleep 100000 & sleep 100000"
    with pytest.raises(sandbox.CommandTimeout) as caught:
        sandbox.run(["/bin/sh", "-c", script, marker], timeout=1)
    assert caught.value.output == b"started\n"
    assert marked(marker) == []


def test_daemons_end_with_run(marker: str) -> None:
    """run() comes back when its command has ended, and nothing of it is left then."""
    script = "import os, signal, sys\nif os.fork() == 0:\n os.setsid()\n os.close(1); os.close(2)\n signal.pause()\nprint('done')"
    assert sandbox.run([PYTHON, "-c", script, marker]).stdout == b"done\n"
    assert marked(marker) == []


def test_daemons_live_as_long_as_their_caller_waits(marker: str, tmp_path: Path) -> None:
    """A guest that is for one command does not end with it."""
    for name in ("go", "late"):
        os.mkfifo(tmp_path / name)
    script = f"(setsid sh -c 'read x < /out/go; echo {marker} > /out/late' &) ; exit 3"
    with sandbox.Popen(["sh", "-c", script], writable={"/out": tmp_path}, stdout=subprocess.DEVNULL) as process:
        process.wait_exit()
        (tmp_path / "go").write_text("\n")
        assert (tmp_path / "late").read_text().strip() == marker
        assert process.wait() == 3


def test_daemons_of_a_sandbox_live_until_its_end(marker: str) -> None:
    with sandbox.Sandbox() as box:
        daemon = f"setsid sh -c 'echo $$ >up; sleep 100000; :' {marker} >/dev/null 2>&1 &"
        box.run(["/bin/sh", "-c", f"mkfifo up; {daemon} read pid <up; echo $pid >pid"], check=True)
        assert box.run("kill -0 $(cat pid)", shell=True).returncode == 0
        assert marked(marker)
    assert marked(marker) == []


def test_orphans_are_reaped() -> None:
    """Processes whose parent has ended leave no zombie."""
    script = """
import os, time
for _ in range(500):
    pid = os.fork()
    if pid == 0:
        if os.fork() == 0:
            os._exit(0)
        os._exit(0)
    os.waitpid(pid, 0)
def zombies():
    found = 0
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                found += open(f"/proc/{name}/stat").read().rsplit(")", 1)[1].split()[0] == "Z"
            except OSError:
                pass
    return found
while zombies():
    time.sleep(0.01)
print("none")
"""
    assert sandbox.run([PYTHON, "-c", script], timeout=60).stdout == b"none\n"


@pytest.mark.parametrize("refused", REFUSED, ids="+".join)
def test_kill_everyone(marker: str, refused: tuple[str, ...]) -> None:
    """kill(-1) reaches the guest's processes only: not the host's, not another guest's, and the guest goes on."""
    script = f"""
import subprocess, warnings
import sandbox
warnings.simplefilter("ignore")
kill = '''
import os, signal
pids = []
for _ in range(3):
    pids.append(os.fork())
    if pids[-1] == 0:
        signal.pause()
os.kill(-1, signal.SIGTERM)
print([os.waitpid(pid, 0)[1] for pid in pids])
'''
victim = subprocess.Popen([*{SLEEP!r}, {marker!r}])
with sandbox.Sandbox() as other, sandbox.Sandbox() as box:
    background = other.popen(["/bin/sleep", "100000"])
    print(box.run([{PYTHON!r}, "-c", kill]).stdout.decode().strip())
    print(box.run(["/bin/echo", "goes on"]).stdout.decode().strip())
    print(victim.poll(), background.poll())
victim.kill()
"""
    command = [sys.executable, "-c", script]
    if refused:
        command = [sys.executable, "-m", "tests.refusing", *refused, "--", *command]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout == "[15, 15, 15]\ngoes on\nNone None\n", done.stderr


@pytest.mark.parametrize("refused", REFUSED, ids="+".join)
def test_processes_outside_are_out_of_reach(refused: tuple[str, ...]) -> None:
    """Every call that sends a signal or asks about a process fails for one outside as for one that does not exist."""
    script = """
import subprocess, sys, warnings
import sandbox
warnings.simplefilter("ignore")
ask = '''
import errno, os, resource, signal, sys
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
target = int(sys.argv[1])
calls = {
    "kill": lambda: os.kill(target, 9), "probe": lambda: os.kill(target, 0), "killpg": lambda: os.killpg(target, 9),
    "getpgid": lambda: os.getpgid(target), "getsid": lambda: os.getsid(target),
    "getpriority": lambda: os.getpriority(os.PRIO_PROCESS, target), "setpriority": lambda: os.setpriority(os.PRIO_PROCESS, target, 5),
    "affinity": lambda: os.sched_getaffinity(target), "pin": lambda: os.sched_setaffinity(target, {0}),
    "scheduler": lambda: os.sched_getscheduler(target), "prlimit": lambda: resource.prlimit(target, resource.RLIMIT_NOFILE),
    "tgkill": lambda: raw(234, target, target, 9), "tkill": lambda: raw(200, target, 9), "pidfd_open": lambda: raw(434, target, 0),
    "ptrace": lambda: raw(101, 16, target, 0, 0), "process_vm_readv": lambda: raw(310, target, 0, 0, 0, 0, 0),
    "kcmp": lambda: raw(312, target, os.getpid(), 0, 0, 0), "proc": lambda: os.listdir(f"/proc/{target}"),
    "setpgid": lambda: os.setpgid(0, target), "ioprio": lambda: raw(252, 1, target), "sigqueue": lambda: raw(129, target, 9, 0),
}
def raw(*arguments):
    if libc.syscall(*[ctypes.c_long(a) for a in arguments]) < 0:
        raise OSError(ctypes.get_errno(), "")
for name, call in calls.items():
    try:
        print(name, "REACHED", call())
    except OSError as error:
        print(name, errno.errorcode[error.errno])
'''
victim = subprocess.Popen(["/bin/sleep", "100000"], start_new_session=True)
with sandbox.Sandbox() as box:
    print(box.run([sys.argv[1], "-c", ask, str(victim.pid)]).stdout.decode())
    print(box.run([sys.argv[1], "-c", ask, "3999999"]).stdout.decode())
print(victim.poll())
victim.kill()
"""
    command = [sys.executable, "-c", script, PYTHON]
    if refused:
        command = [sys.executable, "-m", "tests.refusing", *refused, "--", *command]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    there, nobody, alive = done.stdout.split("\n\n")
    assert "REACHED" not in there, done.stdout
    assert there == nobody
    assert alive.strip() == "None"


def test_other_guests_go_on(marker: str) -> None:
    """The end of one sentry is the fault of one guest."""
    with sandbox.Sandbox() as one:
        before = sentries(os.getpid())
        other = sandbox.Popen([*SLEEP, marker])
        (doomed,) = set(sentries(os.getpid())) - set(before)
        os.kill(doomed, signal.SIGKILL)
        with pytest.raises(sandbox.GuestFault):
            other.wait()
        assert one.run(["/bin/echo", "well"]).stdout == b"well\n"
    assert marked(marker) == []


def test_many_guests_from_many_threads() -> None:
    results: list[tuple[int, bytes]] = []

    def work(number: int) -> None:
        for turn in range(4):
            done = sandbox.run(["/bin/sh", "-c", f"echo {number}-{turn} >f; cat f; exit {number}"])
            results.append((done.returncode, done.stdout))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [(n, b"%d-%d\n" % (n, turn)) for n in range(6) for turn in range(4)]


def test_nothing_is_left_in_the_caller() -> None:
    """No descriptor, no child and no thread for each guest that was."""
    sandbox.run(["/bin/true"])

    def state() -> tuple[int, dict[int, list[bytes]], int]:
        return len(os.listdir("/proc/self/fd")), children(), threading.active_count()

    before = state()
    for _ in range(10):
        sandbox.run(["/bin/true"])
        with sandbox.Sandbox() as box:
            box.run(["/bin/true"])
    with pytest.raises(FileNotFoundError):
        sandbox.run(["/no/such/program"])
    after = state()
    assert after[:2] == before[:2] and after[2] <= before[2]  # a worker that was idle may have ended


def test_fork_of_the_caller(marker: str) -> None:
    """A forked child has a Supervisor of its own: its guests work, its end does not touch the parent's guest."""
    with sandbox.Sandbox() as box:
        background = box.popen([*SLEEP, marker])
        pid = os.fork()
        if pid == 0:
            try:
                fine = sandbox.run(["/bin/echo", "child"]).stdout == b"child\n"
                os._exit(0 if fine else 1)
            finally:
                os._exit(2)
        assert os.waitpid(pid, 0)[1] == 0
        assert background.poll() is None
        assert box.run(["/bin/echo", "parent"]).stdout == b"parent\n"
        background.kill()
        assert background.wait() == -signal.SIGKILL


def test_a_sentry_does_not_wait_for_ever_for_its_plan() -> None:
    """Its caller may have ended while a fork of it keeps the socket open: that must not keep the sentry."""
    poll = 7  # of x86-64
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        pid, pidfd, _ = _sentry.spawn(theirs.fileno(), 0)
        try:
            deadline = time.monotonic() + 20
            while (call := Path(f"/proc/{pid}/syscall").read_text().split())[0] != str(poll):
                assert time.monotonic() < deadline, call
                time.sleep(0.001)
        except PermissionError:
            pytest.skip("here nobody may look at his own child's call (Yama)")
        else:
            descriptors, milliseconds = (int(word, 16) for word in call[2:4])
            assert descriptors == 1 and 0 < milliseconds <= 60_000
        finally:
            _sentry.discard(pid, pidfd)
