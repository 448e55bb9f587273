"""Text for people: coloured by rich where a terminal is and rich is installed, else as it is."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any


def console() -> Any:
    """rich's, or None where nobody would see it or there is none."""
    if not sys.stdout.isatty():
        return None
    try:
        from rich.console import Console
    except ImportError:
        return None
    return Console(highlight=False, markup=False, emoji=False, soft_wrap=True)


def show(text: str, styles: Mapping[str, str]) -> None:
    """Print; `styles` by regular expression."""
    terminal = console()
    if terminal is None:
        return print(text)
    from rich.text import Text

    styled = Text(text)
    for pattern, style in styles.items():
        styled.highlight_regex(pattern, style)
    terminal.print(styled)
