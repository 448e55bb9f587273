"""What a policy says of calls that look at a path: access, readlink, chdir, list (fs_stat.c, fs_cwd.c)."""

from __future__ import annotations

import errno
import os

from .._errors import PolicyError
from .answers import allowed, depends, fails, read_only
from .explanation import Said
from .walk import Walk, may

_WANTS = {"r": os.R_OK, "w": os.W_OK, "x": os.X_OK}


def access(walk: Walk, path: str, mode: str) -> Said:
    """Some of r, w and x, as of the identity that the guest runs with."""
    if not mode or set(mode) - set(_WANTS):
        raise PolicyError(f"explain: {mode!r} is no mode of access: some of r, w, x")
    wants = sum(_WANTS[letter] for letter in set(mode))
    found = walk(path)
    if found.kind in ("special", "missing"):
        return depends(found) if found.kind == "special" else found.missing().said
    writes = wants & os.W_OK and found.kind in ("file", "directory")
    runs = wants & os.X_OK and found.kind == "file" and not found.place.executable
    if runs or not may(found, wants):
        return fails(errno.EACCES, found, f"the user may not {mode} {found.host or found.guest}")
    return read_only(found) if writes and not found.place.writable else allowed(found, "its rights allow it")


def readlink(walk: Walk, path: str, _: str) -> Said:
    found = walk(path, follow=False)
    if found.kind in ("special", "missing"):
        return depends(found) if found.kind == "special" else found.missing().said
    if found.kind != "link":
        return fails(errno.EINVAL, found, f"{found.guest} is no link")
    return allowed(found, "its text may be read")


def chdir(walk: Walk, path: str, _: str) -> Said:
    return _directory(walk, path, os.X_OK, "searched")


def list_(walk: Walk, path: str, _: str) -> Said:
    return _directory(walk, path, os.R_OK, "listed")


def _directory(walk: Walk, path: str, wants: int, done: str) -> Said:
    found = walk(path)
    if found.kind in ("special", "missing"):
        return depends(found) if found.kind == "special" else found.missing().said
    if found.kind != "directory":
        return fails(errno.ENOTDIR, found, f"{found.guest} is no directory")
    if not may(found, wants):
        return fails(errno.EACCES, found, f"{found.host} may not be {done} by the user")
    return allowed(found, f"it may be {done}")
