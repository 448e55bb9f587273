"""Text of a page. INVARIANT page-text: all that a trail says goes through `shown`, and stands between tags only."""

from __future__ import annotations

import time
from collections.abc import Iterable
from html import escape

from .._audit.show import seconds
from .._paths import printable

LONGEST = 160  # characters of a name


def shown(text: str, most: int = LONGEST) -> str:
    """A name that any guest may have given: escaped as for a terminal, then for HTML.

    >>> shown("<b>\\n\\u202e"), shown("x" * 9, 4)
    ('<bdi>&lt;b&gt;\\\\n\\\\u202e</bdi>', '<bdi>xxxx</bdi>…')
    """
    safe = printable(text[: most + 1])
    return f"<bdi>{escape(safe[:most], quote=False)}</bdi>{'…' if len(safe) > most else ''}"


def number(value: int) -> str:
    return f"{value:,}"


def took(value: float) -> str:
    return escape(seconds(value))


def clock(when: float, date: bool = False) -> str:
    """UTC, to the microsecond."""
    if not 0 < when < 1 << 35:  # a broken sentry's
        return "?"
    whole = time.strftime("%Y-%m-%d %H:%M:%S" if date else "%H:%M:%S", time.gmtime(when))
    return whole + f"{when % 1:.6f}"[1:]


def more(count: int, exact: bool) -> str:
    """What says that there are others, or nothing."""
    if not count:
        return ""
    return f"… and {'' if exact else 'up to '}{number(count)} more"


def table(heads: Iterable[str], rows: Iterable[Iterable[str]], empty: str, rest: str = "") -> str:
    """Cells are HTML. A head that ends with # is of numbers. `empty` is what to say of no rows."""
    body = "".join(f"<tr>{_cells(heads, row)}</tr>\n" for row in rows)
    if not body:
        return f"<p>{empty}</p>\n" if empty else ""
    named = "".join(f'<th class="{_kind(head)}">{head.rstrip("#")}</th>' for head in heads)
    after = f"<p>{rest}</p>\n" if rest else ""
    return f"<table><thead><tr>{named}</tr></thead><tbody>\n{body}</tbody></table>\n{after}"


def _cells(heads: Iterable[str], row: Iterable[str]) -> str:
    return "".join(f'<td class="{_kind(head)}">{cell}</td>' for head, cell in zip(heads, row))


def _kind(head: str) -> str:
    return "n" if head.endswith("#") else "t"
