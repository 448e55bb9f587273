"""Many paths as few directories.

>>> sorted(fold({"/srv/a/x", "/srv/a/y", "/srv/a/z", "/srv/b/x"}))
['/srv/a', '/srv/b/x']
>>> sorted(fold({"/srv/a/1/x", "/srv/a/2/x", "/srv/a/3/x"}))
['/srv/a']
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator

from ._broad import is_broad

ENOUGH = 3
"""Entries of one directory, used or with something used below, in whose place the directory is granted."""


def parents(path: str) -> Iterator[str]:
    """The directories above a path, the nearest first."""
    while path not in ("/", ""):
        path = os.path.dirname(path)
        yield path


def fold(paths: Collection[str], apart: Callable[[str, str], bool] = lambda path, top: False) -> set[str]:
    """Directories that are not broad stand for ENOUGH of their entries; what lies below another is left out, unless it
    is `apart` from that."""
    entries: dict[str, set[str]] = {}
    for path in paths:
        below = path
        for parent in parents(path):
            names = entries.setdefault(parent, set())
            if below in names:
                break
            names.add(below)
            below = parent
    tops = {parent for parent, names in entries.items() if len(names) >= ENOUGH and not is_broad(parent)} | set(paths)
    return {path for path in tops if all(top not in tops or apart(path, top) for top in parents(path))}


def under(path: str, places: Collection[str]) -> str | None:
    """The nearest of the places at or above a path."""
    return next((top for top in (path, *parents(path)) if top in places), None)
