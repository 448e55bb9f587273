"""TOML in and out: text to a dictionary with errors that name the file, a dictionary to text that reads back equal.

>>> document = {"require": ["landlock"], "limits": {"memory": 1024}, "mounts": [{"target": "/a", "hide": []}]}
>>> print(dumps(document), end="")
require = ["landlock"]
<BLANKLINE>
[limits]
memory = 1024
<BLANKLINE>
[[mounts]]
target = "/a"
hide = []
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from ._errors import PolicyError

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover
    import tomli as tomllib

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_WORDS = {str: "text", bool: "true or false", int: "a whole number", list: "a list", dict: "a table"}
_SHORT = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r", '"': '\\"', "\\": "\\\\"}


def spells(text: str) -> bool:
    """Has TOML a text for it? It knows Unicode only."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def loads(data: bytes, name: str) -> dict[str, Any]:
    """The dictionary of TOML `data`; a PolicyError names `name` and the line."""
    try:
        return dict(tomllib.loads(data.decode("utf-8")))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise PolicyError(f"{name}: line {line}: not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise PolicyError(f"{name}: {_with_line(str(error), data)}") from None


def known(name: str, where: str, table: dict[str, Any], keys: Any) -> None:
    """PolicyError for a key of a table that is none of `keys`."""
    for key in table:
        if key not in keys:
            raise PolicyError(f"{name}: unknown key {where + '.' if where else ''}{key}; known: {', '.join(keys)}")


def typed(name: str, where: str, value: Any, kind: type[Any] | tuple[type[Any], ...]) -> None:
    """PolicyError unless the value is of the kind, or of one of them; true is no number."""
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        raise PolicyError(f"{name}: {where}: {value!r} is not {' or '.join(_WORDS[one] for one in kinds)}")


def _with_line(text: str, data: bytes) -> str:
    if re.search(r"\(at line \d", text):
        return text
    return f"{text} (at line {data.count(10) + 1})"  # "at end of document"


def _string(value: str) -> str:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise PolicyError(f"{value!r}: TOML holds no text that is not Unicode") from None
    parts = (_SHORT.get(c) or (f"\\u{ord(c):04x}" if c < " " or c == "\x7f" else c) for c in value)
    return '"' + "".join(parts) + '"'


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _string(key)


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(_lines(value)) + "}"
    if isinstance(value, Sequence):
        return "[" + ", ".join(map(_value, value)) + "]"
    raise TypeError(f"no TOML for {type(value).__name__}")


def _lines(table: Mapping[str, object]) -> list[str]:
    return [f"{_key(key)} = {_value(value)}" for key, value in table.items()]


def _is_tables(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, Mapping) for item in value)


def dumps(document: Mapping[str, Any]) -> str:
    """TOML of a dictionary whose values are plain values, tables of plain values, or lists of such; what is deeper is
    written inline."""
    plain = {k: v for k, v in document.items() if not isinstance(v, Mapping) and not _is_tables(v)}
    blocks = [_lines(plain)] if plain else []
    for key, value in document.items():
        if isinstance(value, Mapping):
            blocks.append([f"[{_key(key)}]", *_lines(value)])
        elif _is_tables(value):
            blocks += [[f"[[{_key(key)}]]", *_lines(item)] for item in value]
    return "\n\n".join("\n".join(block) for block in blocks) + "\n" if blocks else ""
