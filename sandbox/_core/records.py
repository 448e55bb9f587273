"""The records in a batch. Only what a sentry wrote is read here: any byte may be wrong."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from .binding import Malformed, ffi, layout, lib

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
    flags: int | None
    """None: the record is of before version 3, which has none"""
    paths: tuple[bytes, ...]


_WHOLE = layout("struct sbx_record")
_NUMBERS = layout("struct sbx_record", "magic", "size", "sequence", "service")
_MAGIC = int(lib.SBX_RECORD_MAGIC)
_FIXED = {_MAGIC: _WHOLE.size, _MAGIC - 1: ffi.offsetof("struct sbx_record", "flags")}
_HEAD = struct.Struct("<II")
_NOTHING = bytes(_WHOLE.size)
_PATHS_MAX = 2 * int(lib.SBX_PATH_MAX) + 8


def _wrong(at: int, how: str) -> Malformed:
    return Malformed(f"a record at byte {at} {how}")


def records(data: bytes) -> Iterator[Record]:
    """The records of a batch, in order; Malformed where they are not whole records."""
    at, end = 0, len(data)
    while at < end:
        fixed, size = _measured(data, at)
        if size % 8:
            raise _wrong(at, "that is none")
        head = data[at : at + fixed] + _NOTHING[fixed:]
        _, _, when, sequence, pid, nr, error, mount, verdict, count, took, service, flags, _ = _WHOLE.unpack(head)
        paths = data[at + fixed : at + size].split(b"\0")
        if count > 2 or len(paths) <= count:
            raise _wrong(at, "without its paths")
        place, given = None if mount == _NO_MOUNT else mount, flags if fixed == _WHOLE.size else None
        yield Record(when, sequence, pid, nr, error, place, verdict, took, service, given, tuple(paths[:count]))
        at += size


def numbers(data: bytes) -> Iterator[tuple[int, int]]:
    """Sequence and service of each record, up to the first that is none: what has to be known in passing."""
    at, end = 0, len(data)
    while end - at >= _HEAD.size:
        try:
            fixed, size = _measured(data, at)
        except Malformed:
            return
        _, _, sequence, service = _NUMBERS.unpack(data[at : at + fixed] + _NOTHING[fixed:])
        yield sequence, service
        at += size


def _measured(data: bytes, at: int) -> tuple[int, int]:
    """How long the record's fixed part is, and all of it."""
    magic, size = _HEAD.unpack_from(data, at) if len(data) - at >= _HEAD.size else (0, 0)
    fixed = _FIXED.get(magic, 0)
    if not 0 < fixed <= size <= min(len(data) - at, fixed + _PATHS_MAX):
        raise _wrong(at, "that is none")
    return fixed, size
