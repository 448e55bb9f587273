"""The files that a trail names, as a tree of a bounded number of nodes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Optional

from .kinds import CHANGED, MARKS, REFUSED, WRITTEN

_NODES = 20_000  # that are kept at once
_DEEPEST = 32  # names below each other; what is deeper is one name
_LONGEST = 255  # characters of a name; those that begin alike are one
_CACHED = 4096
Key = tuple[str, Optional[str]]
_PLACE = {mark: place for place, mark in enumerate(MARKS)}
_REFUSED, _CHANGED, _WRITTEN = _PLACE[REFUSED], _PLACE[CHANGED], _PLACE[WRITTEN]


class Node:
    """`counts` are calls by MARKS for this very name; `folded` nodes were below it, and their calls are `rest`."""

    __slots__ = ("children", "counts", "folded", "rest")

    def __init__(self) -> None:
        self.children: dict[str, Node] = {}
        self.counts = [0] * len(MARKS)
        self.folded = 0
        self.rest: list[int] | None = None

    def total(self) -> list[int]:
        """With all that is below."""
        return _sum(self.counts, self.rest, *(child.total() for child in self.children.values()))

    def take_in(self, leaf: Node) -> None:
        self.rest = _sum(self.rest, leaf.counts, leaf.rest)
        self.folded += 1 + leaf.folded


class Tree:
    """`exact` is False where nodes were folded that may have come again since."""

    def __init__(self, nodes: int = _NODES) -> None:
        self.top = Node()
        self.exact = True
        self._most, self._nodes = nodes, 0
        self._known: dict[Key, Node] = {}

    def add(self, path: str, mount: str | None, mark: str) -> None:
        key: Key = path, None if path.startswith("/") else mount
        node = self._known.get(key)
        if node is None:
            node = self._find(*key)
        node.counts[_PLACE[mark]] += 1

    def _find(self, path: str, mount: str | None) -> Node:
        if self._nodes >= self._most:
            self.exact = False
            self.fold(self._most // 2)
        node = self.top
        for name in names(path, mount):
            child = node.children.get(name)
            if child is None:
                child = node.children[name] = Node()
                self._nodes += 1
            node = child
        if len(self._known) >= _CACHED:
            self._known.clear()
        if len(path) <= _LONGEST:
            self._known[path, mount] = node
        return node

    def fold(self, most: int) -> None:
        """Until there are `most` nodes: names with the fewest calls go first, those with a refusal or a change last."""
        self._known.clear()
        while self._nodes > most:
            leaves = sorted(_leaves(self.top), key=lambda leaf: _weight(leaf[2]))
            for parent, name, leaf in leaves[: self._nodes - most]:
                parent.take_in(leaf)
                del parent.children[name]
                self._nodes -= 1


def names(path: str, mount: str | None) -> list[str]:
    """From the top down. Where a relative path began is not in a trail.

    >>> names("/etc//./hosts", "/"), names("src/a", "/work")
    (['/', 'etc', 'hosts'], ['relative, in /work', 'src', 'a'])
    """
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if len(parts) > _DEEPEST:
        parts[_DEEPEST - 1 :] = ["/".join(parts[_DEEPEST - 1 :])]
    begin = "/" if path.startswith("/") else f"relative, in {mount}" if mount else "relative, in no mount"
    return [part[:_LONGEST] for part in (begin, *parts)]


def _sum(*rows: list[int] | None) -> list[int]:
    return [sum(column) for column in zip(*(row for row in rows if row is not None))]


def _leaves(top: Node) -> Iterator[tuple[Node, str, Node]]:
    waiting = [top]
    while waiting:
        node = waiting.pop()
        for name, child in node.children.items():
            if child.children:
                waiting.append(child)
            else:
                yield node, name, child


def _weight(leaf: Node) -> tuple[bool, bool, int]:
    counts = _sum(leaf.counts, leaf.rest)
    return counts[_REFUSED] > 0, counts[_CHANGED] + counts[_WRITTEN] > 0, sum(counts)
