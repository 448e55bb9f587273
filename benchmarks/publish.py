"""A result that is kept: its JSON in results/, and its tables between two marks of the READMEs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

from ._build import HERE
from .figures import figures_table
from .result import Result, load, save
from .tables import about, short_table, tables

__all__ = ["BLOCKS", "RESULTS", "block", "kept", "publish", "with_block"]

RESULTS = HERE / "results"
BEGIN, END = "<!-- python -m benchmarks publish: begins -->", "<!-- ends -->"
NOTHING = "No result is kept yet: `make bench` makes one of your machine."


def _short(result: Result) -> str:
    return f"{about(result)}. The first column is native's own time, the others are times native; second core idle.\n\n{short_table(result)}"


def _whole(result: Result) -> str:
    return f"### What was asked for\n\nBold: missed.\n\n{figures_table(result)}\n\n### Everything\n\n{tables(result)}".rstrip()


BLOCKS: dict[Path, Callable[[Result], str]] = {HERE.parent / "README.md": _short, HERE / "README.md": _whole}


def kept() -> Path | None:
    """The newest result that is kept."""
    return max(RESULTS.glob("*.json"), default=None)


def block(path: Path) -> str:
    """What stands in that README of the newest result."""
    newest = kept()
    return BLOCKS[path](load(newest)) if newest else NOTHING


def with_block(text: str, content: str) -> str:
    """ValueError: the marks are not there."""
    made, count = re.subn(f"{BEGIN}.*?{END}", lambda _: f"{BEGIN}\n{content}\n{END}", text, flags=re.DOTALL)
    if count != 1:
        raise ValueError("no place for the tables")
    return made


def publish(source: Path) -> Iterator[Path]:
    """Keep a result under the day that it was made on, and write its tables. Gives what was written."""
    result = load(source)
    target = RESULTS / f"{result.made[:10]}.json"
    save(target, result)
    yield target
    for path in BLOCKS:
        path.write_text(with_block(path.read_text(), block(path)))
        yield path
