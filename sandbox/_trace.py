"""Served calls as lines, in strace's notation. Of the arguments there are the paths and addresses that a record has; a
call that was done is `ok`, since its result (the number of a descriptor, say) is not recorded."""

from __future__ import annotations

import errno
import os

from ._audit.event import Event
from ._events import Decided
from ._paths import printable


def line(decided: Decided) -> str:
    r"""One line, safe on a terminal.

    >>> event = Event(1, 0.0, 1, 7, "openat", ("/a\n",), "/", "failed", "ENOENT", 0.000031, None)
    >>> line(Decided(event, None))
    '[pid 7] openat("/a\\n") = -1 ENOENT (No such file or directory) <0.000031> [/]'
    """
    event, by = decided
    paths = ", ".join(map(_quoted, event.paths))
    text = f"[pid {event.pid}] {event.call}({paths}) = {_result(event)} <{event.duration:.6f}>{_decided(event, by)}"
    return text if event.trusted else f"{text} NOT SERVED BY THE SUPERVISOR"


def _quoted(path: str) -> str:
    shown = printable(path).replace('"', '\\"')
    return f'"{shown}"'


def _result(event: Event) -> str:
    if event.verdict == "done":
        return "ok"
    if event.verdict not in ("failed", "denied"):
        return f"{event.verdict.upper()} ({printable(event.error or '?')})"
    name = event.error or "?"
    number = getattr(errno, name, None)
    why = f" ({os.strerror(number)})" if isinstance(number, int) else ""
    return f"-1 {name}{why}" + (" (DENIED)" if event.verdict == "denied" else "")


def _decided(event: Event, by: bytes | None) -> str:
    """The mount, and what the Supervisor did: a service, and the rule of the network that it went by."""
    parts = [printable(event.mount)] if event.mount else []
    parts += [printable(os.fsdecode(by))] if by else []
    return f" [{', '.join(parts)}]" if parts else ""
