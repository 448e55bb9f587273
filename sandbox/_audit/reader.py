"""The batches of an audit file, in one pass, each checked before it is believed."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import IO, NamedTuple

from .format import (
    BLOCK,
    CHAIN,
    END,
    HEADER,
    LARGEST,
    LARGEST_TEXT,
    RECORDS,
    SERVED,
    VERSION,
    WITHOUT_CALL,
    AuditDamage,
    decision,
    follow,
    request,
)
from .guest import Guest, guest_of, is_rotated

_UNREADABLE = (ValueError, AttributeError, TypeError, KeyError, RecursionError, struct.error)
_KINDS = (HEADER, RECORDS, SERVED, *WITHOUT_CALL.values(), END, CHAIN)
_LARGEST = {HEADER: LARGEST_TEXT, END: LARGEST_TEXT}


class Frame(NamedTuple):
    """A block where it was found."""

    offset: int
    magic: bytes
    number: int
    head: bytes
    data: bytes


class Reader:
    """The batches of a file, each with its guest. `guests` are those that have begun and not ended; files that follow
    each other share them."""

    def __init__(self, file: IO[bytes], name: str = "?", guests: dict[int, Guest] | None = None) -> None:
        self._file, self._name = file, name
        self._at = 0
        self.guests = {} if guests is None else guests

    def __iter__(self) -> Iterator[tuple[Guest, Frame]]:
        while (frame := self._frame()) is not None:
            guest = self._guest(frame)
            if guest.version > 1:
                self._check(guest, frame)
            self._note(guest, frame)
            yield guest, frame

    def _damage(self, offset: int, why: str, number: int | None = None) -> AuditDamage:
        guest = self.guests.get(number) if number is not None else None
        record = guest.sequence + 1 if guest else None
        return AuditDamage(self._name, offset, why, number, record)

    def _take(self, size: int) -> bytes:
        data = self._file.read(size)
        while len(data) < size and (more := self._file.read(size - len(data))):
            data += more
        self._at += len(data)
        return data

    def _frame(self) -> Frame | None:
        offset, head = self._at, self._take(BLOCK.size)
        if not head:
            return None
        if len(head) < BLOCK.size:
            raise self._damage(offset, "ends within a block")
        magic, number, length = BLOCK.unpack(head)
        if magic not in _KINDS or length > _LARGEST.get(magic, LARGEST):
            raise self._damage(offset, "what begins here is no block of an audit file")
        data = self._take(length)
        if len(data) < length:
            raise self._damage(offset, "ends within a block", number)
        return Frame(offset, magic, number, head, data)

    def _guest(self, frame: Frame) -> Guest:
        if frame.magic == HEADER:
            return self._begun(frame)
        guest = self.guests.get(frame.number)
        if guest is None or guest.rotated:
            raise self._damage(frame.offset, "a block of a guest that has not begun", frame.number)
        if frame.magic == CHAIN:
            raise self._damage(frame.offset, "a seal without its batch", frame.number)
        return guest

    def _begun(self, frame: Frame) -> Guest:
        try:
            guest = guest_of(frame.number, frame.data)
        except _UNREADABLE:
            raise self._damage(frame.offset, "a header that is none", frame.number) from None
        if guest.version > VERSION:
            raise self._damage(frame.offset, f"version {guest.version}: written by a newer sandbox", frame.number)
        before = self.guests.get(frame.number)
        if before and guest.part > 1 and before.value != guest.value:
            raise self._damage(frame.offset, "does not go on from the file before", frame.number)
        return guest

    def _check(self, guest: Guest, frame: Frame) -> None:
        try:
            seal = self._frame()
        except AuditDamage as damage:
            raise self._damage(frame.offset, f"its seal: {damage.why}", frame.number) from None
        if seal is None:
            raise self._damage(frame.offset, "ends within a batch", frame.number)
        value = follow(guest.value, frame.head, frame.data)
        if (seal.magic, seal.number, seal.data) != (CHAIN, frame.number, value):
            raise self._damage(frame.offset, "is not what was written: the chain does not hold", frame.number)
        guest.value = value

    def _note(self, guest: Guest, frame: Frame) -> None:
        try:
            self._NOTES.get(frame.magic, Reader._nothing)(self, guest, frame.data)
        except _UNREADABLE:
            raise self._damage(frame.offset, "a block that is none", frame.number) from None

    def _nothing(self, guest: Guest, data: bytes) -> None:
        pass

    def _begins(self, guest: Guest, data: bytes) -> None:
        self.guests[guest.number] = guest

    def _served(self, guest: Guest, data: bytes) -> None:
        guest.has_served(*request(data))

    def _decided(self, guest: Guest, data: bytes) -> None:
        decision(data)

    def _ends(self, guest: Guest, data: bytes) -> None:
        guest.rotated = is_rotated(data)
        if not guest.rotated:
            del self.guests[guest.number]

    _NOTES: dict[bytes, Callable[[Reader, Guest, bytes], None]] = {
        HEADER: _begins,
        SERVED: _served,
        **dict.fromkeys(WITHOUT_CALL.values(), _decided),
        END: _ends,
    }
