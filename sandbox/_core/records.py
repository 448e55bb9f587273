"""The records in a batch. Only what a sentry wrote is read here: any byte may be wrong."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from .binding import Malformed, ffi, lib

_CODES = {"uint8_t": "B", "uint16_t": "H", "uint32_t": "I", "int32_t": "i", "uint64_t": "Q"}
_NO_MOUNT = 0xFFFF


class Record(NamedTuple):
    time_ns: int
    sequence: int
    pid: int
    nr: int
    error: int
    mount: int | None
    verdict: int
    duration_ns: int
    service: int
    paths: tuple[bytes, ...]


def layout(*names: str) -> struct.Struct:
    """The fixed part of struct sbx_record as core.h has it, with pad bytes for the fields that are not named."""
    text = "<"
    for name, field in ffi.typeof("struct sbx_record").fields:
        text += _CODES[field.type.cname] if name in names or not names else f"{ffi.sizeof(field.type)}x"
    return struct.Struct(text)


_WHOLE = layout()
_NUMBERS = layout("magic", "size", "sequence", "service")
_MAGIC, _FIXED = int(lib.SBX_RECORD_MAGIC), _WHOLE.size


def _wrong(at: int, how: str) -> Malformed:
    return Malformed(f"a record at byte {at} {how}")


def records(data: bytes) -> Iterator[Record]:
    """The records of a batch, in order; Malformed where they are not whole records."""
    at, end = 0, len(data)
    while at < end:
        if end - at < _FIXED:
            raise _wrong(at, "that is none")
        magic, size, when, sequence, pid, nr, error, mount, verdict, count, took, service = _WHOLE.unpack_from(data, at)
        if magic != _MAGIC or size % 8 or not _FIXED <= size <= end - at:
            raise _wrong(at, "that is none")
        paths = data[at + _FIXED : at + size].split(b"\0")
        if count > 2 or len(paths) <= count:
            raise _wrong(at, "without its paths")
        place = None if mount == _NO_MOUNT else mount
        yield Record(when, sequence, pid, nr, error, place, verdict, took, service, tuple(paths[:count]))
        at += size


def numbers(data: bytes) -> Iterator[tuple[int, int]]:
    """Sequence and service of each record, up to the first that is none: what has to be known in passing."""
    at, end = 0, len(data)
    while end - at >= _FIXED:
        magic, size, sequence, service = _NUMBERS.unpack_from(data, at)
        if magic != _MAGIC or not _FIXED <= size <= end - at:
            return
        yield sequence, service
        at += size
