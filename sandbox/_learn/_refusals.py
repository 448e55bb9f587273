"""Programs that do not run natively under a tracer as they run without one, or not at all."""

from __future__ import annotations

import os
import stat
from contextlib import suppress

_CAPABILITY = "security.capability"
_ELF, _ELF32 = b"\x7fELF", 1


def hindrance(path: str) -> str:
    """Why what was learned of a program would not be true; nothing where it would.

    >>> hindrance("/bin/true"), hindrance("/nowhere")
    ('', '')
    """
    with suppress(OSError):
        status = os.stat(path)
        if status.st_mode & stat.S_ISUID and status.st_uid != os.geteuid():
            return "it is set-user-ID, which has no effect under a tracer nor in a sandbox"
        if status.st_mode & stat.S_ISGID and status.st_mode & stat.S_IXGRP and status.st_gid != os.getegid():
            return "it is set-group-ID, which has no effect under a tracer nor in a sandbox"
        if os.geteuid() and _CAPABILITY in os.listxattr(path):
            return "it has file capabilities, which have no effect under a tracer nor in a sandbox"
        if _is_32_bit(path):
            return "it is a 32-bit program, which a sandbox refuses"
    return ""


def unseen(tid: int) -> str:
    """Why what a program does cannot be seen; nothing where it can."""
    try:
        os.readlink(f"/proc/{tid}/exe")
    except PermissionError:
        return "it may be executed but not read, so what it does is not seen, and a sandbox cannot load it"
    except OSError:
        pass
    return ""


def _is_32_bit(path: str) -> bool:
    with open(path, "rb") as file:
        head = file.read(5)
    return head[:4] == _ELF and head[4:] == bytes([_ELF32])


def why_untraced(pid: int, reason: str) -> str:
    """What keeps ptrace from a process of our own."""
    with suppress(OSError):
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            tracer = next((line.split()[1] for line in file if line.startswith("TracerPid:")), "0")
        if tracer != "0":
            return f"process {tracer} traces it already"
    with suppress(OSError), open("/proc/sys/kernel/yama/ptrace_scope", encoding="ascii") as file:
        scope = file.read().strip()
        if scope > "1":
            return f"kernel.yama.ptrace_scope is {scope}"
    return reason
