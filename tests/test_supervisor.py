"""The Supervisor against a sentry that a guest has taken over: its guest is closed with a clear error, others go on, and
nothing of it stays."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import sandbox
from sandbox import GuestFault, Policy, Sandbox, SandboxError, WallMissing, _sentry
from tests import hostile

Take = Callable[[str], None]


@pytest.fixture
def take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Take]:
    """`take(body)`: from now on sentries are that program. The walls that it claims are believed by nobody else."""
    sandbox.run(["true"])

    def replace(body: str) -> None:
        monkeypatch.setattr(_sentry, "SENTRY", hostile.write(tmp_path / "sentry", body))

    before = set(os.listdir("/proc/self/fd"))
    yield replace
    monkeypatch.undo()
    assert sandbox.run(["echo", "others"], check=True).stdout == b"others\n"
    deadline = time.monotonic() + 5
    while set(os.listdir("/proc/self/fd")) != before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert set(os.listdir("/proc/self/fd")) == before


RUNNING = "ready(); run = wait_for(T.RUN); send(sock, Message(T.STARTED, run.number, 7))\n"

HOSTILE = {
    "ends at once": "sys.exit(3)",
    "ends after its plan": "setup(); sys.exit(3)",
    "is killed": "setup(); os.kill(os.getpid(), 9)",
    "closes its socket and stays": "setup(); sock.close(); time.sleep(60)",
    "says nothing of the kind": "setup(); sock.send(b'x' * 100); forever()",
    "too short": "setup(); sock.send(b'x'); forever()",
    "empty message": "setup(); sock.send(b''); forever()",
    "too long": "setup(); raw(T.FAULT, 9000, text=b'x' * 9000); forever()",
    "length is a lie": "setup(); raw(T.READY, 5, text=READY); forever()",
    "length below zero": "setup(); raw(T.READY, 0xffffffff, text=READY); forever()",
    "type unknown": "setup(); raw(99); forever()",
    "type zero": "setup(); raw(0); forever()",
    "type of the Supervisor": "setup(); raw(T.RUN); forever()",
    "ready twice": "ready(); raw(T.READY, len(READY), 0, 2, 0, READY); forever()",
    "walls unknown": "setup(); raw(T.READY, len(READY), 0, 1 << 40, 0, READY); forever()",
    "descriptors with ready": "setup(); raw(T.READY, len(READY), 0, 2, 0, READY, [0, 1, 2]); forever()",
    "many descriptors": "setup(); raw(T.DRAIN, fds=[0] * 200); forever()",
    "started a command of nobody": "ready(); raw(T.STARTED, 0, 77, 5); forever()",
    "exited a command of nobody": "ready(); raw(T.EXITED, len(USAGE), 77, 0, 0, USAGE); forever()",
    "failed a command of nobody": "ready(); raw(T.FAILED, 0, 77, 2); forever()",
    "started twice": RUNNING + "raw(T.STARTED, 0, run.number, 7); forever()",
    "exited twice": RUNNING + "[raw(T.EXITED, len(USAGE), run.number, 0, 0, USAGE) for _ in '12']; forever()",
    "no wait status": RUNNING + "raw(T.EXITED, len(USAGE), run.number, 1 << 30, 0, USAGE); forever()",
    "limit unknown": RUNNING + "raw(T.EXITED, len(USAGE), run.number, 0, 9, USAGE); forever()",
    "fetched what nobody asked for": "ready(); raw(T.FETCHED, 0, 5, 0, 0, b'', [0]); forever()",
    "a File of nobody": "ready(); raw(T.SERVE, 0, 1, 1, 5); forever()",
    "service unknown": "ready(); raw(T.SERVE, 0, 1, 7, 5); forever()",
    "request twice": "ready(); [raw(T.SERVE, 3, 1, 2, 5, b'5/x') for _ in range(2000)]; forever()",
    "floods with requests": "ready(); [raw(T.SERVE, 3, n, 2, 5, b'5/x') for n in range(5000)]; forever()",
    "floods with garbage": "setup(); [raw(99) for _ in range(1000)]; forever()",
    "fault": "setup(); raw(T.FAULT, 4, 0, 5, 0, b'why!'); forever()",
    "fault that drives a terminal": "setup(); raw(T.FAULT, 5, 0, 5, 0, b'\\x1b[2J!'); forever()",
}


LEFT = "the sentry has ended by itself: "
BY_ITSELF = ("ends at once", "ends after its plan", "is killed", "closes its socket and stays", "empty message")


@pytest.mark.parametrize("name", [name for name in HOSTILE if name not in ("exited twice", "floods with requests", "request twice")])
def test_hostile_sentry(name: str, take: Take) -> None:
    take(HOSTILE[name])
    with pytest.raises(GuestFault) as caught:
        sandbox.run(["true"], timeout=30)
    expected = {"fault": "sentry: why!", "fault that drives a terminal": "sentry: \\x1b[2J!", **dict.fromkeys(BY_ITSELF, LEFT)}
    assert str(caught.value).startswith(expected.get(name, "sentry closed: "))
    assert str(caught.value).isprintable()


def test_request_twice(take: Take) -> None:
    """While the first waits; where each was answered before the next came there is nothing wrong with it, and no command either."""
    take(HOSTILE["request twice"])
    for _ in range(8):
        try:
            sandbox.run(["true"], timeout=3)
        except sandbox.CommandTimeout:
            continue
        except GuestFault as fault:
            assert str(fault).startswith("sentry closed: ")
            return
    raise AssertionError("never noticed")


def test_exited_twice(take: Take) -> None:
    """The first end is believed; the second closes the guest, which is of no consequence any more."""
    take(HOSTILE["exited twice"])
    try:
        assert sandbox.run(["true"], timeout=30).returncode == 0
    except GuestFault as error:
        assert "does not run" in str(error)


def test_flood_of_requests_is_bounded(take: Take) -> None:
    """Each is answered or the guest is closed; no more of them wait than a bound."""
    take(HOSTILE["floods with requests"])
    with pytest.raises((GuestFault, sandbox.CommandTimeout)):
        sandbox.run(["true"], timeout=3)


def test_others_run_while_one_is_hostile(take: Take, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sentry that floods without end costs its neighbours time, not their work."""
    take("ready()\nwhile True: raw(T.DRAIN)")
    box = Sandbox()
    monkeypatch.undo()
    try:
        for _ in range(5):
            assert sandbox.run(["echo", "x"], check=True, timeout=30).stdout == b"x\n"
    finally:
        box.close()


