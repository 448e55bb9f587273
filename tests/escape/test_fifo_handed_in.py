"""A FIFO without a writer that the caller handed in, opened anew behind /proc/self/fd: nobody waits but who opens it, and no longer than until a
signal comes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.escape.attack import box, every_wall, ordinary

WAITS = """
import os, signal, threading, time
def reopen():
    try:
        return os.open("/proc/self/fd/0", os.O_RDONLY) >= 0
    except PermissionError:
        return False
def ring(*_):
    raise TimeoutError
threading.Thread(target=reopen, daemon=True).start()
time.sleep(0.3)
os.stat("/")
signal.signal(signal.SIGALRM, ring)
signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)
try:
    told = "opened" if reopen() else "refused"
except TimeoutError:
    told = "interrupted"
os.write(1, told.encode())
os._exit(0)
"""


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "fifo")
    return tmp_path / "fifo"


@ordinary
@every_wall
def test_only_who_opens_it_waits(walls: str, fifo: Path) -> None:
    """As on Linux; Landlock shuts it."""
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with box(walls) as made:
            done = made.run(["python3", "-c", WAITS], stdin=reader, timeout=20)
    finally:
        os.close(reader)
    assert (done.returncode, done.stdout) == (0, b"refused" if "landlock" in done.walls else b"interrupted"), done
