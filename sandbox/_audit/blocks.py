"""Blocks of one guest on their way to where they stay: an outlet."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from .format import END, HEADER, batch, write_all
from .guest import Guest


class Outlet(Protocol):
    def put(self, guest: Guest, magic: bytes, data: bytes) -> None:
        """Write a batch, and move the guest's chain value on."""

    def close(self, guest: Guest) -> None: ...


class Descriptor:
    """A file of any kind, by its path. It is appended to, and so may others."""

    def __init__(self, path: Any) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)

    def put(self, guest: Guest, magic: bytes, data: bytes) -> None:
        made = batch(guest.number, guest.value, magic, data)
        write_all(self._fd, made)
        guest.value = made.value

    def close(self, guest: Guest) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class FileObject:
    """A binary file of the caller's, which stays open."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def put(self, guest: Guest, magic: bytes, data: bytes) -> None:
        made = batch(guest.number, guest.value, magic, data)
        block = b"".join(made.parts)
        written = self._file.write(block)
        while written is not None and written < len(block):
            block = block[written:]
            written = self._file.write(block)
        guest.value = made.value

    def close(self, guest: Guest) -> None:
        self._file.flush()


class Blocks:
    """A guest's trail as blocks. Its end is written where all before was: what has none is not whole."""

    def __init__(self, outlet: Outlet, guest: int, about: Mapping[str, object]) -> None:
        self._outlet, self._guest, self._whole = outlet, Guest(guest, about), True
        try:
            self.put(HEADER, self._guest.header())
        except BaseException:
            self._outlet.close(self._guest)
            raise

    def begin(self, wake: Callable[[], None]) -> None:
        pass

    def full(self) -> bool:
        return False

    def put(self, magic: bytes, data: bytes) -> None:
        whole, self._whole = self._whole, False
        self._outlet.put(self._guest, magic, data)
        self._whole = whole

    def close(self) -> None:
        try:
            if self._whole:
                self.put(END, self._guest.end(rotated=False))
        finally:
            self._outlet.close(self._guest)
