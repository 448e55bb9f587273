"""A path on the host, walked link by link as the kernel does, with every form that it takes on the way.

>>> forms("/dev/../usr/./bin", follow=True, tid=1)
(['/usr/bin'], ['/dev'])
"""

from __future__ import annotations

import os
import re

MOST_LINKS = 40
_DESCRIPTOR = re.compile("/proc/[0-9]+/(fd/[0-9]+|exe)")


def forms(path: str, follow: bool, tid: int) -> tuple[list[str], list[str]]:
    """The absolute paths that an absolute path of a thread stands for: one with each link on the way, the last without
    any. What a process has open already stays its descriptor. And the directories that `..` leaves."""
    found: list[str] = []
    left: list[str] = []
    done, rest = "/", [name for name in reversed(path.split("/")) if name not in ("", ".")]
    follow = follow or path.endswith("/")
    while rest and len(found) < MOST_LINKS:
        name = rest.pop()
        left += [done] if name == ".." else []
        done, here = (os.path.dirname(done), None) if name == ".." else (os.path.join(done, name), done)
        opened = not rest and _DESCRIPTOR.fullmatch(done)
        target = _link(done, tid) if here is not None and (rest or follow) and not opened else None
        if target is not None and here is not None:
            found.append(_joined(done, rest))
            done = "/" if target.startswith("/") else here
            rest += [name for name in reversed(target.split("/")) if name not in ("", ".")]
    return [*found, done], left


def _joined(here: str, rest: list[str]) -> str:
    return here if ".." in rest else os.path.join(here, *reversed(rest))


def _link(path: str, tid: int) -> str | None:
    if path in ("/proc/self", "/proc/thread-self"):
        return str(tid)
    try:
        return os.readlink(path)
    except OSError:
        return None
