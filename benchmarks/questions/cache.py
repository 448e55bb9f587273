"""Files out of the kernel's cache, as far as it lets them go; and how much of them is in it still."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

__all__ = ["cached_kib", "forget"]


def forget(paths: Iterable[Path]) -> None:
    """Drop the clean pages of files, and of all files below folders. What a process has mapped stays: cached_kib says how much."""
    for path in _files(paths):
        with suppress(OSError):
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(fd)


def cached_kib(paths: Iterable[Path]) -> float:
    """By mincore. Of a file that this user might not write the kernel does not tell, and says that all of it is there."""
    return sum(_resident(path) for path in _files(paths)) * mmap.PAGESIZE / 1024


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    """Each file once, whatever it is called by."""
    found = {each.resolve() for path in paths for each in (path.rglob("*") if path.is_dir() else (path,))}
    return (path for path in sorted(found) if path.is_file())


def _resident(path: Path) -> int:
    """Pages. A private mapping that nobody touches brings none in."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as mapped:
            pages = (ctypes.c_ubyte * -(-len(mapped) // mmap.PAGESIZE))()
            start = ctypes.c_char.from_buffer(mapped)
            failed = ctypes.CDLL(None).mincore(ctypes.c_void_p(ctypes.addressof(start)), ctypes.c_size_t(len(mapped)), pages)
            del start  # or the mapping could not be closed
            return 0 if failed else sum(page & 1 for page in pages)
    except (OSError, ValueError):  # it may not be read, or is empty
        return 0
