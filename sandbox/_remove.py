"""Removal of a directory that a guest has filled: as deep, as wide and as closed as it likes, with links and races."""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import suppress

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def make_scratch() -> str:
    """A new directory of the caller's alone."""
    return os.path.realpath(tempfile.mkdtemp(prefix="sandbox-"))


def remove_tree(path: str) -> None:
    """Remove a directory and all below it, following no link. What cannot be removed stays; nothing is raised.

    Directories are moved up to the top before they are emptied, so that depth costs neither stack nor descriptors."""
    try:
        top = os.open(path, _DIRECTORY)
    except OSError:
        return
    try:
        _empty(top)
    finally:
        os.close(top)
    with suppress(OSError):
        os.rmdir(path)


def _empty(top: int) -> None:
    moved = 0
    while True:
        names = os.listdir(top)
        progress = False
        for name in names:
            if _unlinked(top, name):
                progress = True
                continue
            moved = _lift(top, name, moved)
            progress = _rmdir(top, name) or progress
        if not names or not progress:
            return


def _unlinked(folder: int, name: str) -> bool:
    try:
        os.unlink(name, dir_fd=folder)
    except OSError:
        return False
    return True


def _rmdir(folder: int, name: str) -> bool:
    try:
        os.rmdir(name, dir_fd=folder)
    except OSError:
        return False
    return True


def _lift(top: int, name: str, moved: int) -> int:
    """Delete what the directory holds, and move its directories to the top. How many names were used for that."""
    try:
        if not stat.S_ISDIR(os.stat(name, dir_fd=top, follow_symlinks=False).st_mode):
            return moved
        os.chmod(name, 0o700, dir_fd=top)
        inner = os.open(name, _DIRECTORY, dir_fd=top)
    except OSError:
        return moved
    try:
        for child in os.listdir(inner):
            if _unlinked(inner, child) or _rmdir(inner, child):
                continue
            moved += 1
            with suppress(OSError):
                os.chmod(child, 0o700, dir_fd=inner)  # moving a directory writes its ".."
                os.rename(child, f".sandbox-{moved}", src_dir_fd=inner, dst_dir_fd=top)
    finally:
        os.close(inner)
    return moved
