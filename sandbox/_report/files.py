"""The tree of a page."""

from __future__ import annotations

from collections.abc import Iterator

from .kinds import MARKS, REFUSED
from .report import Report
from .text import more, number, shown
from .tree import Node

_NODES = 4000
_LONGEST = 120  # characters of a name
_REFUSED = MARKS.index(REFUSED)


def files(report: Report) -> Iterator[str]:
    tree = report.tree
    tree.fold(_NODES)
    if not tree.top.children and not tree.top.folded:
        yield "<p>No file.</p>\n"
        return
    yield from _list(tree.top, 0, tree.exact)


def _list(node: Node, depth: int, exact: bool) -> Iterator[str]:
    yield "<ul>\n"
    for name, child in sorted(node.children.items()):
        yield from _item(name, child, depth, exact)
    if node.folded:
        yield f"<li>{more(node.folded, exact)}{_marks(node.rest or [])}</li>\n"
    yield "</ul>"


def _item(name: str, node: Node, depth: int, exact: bool) -> Iterator[str]:
    """A directory is open where it is on top, or where something below it was refused."""
    total = node.total()
    told = shown(name, _LONGEST) + _marks(total)
    if not node.children and not node.folded:
        yield f"<li>{told}</li>\n"
        return
    yield f"<li><details{' open' if not depth or total[_REFUSED] else ''}><summary>{told}</summary>"
    yield from _list(node, depth + 1, exact)
    yield "</details></li>\n"


def _marks(counts: list[int]) -> str:
    marks = ((mark, mark.partition(" ")[0], count) for mark, count in zip(MARKS, counts) if count)
    return "".join(f'<i class="{css}">{mark} {number(count)}</i>' for mark, css, count in marks)
