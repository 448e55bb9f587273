"""Where records go: a path, a function, a logger; and what happens where one of these fails."""

from __future__ import annotations

import logging
import logging.handlers
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import sandbox
from sandbox import Event, GuestFault, PolicyError, Sandbox, _audit
from tests.test_audit import record
from tests.test_audit_file import ABOUT, LOOP, check

# ---- functions ------------------------------------------------------------------------------------------------------


def test_function_has_every_event() -> None:
    """All of them when run returns, in order, in a thread that is neither the caller's nor the Supervisor's."""
    found: list[Event] = []
    threads: set[str] = set()

    def call(event: Event) -> None:
        found.append(event)
        threads.add(threading.current_thread().name)

    result = sandbox.run([sys.executable, "-S", "-c", LOOP.format(30000)], audit=call, check=True)
    assert [event.sequence for event in found] == list(range(1, len(found) + 1))
    assert sum(event.paths == ("/flood",) for event in found) == 30000 and result.audit.total == len(found)
    assert threads == {"sandbox-audit"} and all(event.trusted and event.mount for event in found if event.paths == ("/flood",))


def test_function_knows_what_was_served() -> None:
    found: list[Event] = []
    sandbox.run("cat made", shell=True, audit=found.append, files={"/work/made": lambda: b"x"})
    served = [event for event in found if event.service is not None]
    assert served and all(event.trusted for event in served)


