"""Processes of guests as the host sees them, found by a word in their arguments."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from pathlib import Path

PATIENCE = 20000  # milliseconds: bounds a wait that must end by itself, and measures nothing


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def arguments(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []


def marked(marker: str) -> list[int]:
    """Processes, zombies not counted, one of whose arguments is `marker`; but for ourselves."""
    return [pid for pid in _pids() if pid != os.getpid() and marker.encode() in arguments(pid)]


def parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    except OSError:
        return 0


def children() -> dict[int, list[bytes]]:
    """Our own children, zombies included, and their arguments."""
    return {pid: arguments(pid) for pid in _pids() if parent(pid) == os.getpid()}


def sentries(of: int) -> list[int]:
    """The sentries that process `of` has started."""
    return [pid for pid in _pids() if arguments(pid)[:1] == [b"sandbox-sentry"] and parent(pid) == of]


def wait_gone(marker: str) -> None:
    """Wait until no marked process is left, those that are made meanwhile included."""
    while pids := marked(marker):
        for pid in pids:
            wait_end(pid)


def wait_end(pid: int) -> None:
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        ready = select.poll()
        ready.register(pidfd, select.POLLIN)
        assert ready.poll(PATIENCE), f"process {pid} lives on: {arguments(pid)}"
    finally:
        os.close(pidfd)
