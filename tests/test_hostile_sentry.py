"""A sentry replaced by a hostile program on the same socket, beside tests/test_supervisor.py: what it asks for that is not its
own, what it says out of order, and what it does to the memory that is shared with it."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import sandbox
from sandbox import File, GuestFault, Policy, Sandbox, _sentry, _supervisor
from tests import hostile
from tests.escape.victim import pending, victim

Take = Callable[[str], None]
READY_AND_RUN = "ready(); run = wait_for(T.RUN)\n"
MAP = """\
import mmap
message = setup()
trail = mmap.mmap(message.fds[2], 0)
send(sock, Message(T.READY, 0, 0x3fe, text=READY))
"""


@pytest.fixture
def take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Take]:
    """`take(body)`: from now on sentries are that program, until `take("")`. At the end nothing of it is left, and others
    go on."""
    sandbox.run(["true"])
    honest = _sentry.SENTRY

    def replace(body: str) -> None:
        place = hostile.write(tmp_path / f"sentry{time.monotonic_ns()}", body) if body else honest
        monkeypatch.setattr(_sentry, "SENTRY", place)

    before = len(os.listdir("/proc/self/fd"))
    yield replace
    replace("")
    assert sandbox.run(["echo", "others"], check=True).stdout == b"others\n"
    deadline = time.monotonic() + 10
    while len(os.listdir("/proc/self/fd")) > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(os.listdir("/proc/self/fd")) <= before


def told() -> int:
    """A number that the sentry tells by the text of a fault."""
    with pytest.raises(GuestFault) as caught:
        sandbox.run(["true"], timeout=30)
    assert str(caught.value).startswith("sentry: "), caught.value
    return int(str(caught.value).partition(": ")[2])


TELL = "\ntext = b'%d' % number; raw(T.FAULT, len(text), 0, 5, 0, text); forever()"


def reply_to(take: Take, ask: str) -> int:
    """What the Supervisor answers to a request: 0 or a negative errno."""
    take(f"ready()\n{ask}\nnumber = wait_for(T.REPLY).value" + TELL)
    return told()


# ---- what is not its own ----------------------------------------------------------------------------------------


def test_files_of_another_guest(take: Take) -> None:
    """A request is judged by the policy of the guest whose socket it came in on."""
    called: list[int] = []

    def secret() -> bytes:
        called.append(1)
        return b"of the other guest"

    with Sandbox(files={"/work/secret": secret}) as box:
        take("ready(); raw(T.SERVE, 0, 1, 1, 0); forever()")
        with pytest.raises(GuestFault, match="its policy does not have"):
            sandbox.run(["true"], timeout=30)
        assert called == []
        take("")
        assert box.run(["cat", "/work/secret"]).stdout == b"of the other guest"


NAMES = {
    "environ": b"self/environ",
    "dots": b"../../etc/passwd",
    "dots of a process": b"1/../../etc/shadow",
    "descriptor": b"1/fd/3",
    "memory": b"1/mem",
    "root": b"1/root",
    "dots of the kernel": b"sys/kernel/../../1/mem",
    "no text": b"\xff" * 4000,
}


@pytest.mark.parametrize("name", NAMES)
def test_virtual_files_come_from_what_is_sent_along(take: Take, name: str) -> None:
    """The Supervisor opens nothing by a name that a sentry has sent."""
    assert (
        reply_to(take, f"name = {NAMES[name]!r}; raw(T.SERVE, len(name), 1, 2, {os.getpid()}, name)") == -errno.ENOENT
    )


def test_a_source_without_end(take: Take, tmp_path: Path) -> None:
    """Of a file that is handed in as the kernel's own, no more is read than a bound."""
    huge = tmp_path / "huge"
    with open(huge, "wb") as file:
        file.truncate(1 << 40)
    huge.chmod(0o644)
    ask = f"raw(T.SERVE, 6, 1, 2, 5, b'5/maps', [os.open({str(huge)!r}, os.O_RDONLY)])"
    assert reply_to(take, ask) == -errno.EFBIG


