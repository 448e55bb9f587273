"""The file of a rotated trail: its lock, its size, its names. Knows nothing of what is in it but how it ends."""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import suppress

from .._errors import SandboxError
from .format import SEAL, Batch, is_seal, write_all

_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY


class Disk:
    """One file and `keep` older ones. After an error it is closed, and every further write is refused."""

    def __init__(self, path: str, keep: int) -> None:
        self.path, self.size = path, 0
        self._keep, self._mode, self._fd = keep, 0o666, -1
        self._open()
        if self.size and not self._ends_well():
            self.shift()

    def write(self, batch: Batch) -> None:
        if self._fd < 0:
            raise SandboxError(f"audit file {self.path}: an earlier record could not be written")
        try:
            write_all(self._fd, batch)
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._fd, self.size)
            self.close()
            raise
        self.size += batch.size

    def shift(self) -> None:
        """Begin a new file: what is at the path gets the number 1, what had that gets 2, the last is gone."""
        try:
            for number in range(self._keep - 1, 0, -1):
                with suppress(FileNotFoundError):
                    os.replace(f"{self.path}.{number}", f"{self.path}.{number + 1}")
            os.replace(self.path, f"{self.path}.1")
        finally:
            self.close()
        self._open()

    def close(self) -> None:
        if self._fd >= 0:
            fcntl.flock(self._fd, fcntl.LOCK_UN)  # a forked child may hold the descriptor
        self.forget()

    def forget(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> None:
        fd = os.open(self.path, _FLAGS, self._mode)
        try:
            self._own(fd)
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd

    def _own(self, fd: int) -> None:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise SandboxError(f"audit file {self.path}: no regular file, and cannot be rotated")
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SandboxError(f"audit file {self.path}: another writer has it") from None
        self.size, self._mode = status.st_size, stat.S_IMODE(status.st_mode)

    def _ends_well(self) -> bool:
        """What was cut off, or is of another version, is not gone on with: what follows could not be read."""
        return is_seal(os.pread(self._fd, SEAL, max(0, self.size - SEAL)))
