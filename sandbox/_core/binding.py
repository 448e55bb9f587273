"""The compiled module, and how its structs are read. The only file that imports sandbox._ffi."""

from __future__ import annotations

import struct
from typing import Any

from .._ffi import ffi, lib

__all__ = ["Malformed", "ffi", "layout", "lib", "read_struct", "text"]

_CODES = {
    "uint8_t": "B", "uint16_t": "H", "uint32_t": "I", "uint64_t": "Q",
    "int32_t": "i", "int64_t": "q", "uint8_t[28]": "28s",
}


class Malformed(ValueError):
    """Bytes from the other side that are not what csrc/core.h says."""


def text(pointer: Any) -> str:
    return str(ffi.string(pointer).decode())


def layout(name: str, *fields: str) -> struct.Struct:
    """A struct as core.h has it, for those that are read or written often; with pad bytes for the fields that are not
    named, where any are."""
    text = "<"
    for field, about in ffi.typeof(name).fields:
        text += _CODES[about.type.cname] if field in fields or not fields else f"{ffi.sizeof(about.type)}x"
    return struct.Struct(text)


def read_struct(pointer: str, data: bytes, exact: bool = False) -> Any:
    """A copy of the struct that `data` starts with (or is, exactly)."""
    value = ffi.new(pointer)
    size = ffi.sizeof(value[0])
    if len(data) < size or (exact and len(data) != size):
        raise Malformed(f"{len(data)} bytes where {pointer.rstrip(' *')} has {size}")
    ffi.memmove(value, data, size)
    return value
