"""Paths of HTTP requests, brought to one form before they are judged; what servers read in different ways is refused.

>>> normal_path("/%61%2d/x?q=%2f")
'/a-/x?q=%2f'
>>> matcher("/v1/*/items").fullmatch("/v1/7/items") is not None
True
"""

from __future__ import annotations

import re

PATH_MAX = 8192
"""Characters of a request's target."""

_ESCAPE = re.compile("%([0-9A-Fa-f]{2})")
_PLAIN = re.compile(r"/[!-~]*")  # printable ASCII without a space
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_DELIMITERS = frozenset(";#?")  # to some servers the path ends there, or a part of it
_DECODINGS = 4  # some servers decode more than once


def normal_path(target: str) -> str:
    """The path and query of a request's target: escapes of letters, digits and `-._~` decoded, others in capitals. The
    query stays as it is. ValueError says why it is none, or ambiguous: dot segments, `;`, `#`, an escaped slash, `?`,
    backslash or control character, and whatever becomes one of these when it is decoded again."""
    if len(target) > PATH_MAX:
        raise ValueError(f"is longer than {PATH_MAX} characters")
    if not _PLAIN.fullmatch(target):
        raise ValueError("does not start with / or holds a character that must be escaped")
    path, mark, query = target.partition("?")
    if "#" in target:
        raise ValueError("holds #")
    _refuse_ambiguous(path)
    return _ESCAPE.sub(_shown, path) + mark + query


def _shown(escape: re.Match[str]) -> str:
    return _decoded(escape) if _decoded(escape) in _UNRESERVED else escape[0].upper()


def _decoded(escape: re.Match[str]) -> str:
    return chr(int(escape[1], 16))


def _refuse_ambiguous(path: str) -> None:
    slashes = path.count("/")
    if "%" in _ESCAPE.sub("", path):
        raise ValueError("holds % that begins no escape")
    for _ in range(_DECODINGS):
        if path.count("/") != slashes or "\\" in path or any(ord(c) < 32 or ord(c) == 127 for c in path):
            raise ValueError("holds a backslash, or an escaped slash or control character")
        if set(path) & _DELIMITERS:
            raise ValueError("holds ;, or an escaped # or ?")
        if any(segment in (".", "..") for segment in path.split("/")):
            raise ValueError("holds a . or .. segment")
        decoded = _ESCAPE.sub(_decoded, path)
        if decoded == path:
            return
        path = decoded
    raise ValueError("is escaped more than once")


def matcher(pattern: str) -> re.Pattern[str]:
    """What paths without their query must match: `*` is any run of characters."""
    return re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL)


def normal_pattern(pattern: str) -> str:
    """The one form of a pattern. ValueError: no path could match it."""
    if "?" in pattern:
        raise ValueError("holds ?: a query is not judged")
    return normal_path(pattern)