def test_silent_sentry_does_not_hold_a_timeout(take: Take) -> None:
    """One that never answers is killed when the caller's time is out, and at the end."""
    take("ready(); time.sleep(600)")
    began = time.monotonic()
    box = Sandbox()
    process = threading.Thread(target=box.close)
    process.start()
    process.join(30)
    assert not process.is_alive() and time.monotonic() - began < 20


def test_sentry_that_does_not_read(take: Take) -> None:
    """Messages to it wait, up to a bound, and block nobody."""
    take("ready(); time.sleep(600)")
    box = Sandbox()
    with open(os.devnull, "rb") as null:
        command = box._guest.run(null.fileno(), [])
    command.started = True
    began = time.monotonic()
    for _ in range(20000):
        box._guest.signal(command, signal.SIGUSR1, group=False)
    assert time.monotonic() - began < 20
    with pytest.raises(SandboxError, match="take messages"):
        box.run(["true"])
    box._guest.kill()
    box.close()


def test_fetch_of_anything(take: Take, tmp_path: Path) -> None:
    """A descriptor that is no regular file, or that was opened for its path only, is refused: with the caller's
    privileges behind it, it would open what the sentry may not."""
    (tmp_path / "secret").write_text("of the host")
    for opened in (f"os.open({str(tmp_path)!r}, os.O_PATH)", f"os.open({str(tmp_path / 'secret')!r}, os.O_PATH)"):
        take(f"ready()\nask = wait_for(T.FETCH)\nraw(T.FETCHED, 0, ask.number, fds=[{opened}])\nforever()")
        with Sandbox() as box, pytest.raises(GuestFault, match="grants nothing"):
            box.read("/x")
        with Sandbox() as box, pytest.raises(GuestFault, match="grants nothing"):
            box.export("/x", tmp_path / "out")
    take("ready()\nask = wait_for(T.FETCH)\nraw(T.FETCHED, 0, ask.number, fds=[os.pipe()[0]])\nforever()")
    with Sandbox() as box, pytest.raises(OSError, match="regular"):
        box.read("/x")


def test_proc_source_of_anything(take: Take) -> None:
    """A pipe in the place of the kernel's file would hold a worker for ever: it is not read."""
    take(
        "ready()\nraw(T.SERVE, 6, 1, 2, 5, b'5/maps', [os.pipe()[0]])\n"
        "reply = wait_for(T.REPLY)\nraw(T.FAULT, 0, 0, -reply.value)\nforever()"
    )
    with pytest.raises(GuestFault):
        sandbox.run(["true"], timeout=30)


def test_required_walls_are_the_sentrys_word_only_where_they_are_not_known(take: Take) -> None:
    """A wall that a sentry does not claim is missing."""
    take("setup(); raw(T.READY, len(READY), 0, 0x1bc, 0, READY); forever()")
    with pytest.raises((WallMissing, GuestFault)) as caught:
        sandbox.run(["true"], policy=Policy(require=("landlock-scope", "landlock")))
    assert "landlock" in str(caught.value) or "walls" in str(caught.value)


def test_sentry_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox.run(["true"])
    monkeypatch.setattr(_sentry, "SENTRY", "/nowhere/sentry")
    with pytest.raises(SandboxError, match="sentry /nowhere/sentry: cannot be started: No such file"):
        sandbox.run(["true"])


def test_killed_sentry_takes_its_guest_along() -> None:
    """Within a second no process of the guest is left, wherever it has hidden."""
    from tests.test_run import alive

    marker = f"91.{os.getpid()}"
    with Sandbox() as box:
        box.popen(f"setsid sleep {marker} & (setsid sleep {marker} &) ; sleep {marker}", shell=True)
        deadline = time.monotonic() + 10
        while not alive(marker) and time.monotonic() < deadline:
            time.sleep(0.01)
        signal.pidfd_send_signal(box._guest.parts.pidfd, signal.SIGKILL)
        assert box._guest.wait_ended(1)
        assert not alive(marker)
        with pytest.raises(GuestFault, match="signal 9"):
            box.run(["true"])
