"""What a policy says of calls that change what is there: chmod, chown, utime, truncate (fs_attr.c)."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from .._describe import describe
from .._view import Kind
from .answers import allowed, depends, fails, made_up, read_only
from .explanation import Said
from .walk import Found, Walk, may, own


def _changed(walk: Walk, path: str) -> Found | Said:
    """What is to be changed, or why it cannot be: held_change in fs_place.c."""
    found = walk(path)
    if found.kind in ("special", "missing"):
        return depends(found) if found.kind == "special" else found.missing().said
    if found.place.device:
        return Said("refused", "EPERM", describe(found.place), "it is a device of the host's", "sentry")
    if found.place.kind is Kind.SERVICE:
        return made_up(found)
    return found if found.place.writable else read_only(found)


def _of_owner(walk: Walk, path: str, _: str) -> Said:
    found = _changed(walk, path)
    if isinstance(found, Said):
        return found
    if not own(found):
        return fails(errno.EPERM, found, f"{found.host} is another user's")
    return allowed(found, "it is the user's own")


chmod: Callable[[Walk, str, str], Said] = _of_owner
chown: Callable[[Walk, str, str], Said] = _of_owner
"""To the owner and group that it has: others would need a capability."""


def utime(walk: Walk, path: str, _: str) -> Said:
    """To now; other times are the owner's to set."""
    found = _changed(walk, path)
    if isinstance(found, Said):
        return found
    if not own(found) and not may(found, os.W_OK):
        return fails(errno.EACCES, found, f"the user may not write {found.host}")
    return allowed(found, "its times may be set to now")


def truncate(walk: Walk, path: str, _: str) -> Said:
    found = walk(path)
    if found.kind in ("special", "missing"):
        return depends(found) if found.kind == "special" else found.missing().said
    if found.kind == "directory":
        return fails(errno.EISDIR, found, f"{found.guest} is a directory")
    if found.kind != "file":
        return fails(errno.EINVAL, found, f"{found.guest} is no regular file")
    if found.place.kind is not Kind.SERVICE and not may(found, os.W_OK):
        return fails(errno.EACCES, found, f"the user may not write {found.host or found.guest}")
    return allowed(found, "it may be cut") if found.place.writable else read_only(found)
