"""Served calls as lines, in strace's notation. Of the arguments there are the paths and addresses that a record has; a
call that was done is `ok`, since its result (the number of a descriptor, say) is not recorded."""

from __future__ import annotations

import errno
import os

from ._audit.event import Event
from ._audit.opened import flag_names
from ._paths import printable


def line(event: Event) -> str:
    r"""One line, safe on a terminal.

    >>> line(Event(1, 0.0, 1, 7, "openat", ("/a\n",), "/", "failed", "ENOENT", 0.000031, None, flags=os.O_RDONLY))
    '[pid 7] openat("/a\\n", O_RDONLY) = -1 ENOENT (No such file or directory) <0.000031> [/]'
    """
    arguments = ", ".join([*map(_quoted, event.paths), *([] if event.flags is None else [flag_names(event.flags)])])
    text = f"[pid {event.pid}] {event.call}({arguments}) = {_result(event)} <{event.duration:.6f}>{_decided(event)}"
    return text if event.trusted else f"{text} NOT WHAT THE SUPERVISOR SERVED"


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


def _decided(event: Event) -> str:
    """The mount or the rule, and what the Supervisor did."""
    parts = [printable(part) for part in (event.decided, event.served) if part]
    return f" [{', '.join(parts)}]" if parts else ""