def test_function_has_events_while_the_guest_runs() -> None:
    """Not only when half a ring is full, or at the end."""
    seen = threading.Event()

    def call(event: Event) -> None:
        if event.paths == ("/now",):
            seen.set()

    with Sandbox(audit=call) as box:
        process = box.popen("cat /now; cat", shell=True, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert seen.wait(30) and process.poll() is None
        process.communicate(b"")


@pytest.mark.parametrize("error", [ValueError("not\x1b this one"), SystemExit(3)])
def test_function_that_raises_ends_its_guest(error: BaseException) -> None:
    """Nothing goes on unrecorded, and the caller gets the exception; another guest knows nothing of it."""

    def call(event: Event) -> None:
        if event.paths == ("/bad",):
            raise error

    with Sandbox(audit=lambda _: None) as other:
        with pytest.raises(GuestFault, match=type(error).__name__) as raised:
            sandbox.run("cat /bad; while :; do : < /etc/hostname; done", shell=True, audit=call, timeout=60)
        assert raised.value.__cause__ is error
        assert other.run(["true"]).returncode == 0


def test_function_that_raises_at_the_last_event() -> None:
    """Also where the command has ended."""

    def call(event: Event) -> None:
        raise ValueError("late")

    with pytest.raises(GuestFault, match="late"):
        sandbox.run(["true"], audit=call)


def test_slow_function_holds_its_guest_only() -> None:
    """The ring fills and the guest waits, in bounded memory; the Supervisor, its workers and other guests do not."""
    go, begun = threading.Event(), threading.Event()

    def call(_: Event) -> None:
        begun.set()
        go.wait(60)

    with Sandbox(audit=call) as slow, Sandbox(files={"/work/f": lambda: b"x"}) as other:
        process = slow.popen([sys.executable, "-S", "-c", LOOP.format(200000)])
        assert begun.wait(30)
        until(lambda: slow.audit.total > 14000)  # what a ring holds
        before = slow.audit.total
        assert other.run(["cat", "/work/f"]).stdout == b"x"
        assert before <= slow.audit.total < 60000 and process.poll() is None
        go.set()
        assert process.wait(60) == 0


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_function_may_ask_for_the_summary() -> None:
    """Even for that of its own guest, and at its end."""
    totals: list[int] = []
    boxes: list[Sandbox] = []

    def call(_: Event) -> None:
        totals.append(boxes[0].audit.total if boxes else 0)

    with Sandbox(audit=call) as box:
        boxes.append(box)
        box.run(["true"])
    assert totals[-1] > 0


def test_sandbox_close_waits_for_the_last_event() -> None:
    found: list[Event] = []
    with Sandbox(audit=found.append) as box:
        total = box.run(["ls", "/"]).audit.total
    assert len(found) >= total > 0
    assert not [thread for thread in threading.enumerate() if thread.name == "sandbox-audit"]


def test_a_guest_that_cannot_be_made_leaves_no_thread() -> None:
    with pytest.raises(PolicyError):
        sandbox.run(["true"], audit=print, mounts={"/data": "/nowhere/at/all"})
    assert not [thread for thread in threading.enumerate() if thread.name == "sandbox-audit"]


# ---- logging --------------------------------------------------------------------------------------------------------


@pytest.fixture
def logger() -> logging.Logger:
    made = logging.Logger("sandbox-test", logging.DEBUG)  # of nobody else's
    made.addHandler(Kept())
    return made


class Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


def test_logger(logger: logging.Logger) -> None:
    """Denied calls are warnings; the message is safe to print; the Event is there for who formats it otherwise."""
    code = "import socket\ntry: open('/x\\x1b[2J\\n')\nexcept OSError: pass\ntry: socket.socket()\nexcept OSError: pass"
    sandbox.run([sys.executable, "-c", code], audit=logger, check=True)
    (kept,) = logger.handlers
    assert isinstance(kept, Kept)
    levels = {record.event.verdict: record.levelname for record in kept.records}  # type: ignore[attr-defined]
    assert levels == {"done": "INFO", "failed": "INFO", "denied": "WARNING"}
    messages = [record.getMessage() for record in kept.records]
    assert all(message.isprintable() for message in messages) and any("/x\\x1b[2J\\n" in message for message in messages)
    assert [record.event.sequence for record in kept.records] == list(range(1, len(messages) + 1))  # type: ignore[attr-defined]


def test_logger_and_damage(logger: logging.Logger) -> None:
    sink = _audit.Sink(logging.LoggerAdapter(logger, {}), 1, ABOUT)  # type: ignore[arg-type]
    sink.begin(lambda: None)
    sink.records(record(2, service=9))
    sink.close()
    assert [record.levelname for record in logger.handlers[0].records] == ["ERROR", "ERROR"]  # type: ignore[attr-defined]


# ---- syslog ---------------------------------------------------------------------------------------------------------

FORGING = "import os\nfor name in ('/usr/x\\n<0>forged', '/usr/\\x1b[2J', b'/usr/\\xff\\0'[:-1]):\n try: os.open(name, 65)\n except OSError: pass"


@pytest.mark.parametrize("family", [socket.AF_UNIX, socket.AF_INET])
def test_syslog(family: int, tmp_path: Path) -> None:
    """By the standard library's handler, to a local socket and by UDP: a refusal is user.warning, and what a guest gives
    as a name makes neither a second line nor a control character."""
    with socket.socket(family, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "log") if family == socket.AF_UNIX else ("127.0.0.1", 0))
        server.settimeout(30)
        handler = logging.handlers.SysLogHandler(server.getsockname())
        handler.ident = "sandbox: "
        logger = logging.Logger("sandbox-test", logging.WARNING)
        logger.addHandler(handler)
        sandbox.run([sys.executable, "-S", "-c", FORGING], audit=logger, check=True)
        lines = [server.recv(8192) for _ in range(3)]
        handler.close()
    assert all(line.startswith(b"<12>sandbox: ") and line.endswith(b"\0") for line in lines)  # facility 1, severity 4
    texts = [line[4:-1].decode("ascii") for line in lines]
    assert all(text.isprintable() and "denied EROFS" in text for text in texts)
    assert [name in text for name, text in zip(("/x\\n<0>forged", "/\\x1b[2J", "/\\xff"), texts)] == [True] * 3


# ---- others ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [3, 2.5, object(), ["a"], {}])
def test_what_is_no_target(target: Any) -> None:
    with pytest.raises(PolicyError, match="audit: .* is no path, AuditFile, binary file, function, logger or otel.Spans"):
        sandbox.run(["true"], audit=target)


def test_a_path_is_appended_to_while_others_do(tmp_path: Path) -> None:
    """Batches of processes that write at once stay whole."""
    code = f"import sandbox; sandbox.run('for i in 1 2 3; do ls -R /usr/lib/python3 > /dev/null; done', shell=True, audit={str(tmp_path / 'a')!r})"
    running = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    found = check(tmp_path / "a")
    assert len(found) == 3 and all(part.ok and part.records > 50 for part in found)
