"""Content in a descriptor: written once here, or read once from where a sentry points."""

from __future__ import annotations

import errno
import fcntl
import os
import stat

_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
_SOURCE_MAX = 64 << 20  # bytes of a file of the kernel's /proc


def memfd(content: bytes, name: str, flags: int = 0) -> int:
    """A file in memory with this content."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC | flags)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(fd, view) :]
    except BaseException:
        os.close(fd)
        raise
    return fd


def sealed(content: bytes, name: str) -> int:
    """The same, and nobody can change it any more; the descriptor is for reading only."""
    fd = memfd(content, name, os.MFD_ALLOW_SEALING)
    try:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
        return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(fd)


def read_source(fd: int) -> bytes:
    """All of a file of the kernel's /proc. A broken sentry may hand in anything: only a regular file is read."""
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        raise OSError(errno.EIO, "not a regular file")
    parts, size = [], 0
    while data := os.read(fd, 1 << 16):
        parts.append(data)
        size += len(data)
        if size > _SOURCE_MAX:
            raise OSError(errno.EFBIG, "too long")
    return b"".join(parts)
