"""The trail: records of served calls in memory that a sentry shares with us."""

from __future__ import annotations

import fcntl
import mmap
import os

from .binding import Malformed, ffi, lib


class Trail:
    """The shared ring of one guest's records. The descriptor goes to the sentry; sealed, so that no sentry can cut
    off memory that is mapped here."""

    def __init__(self, capacity: int = 1 << 20) -> None:
        if capacity < 1 << 16 or capacity & (capacity - 1):
            raise ValueError("capacity is a power of two, 64 KiB at least")
        size = lib.SBX_TRAIL_DATA + capacity
        self.fd = os.memfd_create("sandbox-trail", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.fd, size)
        fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        self._memory = mmap.mmap(self.fd, size)
        self._buffer = ffi.from_buffer(self._memory, require_writable=True)
        self._head = ffi.cast("struct sbx_trail *", self._buffer)
        self._head.version, self._head.capacity = lib.SBX_VERSION, capacity
        self._capacity, self._tail = capacity, 0  # kept here: what is shared can be overwritten by a broken sentry

    def drain(self) -> bytes:
        """Move out what was recorded since the last call, and wake a sentry that waits for room."""
        size = self._head.head - self._tail
        if not 0 <= size <= self._capacity:
            raise Malformed("the head of a trail is outside its ring")
        ring = lib.SBX_TRAIL_DATA
        start = self._tail % self._capacity
        first = min(size, self._capacity - start)
        data = self._memory[ring + start : ring + start + first] + self._memory[ring : ring + size - first]
        self._tail += size
        lib.sbx_trail_drained(self._head, self._tail)
        return data

    def counts(self) -> dict[int, tuple[int, int, int]]:
        """Served calls by number: how many were denied, failed, done."""
        rows = ffi.new("uint16_t[]", lib.SBX_TRAIL_ROWS)
        counted = lib.sbx_trail_counted(self._head, rows)
        return {nr: tuple(self._head.count[nr])[1:] for nr in rows[0:counted]}

    def close(self) -> None:
        if self.fd >= 0:
            ffi.release(self._buffer)
            self._memory.close()
            os.close(self.fd)
            self.fd = -1
