"""A path on the host, walked link by link as the kernel does, with every form that it takes on the way.

>>> forms("/dev/../usr/./bin", follow=True)
['/usr/bin']
"""

from __future__ import annotations

import os

MOST_LINKS = 40


def forms(path: str, follow: bool) -> list[str]:
    """The absolute paths that an absolute path stands for: one with each link on the way, the last without any. What
    lies below /proc is the process's own and is not walked."""
    found: list[str] = []
    done, rest = "/", [name for name in reversed(path.split("/")) if name not in ("", ".")]
    follow = follow or path.endswith("/")
    while rest and len(found) < MOST_LINKS:
        name = rest.pop()
        done, here = (os.path.dirname(done), None) if name == ".." else (os.path.join(done, name), done)
        if done == "/proc":
            return [*found, _joined(done, rest)]
        target = _link(done) if here is not None and (rest or follow) else None
        if target is not None and here is not None:
            found.append(_joined(done, rest))
            done = "/" if target.startswith("/") else here
            rest += [name for name in reversed(target.split("/")) if name not in ("", ".")]
    return [*found, done]


def _joined(here: str, rest: list[str]) -> str:
    return here if ".." in rest else os.path.join(here, *reversed(rest))


def _link(path: str) -> str | None:
    try:
        return os.readlink(path)
    except OSError:
        return None