def test_a_fetched_file_without_end(take: Take, tmp_path: Path) -> None:
    huge = tmp_path / "huge"
    with open(huge, "wb") as file:
        file.truncate(1 << 40)
    take(
        f"ready()\nask = wait_for(T.FETCH)\nraw(T.FETCHED, 0, ask.number, fds=[os.open({str(huge)!r}, os.O_RDONLY)])\nforever()"
    )
    with Sandbox() as box, pytest.raises(OSError) as caught:
        box.read("/x", max_bytes=1 << 20)
    assert caught.value.errno == errno.EFBIG


def test_a_process_that_is_not_its_guests(take: Take) -> None:
    """It may say that a command is any process: nobody signals that by what it said."""
    with victim() as process:
        take(READY_AND_RUN + f"send(sock, Message(T.STARTED, run.number, {process.pid}))\nforever()")
        command = sandbox.Popen(["true"])
        command.kill()
        command.terminate()
        command.send_signal(28)
        command._guest.kill()
        assert command.wait(10) == -9
        assert process.poll() is None and pending(process.pid) == 0


# ---- out of order -----------------------------------------------------------------------------------------------

ORDER = {
    "a command before it is ready": "setup(); raw(T.STARTED, 0, 1, 5); forever()",
    "an end before it is ready": "setup(); raw(T.EXITED, len(USAGE), 1, 0, 0, USAGE); forever()",
    "a request before it is ready": "setup(); raw(T.SERVE, 6, 1, 2, 5, b'5/maps', [0]); forever()",
    "a start with a descriptor too early": "setup(); raw(T.STARTED, 0, 1, 5, 0, b'', [0]); forever()",
    "a start after the end": READY_AND_RUN
    + "raw(T.EXITED, len(USAGE), run.number, 0, 0, USAGE); raw(T.STARTED, 0, run.number, 5); forever()",
    "a failure after the end": READY_AND_RUN
    + "raw(T.EXITED, len(USAGE), run.number, 0, 0, USAGE); raw(T.FAILED, 0, run.number, 2); forever()",
    "two failures": READY_AND_RUN + "raw(T.FAILED, 0, run.number, 2); raw(T.FAILED, 0, run.number, 2); forever()",
    "a failure without error": READY_AND_RUN + "raw(T.FAILED, 0, run.number, 0); forever()",
    "an errno out of range": READY_AND_RUN + "raw(T.FAILED, 0, run.number, 1 << 40); forever()",
    "a pid out of range": READY_AND_RUN + "raw(T.STARTED, 0, run.number, -1); forever()",
    "usage below zero": READY_AND_RUN + "raw(T.EXITED, 24, run.number, 0, 0, struct.pack('3q', -1, 0, 0)); forever()",
    "usage that is cut": READY_AND_RUN + "raw(T.EXITED, 8, run.number, 0, 0, bytes(8)); forever()",
    "text where none belongs": READY_AND_RUN + "raw(T.STARTED, 4, run.number, 5, 0, b'text'); forever()",
    "a name without end": "ready(); raw(T.SERVE, 8000, 1, 2, 5, b'x' * 8000); forever()",
    "a name with a NUL": "ready(); raw(T.SERVE, 5, 1, 2, 5, b'5/\\0/x'); forever()",
    "a descriptor with a File": "ready(); raw(T.SERVE, 0, 1, 1, 0, b'', [0]); forever()",
    "a process below zero": "ready(); raw(T.SERVE, 6, 1, 2, -5, b'5/maps'); forever()",
    "a fetch with two answers": "ready(); raw(T.FETCHED, 0, 1, 0, 0, b'', [0, 0]); forever()",
    "an answer without its descriptor": "ready(); raw(T.FETCHED, 0, 1, 0); forever()",
    "an empty message with descriptors": "ready(); sock.sendmsg([b''], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, "
    "array.array('i', [0] * 16).tobytes())]); forever()",
    "its own setup back": "message = setup(); raw(T.SETUP, fds=message.fds); forever()",
}


