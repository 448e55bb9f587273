"""The compiled module: what csrc/core.h declares. Typed where it is used, in sandbox/_core."""

from typing import Any

ffi: Any
lib: Any
