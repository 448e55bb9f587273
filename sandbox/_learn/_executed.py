"""What the kernel itself opens to run a program, which no call of the program shows."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator


def interpreters(path: str) -> Iterator[str]:
    """The interpreter that a script names, and that one's where it is a script."""
    for _ in range(5):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return
        try:
            line = os.read(fd, 256).partition(b"\n")[0] if stat.S_ISREG(os.fstat(fd).st_mode) else b""
        finally:
            os.close(fd)
        words = line[2:].split() if line.startswith(b"#!") else []
        if not words:
            return
        path = os.fsdecode(words[0])
        yield path


def mapped_files(tid: int) -> Iterator[str]:
    """The files that a process has in its memory."""
    try:
        with open(f"/proc/{tid}/maps", "rb") as file:
            lines = file.read().splitlines()
    except OSError:
        return
    for line in lines:
        words = line.split(maxsplit=5)
        if len(words) == 6 and words[5].startswith(b"/") and b"\\" not in words[5]:
            yield os.fsdecode(words[5])
