"""From the paths that were seen to the places that a policy grants.

What is changed where it lies is granted writable, alone; a name that is made, removed or replaced makes its directory
writable, or itself where that is broad. A directory that was listed is granted whole. Three entries of one directory
are folded to it (`_fold.py`), unless it is broad (`_broad.py`). A directory that was only looked at, or only worked in,
is an empty scratch of that name. What the default view has (`_standing.py`) and what the run itself made needs nothing.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from sandbox._paths import printable
from sandbox._toml import spells
from sandbox._view import Kind

from ._broad import TEMPORARY, is_broad
from ._fold import fold, parents, under
from ._seen import Access, Need, Seen
from ._standing import Standing

_READS = Need.LOOK | Need.READ | Need.LIST | Need.HERE
_CACHE = "/__pycache__"
_IDLE = ("/etc/locale.alias",)  # opened by whatever sets its locale, and missed by nothing


@dataclass
class Grant:
    """`used` are the paths at or below it that it is granted for."""

    path: str
    writable: bool = False
    scratch: bool = False
    used: dict[str, Access] = field(default_factory=dict)


def grants(seen: Seen) -> tuple[list[Grant], list[str]]:
    """Places, each once, and notes of what was left out."""
    deriving = _Deriving(seen)
    found = deriving.derive()
    return found, deriving.notes


class _Deriving:
    def __init__(self, seen: Seen) -> None:
        self._seen = seen
        self._standing = Standing()
        self._left: dict[str, list[str]] = {}
        self._scratch: set[str] = set()
        self._looked: set[str] = set()

    def derive(self) -> list[Grant]:
        writable = fold(set(self._writes()), self._standing.apart)
        readable = fold(set(self._reads(writable)))
        readable = {path for path in readable if under(path, writable) is None}
        self._scratch |= _lowest(self._looked, readable | writable)
        found = {path: Grant(path, writable=path in writable) for path in readable | writable}
        found.update({path: Grant(path, scratch=True) for path in self._scratch if path not in found})
        for path, access in self._seen.paths.items():
            top = under(path, found)
            if top is not None:
                found[top].used[path] = access
        return [found[path] for path in sorted(found)]

    @property
    def notes(self) -> list[str]:
        return [f"left out, {why}: {_some(paths)}" for why, paths in sorted(self._left.items())]

    # ---- written --------------------------------------------------------------------------------------------------

    def _writes(self) -> Iterator[str]:
        for path, access in self._seen.paths.items():
            for need in (Need.WRITE, Need.CHANGE, Need.HOLD):
                if access.need & need and not self._standing.has(path, need):
                    place = None if self._standing.leads_away(path, need) else self._written(path, need)
                    place = place and self._spelled(place)
                    if place and self._is_plain(place):
                        yield place

    def _written(self, path: str, need: Need) -> str | None:
        if self._standing.holder(path).kind is Kind.BYTES:
            self._leave("files that the default view makes up cannot be written", path)
            return None
        if need is Need.HOLD:
            return None if is_broad(path) else path
        if need is Need.WRITE and os.path.isdir(path) and is_broad(path):
            self._leave("attributes of a directory that many share", path)
            return None
        if need is Need.WRITE:
            return path if os.path.exists(path) else None
        return self._changed(path, os.path.dirname(path))

    def _changed(self, path: str, parent: str) -> str | None:
        if _CACHE in path and self._standing.holder(path).kind is Kind.HOST:
            self._leave("Python's caches in the read-only part of the default view", path)
            return None
        if not is_broad(parent):
            return parent if os.path.isdir(parent) else None
        if parent in TEMPORARY:
            self._scratch.add(parent)
            return None
        if not os.path.exists(path):
            self._leave("a name made in a directory that many share", path)
            return None
        return path

    # ---- read -----------------------------------------------------------------------------------------------------

    def _reads(self, writable: set[str]) -> Iterator[str]:
        for path, access in self._seen.paths.items():
            need = access.need & _READS
            if need & Need.LIST and is_broad(path):
                self._listed(path)
            if not need or under(path, writable) is not None or self._standing.has(path, need):
                continue
            place = None if self._is_by_the_way(path, need) else self._read(path, need)
            if place and under(place, writable) is None:
                yield place

    def _listed(self, path: str) -> None:
        if path != "/" and self._standing.holder(path).kind is Kind.SKELETON:
            self._leave("a directory that many share was listed", path)

    def _read(self, path: str, need: Need) -> str | None:
        if os.path.isdir(path):
            return self._directory(path, need)
        return self._spelled(path) if os.path.exists(path) and self._is_plain(path) else None

    def _is_by_the_way(self, path: str, need: Need) -> bool:
        """Looked at because its directory was listed, which shows it no more."""
        around = self._seen.paths.get(os.path.dirname(path))
        listed = around is not None and around.need & Need.LIST and is_broad(os.path.dirname(path))
        return path in _IDLE or bool(listed and need is Need.LOOK)

    def _directory(self, path: str, need: Need) -> str | None:
        if need & Need.LIST and not is_broad(path) and self._is_plain(path):
            return self._spelled(path)
        if self._spelled(path) == path and self._is_plain(path):
            self._looked.add(path)
        return None

    # ---- what cannot be granted -----------------------------------------------------------------------------------

    def _leave(self, why: str, path: str) -> None:
        self._left.setdefault(why, []).append(path)

    def _is_plain(self, path: str) -> bool:
        if (path + "/").startswith("/sys/"):
            self._leave("files of the kernel", path)
            return False
        with suppress(OSError):
            mode = os.stat(path).st_mode
            if stat.S_ISSOCK(mode) or stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
                self._leave("sockets and devices of the host", path)
                return False
        return True

    def _spelled(self, path: str) -> str | None:
        """The path, or the directory above it that TOML can spell: it holds Unicode only."""
        for top in (path, *parents(path)):
            if spells(top):
                if top == path or not is_broad(top):
                    return top
                break
        self._leave("TOML cannot spell the name", path)
        return None


def _lowest(looked: set[str], granted: set[str]) -> set[str]:
    """Directories that are there neither as, nor above, nor below another."""
    above = {parent for path in looked | granted for parent in parents(path)}
    return {path for path in looked if path not in above and under(path, granted) is None}


def _some(paths: list[str]) -> str:
    shown = [printable(path)[:80] for path in sorted(set(paths))]
    return ", ".join(shown[:4]) + (f" and {len(shown) - 4} more" if len(shown) > 4 else "")
