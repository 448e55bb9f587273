"""Sentries and the processes of guests, from outside."""

from __future__ import annotations

import os
from collections.abc import Sequence

from .binding import ffi, lib


def spawn(path: str, sock_fd: int, walls: int, argv: Sequence[str]) -> tuple[int, int, int]:
    """Start an executable with `sock_fd` as its descriptor 3 and nothing else of the caller's: its pid, a pidfd, and
    the walls (bits of 1 << Wall) of `walls` that stand."""
    stand, pidfd = ffi.new("uint32_t *", walls), ffi.new("int *", -1)
    texts = [ffi.new("char[]", os.fsencode(word)) for word in argv]
    words = ffi.new("char *[]", [*texts, ffi.NULL])
    pid: int = lib.sbx_spawn(os.fsencode(path), words, sock_fd, stand, pidfd)
    if pid < 0:
        raise OSError(-pid, os.strerror(-pid), path)
    return pid, pidfd[0], stand[0]


def sweep(tag: int) -> int:
    """Kill every process of the guest with this tag; how many were found."""
    found: int = lib.sbx_sweep(tag)
    if found < 0:
        raise OSError(-found, os.strerror(-found))
    return found
