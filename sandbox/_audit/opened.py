"""What a file was opened for: the flags of an open, in words and in strace's notation."""

from __future__ import annotations

import os
from functools import lru_cache

from .. import _core

_LARGE = 0o100000  # O_LARGEFILE of x86_64, which is 0 to its own C library
_MODES = ("O_RDONLY", "O_WRONLY", "O_RDWR", "O_ACCMODE")
_NAMES = (
    *("CREAT", "EXCL", "NOCTTY", "TRUNC", "APPEND", "NONBLOCK", "SYNC", "DSYNC", "ASYNC", "DIRECT"),
    *("TMPFILE", "DIRECTORY", "NOFOLLOW", "NOATIME", "CLOEXEC", "PATH"),
)
_BITS = (*((getattr(os, f"O_{name}"), f"O_{name}") for name in _NAMES), (_LARGE, "O_LARGEFILE"))
_MAKES = os.O_CREAT | os.O_TMPFILE & ~os.O_DIRECTORY


@lru_cache(maxsize=1)
def opens() -> frozenset[str]:
    """The calls that open a file."""
    return frozenset(row.name for row in _core.syscalls() if row.op == "open")


@lru_cache(maxsize=256)
def access(flags: int) -> tuple[str, ...]:
    """Some of read, write (truncation, too), create (where it is missing), or path.

    >>> access(os.O_RDONLY | os.O_CLOEXEC), access(os.O_RDWR | os.O_CREAT), access(os.O_PATH)
    (('read',), ('read', 'write', 'create'), ('path',))
    """
    if flags & os.O_PATH:
        return ("path",)
    mode = flags & os.O_ACCMODE
    told = {"read": mode != os.O_WRONLY, "write": mode != os.O_RDONLY or flags & os.O_TRUNC, "create": flags & _MAKES}
    return tuple(word for word, true in told.items() if true)


@lru_cache(maxsize=256)
def flag_names(flags: int) -> str:
    """As strace prints them; what has no name as a number.

    >>> flag_names(os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    'O_WRONLY|O_CREAT|O_TRUNC'
    """
    names, rest = [_MODES[flags & os.O_ACCMODE]], flags & ~os.O_ACCMODE
    for bits, name in _BITS:
        if bits and rest & bits == bits:
            names.append(name)
            rest &= ~bits
    return "|".join([*names, *([hex(rest)] if rest else [])])
