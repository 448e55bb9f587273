"""Domain names as rules and resolvers compare them.

>>> parse_name("B\u00fccher.Example.")
'xn--bcher-kva.example'
>>> guest_name("api.example.com."), guest_name("2130706433"), guest_name("a b")
('api.example.com', None, None)
"""

from __future__ import annotations

import re
import unicodedata

_LABEL = re.compile("[a-z0-9_-]+")
_ENDS_IN_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)\.?", re.IGNORECASE | re.DOTALL)


def ends_in_number(text: str) -> bool:
    """Would some resolver read it as an address, in decimal, octal or hexadecimal, in one part or four?"""
    return bool(_ENDS_IN_NUMBER.fullmatch(text))


def guest_name(name: object) -> str | None:
    """`parse_name` of what a guest asks for; None for what is no name."""
    try:
        return parse_name(name) if isinstance(name, str) else None
    except ValueError:
        return None


def parse_name(text: str) -> str:
    """A domain name in lower-case ASCII, without a trailing dot."""
    if len(text) > 254:
        raise ValueError("a name has at most 253 characters")
    name = ".".join(map(_label, text[:-1].split(".") if text.endswith(".") else text.split(".")))
    if len(name) > 253:
        raise ValueError("a name has at most 253 characters")
    if ends_in_number(name):
        raise ValueError("a name does not end in a number")
    return name


def _label(text: str) -> str:
    label = text.lower() if text.isascii() else _idna(text)
    if not label:
        raise ValueError("an empty label")
    if len(label) > 63:
        raise ValueError("a label has at most 63 characters")
    if not _LABEL.fullmatch(label):
        raise ValueError(f"label {text!r} holds more than letters, digits, - and _; * stands alone or first, as *.name")
    return label


def _idna(text: str) -> str:
    """A label that does not come back as it was would be another name than the reader sees."""
    try:
        label = text.encode("idna").decode("ascii")
        seen = label.encode("ascii").decode("idna")
    except UnicodeError as error:
        raise ValueError(f"label {text!r}: {error}") from None
    if seen != unicodedata.normalize("NFC", text).lower():
        raise ValueError(f"label {text!r} is read as {seen!r}; write that, or the xn-- form that is meant")
    return label