@pytest.mark.parametrize("name", ORDER)
def test_out_of_order(name: str, take: Take) -> None:
    """The guest is closed with an error that says so, or the command has failed for its caller; nothing else happens."""
    take(ORDER[name])
    try:
        sandbox.run(["true"], timeout=30)
    except (GuestFault, FileNotFoundError) as error:
        assert str(error).isprintable()


# ---- shared memory ----------------------------------------------------------------------------------------------

TRAILS = {
    "head behind the ring": "trail[8:16] = struct.pack('Q', 1 << 40)",
    "head below the tail": "trail[8:16] = struct.pack('Q', 0xffffffffffffff00)",
    "another capacity": "trail[4:8] = struct.pack('I', 0xffffffff); trail[8:16] = struct.pack('Q', 100)",
    "garbage": "trail[:] = os.urandom(len(trail))",
    "records that are none": "trail[65536:65636] = b'x' * 100; trail[8:16] = struct.pack('Q', 100)",
    "a record that ends nowhere": "trail[65536:65544] = struct.pack('II', 0x53425831, 0xfffffff8); trail[8:16] = struct.pack('Q', 100)",
}


@pytest.mark.parametrize("name", TRAILS)
def test_the_trail_is_overwritten(name: str, take: Take, tmp_path: Path) -> None:
    """What is shared is believed for nothing: bounds are the Supervisor's own, and what is no record is shown as damage."""
    take(
        MAP
        + TRAILS[name]
        + "\nraw(T.DRAIN); raw(T.DRAIN)\nrun = wait_for(T.RUN)\nraw(T.EXITED, len(USAGE), run.number, 0, 0, USAGE)"
    )
    trail = tmp_path / "trail"
    try:
        result = sandbox.run(["true"], audit=trail, timeout=30)
        assert str(result.audit)
    except GuestFault as error:
        assert str(error).isprintable()
    assert all(str(event).isprintable() for event in sandbox._audit.load(trail))


def test_the_trail_cannot_be_cut_off(take: Take) -> None:
    """A memfd that is mapped and then shortened would kill the caller with SIGBUS."""
    take(
        "message = setup()\nfailed = 0\nfor size in (0, 4096, 1 << 30):\n"
        " try: os.ftruncate(message.fds[2], size)\n except OSError: failed += 1\n"
        "number = failed" + TELL
    )
    assert told() == 3


def test_the_plan_cannot_be_changed(take: Take) -> None:
    """Nor what else comes with it: the caller's memory of it is not the sentry's to write."""
    take(
        "message = setup()\nfailed = 0\nfor fd in message.fds[:2]:\n"
        " try: os.pwrite(fd, b'x', 0)\n except OSError: failed += 1\n"
        "number = failed" + TELL
    )
    assert told() == 2


# ---- floods -----------------------------------------------------------------------------------------------------


def test_requests_to_drain_do_not_pile_up(take: Take) -> None:
    """One that waits is enough: neighbours share the workers."""
    take("ready()\nwhile True: raw(T.DRAIN)")
    box = Sandbox()
    take("")
    try:
        most = 0
        for _ in range(10):
            assert sandbox.run(["true"], timeout=30).returncode == 0
            most = max(most, _supervisor.supervisor()._workers._work.qsize())
        assert most < 100
    finally:
        box.close()


def test_many_hostile_sentries_at_once(take: Take) -> None:
    take("ready()\nfor n in range(300): raw(T.SERVE, 6, n, 2, 5, b'5/maps', [0])\nforever()")
    boxes = [Sandbox() for _ in range(4)]
    take("")
    try:
        assert sandbox.run(["cat", "/proc/self/maps"], timeout=60).returncode == 0
        policy = Policy(files=[File("/work/made", lambda: b"made")])
        assert sandbox.run(["cat", "/work/made"], policy=policy, timeout=60).stdout == b"made"
    finally:
        for box in boxes:
            box.close()
