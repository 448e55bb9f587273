"""Lines as TOML with their reasons, and the reasons out of TOML again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sandbox import _toml
from sandbox._errors import PolicyError
from sandbox._paths import printable
from sandbox._policy import Policy

from ._lines import Line
from ._merge import lines_of, policy_of

_TABLES = ("mounts", "scratch", "files")
_DEFAULTS = ("writable = false", "noexec = false", "hide = []", "executable = false")


def text(found: Sequence[Line], head: Iterable[str]) -> str:
    """TOML that loads as the policy of these lines. A comment is one line whatever stands in it.

    >>> print(text([Line("env", "A", "b", "given\\n[limits]")], ["two\\nlines"]), end="")
    # two\\nlines
    <BLANKLINE>
    [env]
    # given\\n[limits]
    A = "b"
    """
    blocks = ["\n".join(map(_comment, head))]
    require = [line.key for line in found if line.table == "require"]
    blocks += [_toml.dumps({"require": require}).rstrip()] if require else []
    blocks += _network([line for line in found if line.table == "network"])
    for table in ("limits", "env"):
        rows = [row for line in found if line.table == table for row in (*_why(line), _row(line))]
        blocks += ["\n".join([f"[{table}]", *rows])] if rows else []
    blocks += [_block(line) for table in _TABLES for line in found if line.table == table]
    return "\n\n".join(filter(None, blocks)) + "\n"


def _comment(words: str) -> str:
    """Backslashes stay: what was escaped already is not escaped again."""
    return ("# " + "".join(c if c == "\\" else printable(c) for c in words)).rstrip()


def _why(line: Line) -> list[str]:
    return [_comment(line.why)] if line.why else []


def _row(line: Line) -> str:
    return _toml.dumps({line.key: line.value}).rstrip()


def _block(line: Line) -> str:
    return "\n".join([*_why(line), _policy_text([line])])


def _policy_text(found: list[Line]) -> str:
    return "\n".join(row for row in policy_of(found).to_toml().rstrip().split("\n") if row not in _DEFAULTS)


def _network(found: list[Line]) -> list[str]:
    """A word alone, or tables; with a word among rules a list in one."""
    if len(found) <= 1 or any(isinstance(line.value, str) for line in found):
        whys = [row for line in found for row in _why(line)]
        return ["\n".join([*whys, _policy_text(found)])] if found else []
    return [_block(line) for line in found]


def reasons(source: str, name: str) -> dict[tuple[str, str], str]:
    """By table and key, the comments that stand before the tables and rows of a policy as `text` writes it. What is
    written otherwise has none."""
    found: dict[tuple[str, str], str] = {}
    for block in source.split("\n\n"):
        rows = block.strip().split("\n")
        if rows[0] in ("[limits]", "[env]"):
            _pairs(rows[0], rows[1:], name, found)
        else:
            why = " ".join(row[2:] for row in rows if row.startswith("# "))
            for line in _lines("\n".join(rows), name) if why else ():
                found[line.table, line.key] = why
    return found


def _pairs(head: str, rows: list[str], name: str, found: dict[tuple[str, str], str]) -> None:
    for why, row in zip(rows, rows[1:]):
        for line in _lines(f"{head}\n{row}", name) if why.startswith("# ") and not row.startswith("#") else ():
            found[line.table, line.key] = why[2:]


def _lines(block: str, name: str) -> list[Any]:
    try:
        return lines_of(Policy.loads(block, name=name), {})
    except PolicyError:
        return []
