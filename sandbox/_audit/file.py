"""An audit file that is rotated. One process has it, and all its guests that are given it share it."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from typing import Any

from .._errors import PolicyError
from .._grants import set_fields
from .._paths import AnyPath, host_path
from .disk import Disk
from .format import BLOCK, END, HEADER, RECORDS, SEAL, SERVED, batch, request
from .guest import Guest

_CLOSING = 160  # bytes of what ends a guest's part, and more


@dataclass(frozen=True, init=False)
class AuditFile:
    """An audit file that is rotated, for `audit=`.

    Before it would grow beyond `max_bytes` it is renamed to `path.1`, and what was `path.1` to `path.2`; `keep` of them
    stay. A batch (1 MiB at most) is never divided, and may alone be more than `max_bytes`. Each file can be read and
    verified without the others, and names the last chain value of the one before. Guests of one process may share it;
    a second process is refused (SandboxError). PolicyError: it cannot be.

    >>> AuditFile("/var/log/trail", max_bytes=1 << 20).keep
    8
    """

    path: str
    max_bytes: int = 64 << 20
    keep: int = 8

    def __init__(self, path: AnyPath, *, max_bytes: int = 64 << 20, keep: int = 8) -> None:
        real = os.path.realpath(host_path(path, "audit file"))  # what is renamed is the file, not a link to it
        for name, value in (("max_bytes", max_bytes), ("keep", keep)):
            if type(value) is not int or value < 1:
                raise PolicyError(f"audit file {real}: {name}: {value!r} is no positive number")
        set_fields(self, path=real, max_bytes=max_bytes, keep=keep)


class Writer:
    """What the guests of an AuditFile write to. Their chains go on from file to file."""

    def __init__(self, target: AuditFile) -> None:
        self.disk = Disk(target.path, target.keep)
        self.users = 0
        self._most = target.max_bytes
        self._used = self.disk.size > 0
        self._guests: list[Guest] = []
        self._lock = threading.Lock()

    def put(self, guest: Guest, magic: bytes, data: bytes) -> None:
        with self._lock:
            more = BLOCK.size + len(data) + SEAL + _CLOSING * (len(self._guests) + 1)
            if self._used and self.disk.size + more > self._most:
                self._rotate()
            self._write(guest, magic, data)
            self._used |= magic != HEADER
            self._NOTES.get(magic, lambda *_: None)(self, guest, data)

    def _write(self, guest: Guest, magic: bytes, data: bytes) -> None:
        made = batch(guest.number, guest.value, magic, data)
        self.disk.write(made)
        guest.value = made.value

    def _rotate(self) -> None:
        for guest in self._guests:
            self._write(guest, END, guest.end(rotated=True))
        self.disk.shift()
        for guest in self._guests:
            guest.part += 1
            self._write(guest, HEADER, guest.header())
        self._used = False

    def _begins(self, guest: Guest, _: bytes) -> None:
        self._guests.append(guest)

    def _records(self, guest: Guest, data: bytes) -> None:
        guest.pass_over(data)

    def _served(self, guest: Guest, data: bytes) -> None:
        guest.has_served(*request(data))

    def _ends(self, guest: Guest, _: bytes = b"") -> None:
        self._guests = [other for other in self._guests if other is not guest]

    _NOTES: dict[bytes, Any] = {HEADER: _begins, RECORDS: _records, SERVED: _served, END: _ends}

    def drop(self, guest: Guest) -> None:
        """A guest whose end could not be written goes, too."""
        with self._lock:
            self._ends(guest)


class Shared:
    """The outlet of one guest to an AuditFile."""

    def __init__(self, target: AuditFile) -> None:
        self._target = target
        with _registry:
            self._writer = _writers.get(target) or Writer(target)
            _writers[target] = self._writer
            self._writer.users += 1

    def put(self, guest: Guest, magic: bytes, data: bytes) -> None:
        self._writer.put(guest, magic, data)

    def close(self, guest: Guest) -> None:
        self._writer.drop(guest)
        with _registry:
            self._writer.users -= 1
            if not self._writer.users:
                self._writer.disk.close()
                del _writers[self._target]


_writers: dict[AuditFile, Writer] = {}
_registry = threading.Lock()


def _forget_after_fork() -> None:
    global _registry
    _registry = threading.Lock()
    for writer in _writers.values():
        writer.disk.forget()
    _writers.clear()


os.register_at_fork(after_in_child=_forget_after_fork)
