"""What runs a program: the interpreter that a file's first bytes name.

>>> runs_by(b"#! /bin/sh -e\\n")
By(path='/bin/sh', is_loader=False)
>>> runs_by(b"text") is None
True
"""

from __future__ import annotations

import os
import re
import struct
from typing import NamedTuple

HEAD = 1 << 14  # bytes that are looked at
_LINE = re.compile(rb"#![ \t]*([^ \t\n\0]+)(?=[ \t\n\0])")
_LINE_MAX = 256
_ELF = struct.Struct("<4s12xHH12xQ14xHH")  # magic, type, machine, then of the program headers: offset, size, count
_SEGMENT = struct.Struct("<I4xQ16xQ")
_X86_64, _KINDS, _INTERPRETER = 62, (2, 3), 3


class By(NamedTuple):
    """`path` is empty for a static program; `is_loader` for a program's, which runs no script."""

    path: str
    is_loader: bool


def runs_by(head: bytes) -> By | None:
    """None: it is no program."""
    if head.startswith(b"#!"):
        line = _LINE.match(head[:_LINE_MAX].ljust(_LINE_MAX, b"\0"))
        return By(os.fsdecode(line[1]), False) if line else None
    if len(head) < _ELF.size:
        return None
    magic, kind, machine, offset, size, count = _ELF.unpack_from(head)
    if magic != b"\x7fELF" or kind not in _KINDS or machine != _X86_64 or size != 56:
        return None
    for at in range(offset, min(offset + count * size, len(head) - size + 1), size):
        what, start, length = _SEGMENT.unpack_from(head, at)
        if what == _INTERPRETER:
            return By(os.fsdecode(head[start : start + length].rstrip(b"\0")), True)
    return By("", False)
