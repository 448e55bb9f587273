"""Paths as a policy means them: guest paths absolute and normal, host paths absolute.

Bytes that are no UTF-8 survive."""

from __future__ import annotations

import os
from typing import Any, Union

from ._errors import PolicyError

AnyPath = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]
PATH_MAX = 4096  # with the NUL


def _text(path: Any, what: str) -> str:
    try:
        text = os.fsdecode(path)
    except TypeError:
        raise PolicyError(f"{what}: {path!r} is no path") from None
    if not text:
        raise PolicyError(f"{what}: empty path")
    if "\0" in text:
        raise PolicyError(f"{what}: {text!r} holds a NUL byte")
    if len(os.fsencode(text)) >= PATH_MAX:
        raise PolicyError(f"{what}: path of {len(os.fsencode(text))} bytes, more than {PATH_MAX - 1}")
    return text


def guest_path(path: AnyPath, what: str = "guest path") -> str:
    """The normal form of an absolute guest path.

    >>> guest_path("/data//in/./")
    '/data/in'
    """
    text = _text(path, what)
    if not text.startswith("/"):
        raise PolicyError(f"{what}: {text}: a guest path starts with /")
    return "/" + relative_path(text.lstrip("/"), what) if text.strip("/") else "/"


def relative_path(path: AnyPath, what: str) -> str:
    """The normal form of a path below something, without leading or trailing slash."""
    text = _text(path, what)
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if text.startswith("/"):
        raise PolicyError(f"{what}: {text}: must not start with /")
    if ".." in parts:
        raise PolicyError(f"{what}: {text}: .. is not allowed")
    if any(len(os.fsencode(part)) > 255 for part in parts):
        raise PolicyError(f"{what}: {text}: a name of more than 255 bytes")
    return "/".join(parts)


def host_path(path: AnyPath, what: str) -> str:
    """An absolute host path; a relative one counts from the caller's directory."""
    return os.path.abspath(_text(path, what))


def printable(text: str) -> str:
    """Text from a guest, safe on a terminal: control characters, backslashes and bytes that are no UTF-8 escaped.

    >>> printable("a\\x1b[2J\\udcff")
    'a\\\\x1b[2J\\\\xff'
    """
    return "".join(_shown(c) for c in text)


def _shown(c: str) -> str:
    if "\udc80" <= c <= "\udcff":
        return f"\\x{ord(c) - 0xDC00:02x}"
    if c == "\\" or not c.isprintable():
        return c.encode("unicode_escape", "backslashreplace").decode("ascii")
    return c
