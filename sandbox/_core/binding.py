"""The compiled module, and how its structs are read. The only file that imports sandbox._ffi."""

from __future__ import annotations

from typing import Any

from .._ffi import ffi, lib

__all__ = ["Malformed", "ffi", "lib", "read_struct", "text"]


class Malformed(ValueError):
    """Bytes from the other side that are not what csrc/core.h says."""


def text(pointer: Any) -> str:
    return str(ffi.string(pointer).decode())


def read_struct(pointer: str, data: bytes, exact: bool = False) -> Any:
    """A copy of the struct that `data` starts with (or is, exactly)."""
    value = ffi.new(pointer)
    size = ffi.sizeof(value[0])
    if len(data) < size or (exact and len(data) != size):
        raise Malformed(f"{len(data)} bytes where {pointer.rstrip(' *')} has {size}")
    ffi.memmove(value, data, size)
    return value
