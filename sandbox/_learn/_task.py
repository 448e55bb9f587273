"""One thread of the traced program: its memory, its directories and descriptors, as /proc shows them while it stands
still."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Optional

PATH_MAX = 4096
_AT_FDCWD = -100

Leave = Callable[[int], None]
"""Called with the result of a call when it has returned."""
Enter = Callable[["Task", "tuple[int, ...]"], Optional[Leave]]
"""Called with the arguments of a call before it is made; None where its result does not matter."""


@dataclass
class Task:
    """`program` is the name under which the process was executed."""

    tid: int
    process: int
    program: str
    leave: Leave | None = None

    def read(self, address: int, size: int) -> bytes:
        """What can be read of these bytes."""
        try:
            fd = os.open(f"/proc/{self.tid}/mem", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return b""
        try:
            return os.pread(fd, size, address)
        except (OSError, OverflowError):
            return b""
        finally:
            os.close(fd)

    def word(self, address: int, size: int = 8) -> int:
        return int.from_bytes(self.read(address, size), "little")

    def text(self, address: int) -> str | None:
        """A NUL-terminated text; None where there is none."""
        data, end, _ = self.read(address, PATH_MAX).partition(b"\0")
        return os.fsdecode(data) if end and address else None

    def link(self, name: str) -> str:
        """A link below /proc/TID, or nothing."""
        try:
            return os.readlink(f"/proc/{self.tid}/{name}")
        except OSError:
            return ""

    def open_path(self, fd: int) -> str:
        """The path of a descriptor or, for AT_FDCWD, of the working directory; nothing for what has none."""
        number = signed(fd)
        path = self.link("cwd" if number == _AT_FDCWD else f"fd/{number}")
        return path if path.startswith("/") and not path.endswith(" (deleted)") else ""

    def absolute(self, dirfd: int, path: str) -> str:
        """Nothing for what is relative to no directory."""
        if path.startswith("/"):
            return path
        base = self.open_path(dirfd)
        return os.path.join(base, path) if base else ""


def signed(value: int) -> int:
    """An int argument, from its register."""
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value >> 31 else value
