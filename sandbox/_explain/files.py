"""What a policy says of calls on paths: open, create, stat, exec. The order of the errors is the sentry's (fs_open.c,
image.c), which is Linux's; the tests hold them side by side."""

from __future__ import annotations

import errno
import os
import re
from dataclasses import replace

from .. import _remedies
from .._describe import describe
from .._errors import PolicyError
from .._programs import HEAD, runs_by
from .._view import Kind
from .answers import allowed, depends, fails, read_only
from .explanation import Said
from .walk import Ends, Found, Walk, may

_MODE = re.compile(r"([rwax])(\+?)[bt]?|([rwax])[bt](\+)")
_SCRIPTS_MAX = 5
_RUN = "its files may be run"
_WORD = {os.R_OK: "read", os.W_OK: "write", os.R_OK | os.W_OK: "read and write"}


def open_(walk: Walk, path: str, mode: str) -> Said:
    match = _MODE.fullmatch(mode)
    if match is None:
        raise PolicyError(f"explain: {mode!r} is no mode of open: r, w, a or x, and +")
    letter, plus = match[1] or match[3], match[2] or match[4]
    wants = os.R_OK | os.W_OK if plus else os.R_OK if letter == "r" else os.W_OK
    creates = letter != "r"
    if creates and path.endswith("/") and path.strip("/"):
        return fails(errno.EISDIR, walk(path.rstrip("/"), follow=False), "the name of a new file ends in no slash")
    found = walk(path, follow=letter != "x")
    if found.kind == "special":
        return depends(found)
    if found.kind == "missing":
        return _make(found) if creates and not path.endswith("/.") else found.missing().said
    if letter == "x":
        return fails(errno.EEXIST, found, f"{found.guest} is there")
    if found.place.kind is Kind.SERVICE and wants & os.W_OK:
        return read_only(found)
    return _use(found, wants, truncates=letter == "w")


def create(walk: Walk, path: str, _: str) -> Said:
    return open_(walk, path, "x")


def stat(walk: Walk, path: str, _: str) -> Said:
    found = walk(path)
    if found.kind == "special":
        return depends(found)
    return found.missing().said if found.kind == "missing" else allowed(found, "it may be looked at")


def exec_(walk: Walk, path: str, search: str) -> Said:
    """A name without a slash is searched for in `search`, as in PATH."""
    said = None
    for candidate in [path] if "/" in path else [f"{folder}/{path}" for folder in search.split(":") if folder]:
        try:
            said = _program(walk, candidate)
        except Ends as ends:
            said = ends.said
        if said.error not in ("ENOENT", "ENOTDIR"):
            return said
    if said is None or "/" in path:
        return said or Said("fails", "ENOENT", "PATH", "it is empty", "host")
    return Said("fails", "ENOENT", f"PATH: {search}", f"no directory there has {path}", "view")


def _program(walk: Walk, path: str) -> Said:
    first = told = None
    for _ in range(_SCRIPTS_MAX + 1):
        found = walk(path)
        told = _executable(found)
        if told.decision != "allowed":
            return told if first is None else told._replace(reason=f"{first.guest} is run by {path}: {told.reason}")
        first = first or found
        by = runs_by(_head(found))
        if by is None:
            return fails(errno.ENOEXEC, found, "it is neither a program for x86_64 nor a script with #!")
        if not by.path:
            return allowed(first, _RUN)
        path = os.path.normpath(os.path.join("/work", by.path))
        if by.is_loader:
            loader = walk(path)
            said = _executable(loader)
            reason = f"{found.guest} is run by {path}: {said.reason}"
            return allowed(first, _RUN) if said.decision == "allowed" else said._replace(reason=reason)
    assert told is not None and first is not None
    return fails(errno.ELOOP, first, "scripts of scripts, too deep")


def _executable(found: Found) -> Said:
    place = found.place
    if found.kind == "special":
        return depends(found)
    if found.kind == "missing":
        return found.missing().said
    if place.kind is Kind.SERVICE:
        remedy = _remedies.execute(place)
        return Said("refused", "EACCES", describe(place), "its content is made at each open", "sentry", remedy)
    if found.kind != "file":
        return fails(errno.EACCES, found, f"{found.guest} is no regular file but a {found.kind}")
    if place.kind is Kind.HOST and not may(found, os.R_OK):
        return fails(errno.EACCES, found, f"the user may not read {found.host}")
    if not place.executable:
        return Said("refused", "EACCES", describe(place), "nothing in it may run", "noexec", _remedies.execute(place))
    if place.kind is Kind.HOST and not may(found, os.X_OK):
        return fails(errno.EACCES, found, f"the user may not execute {found.host}")
    return allowed(found, _RUN)


def _head(found: Found) -> bytes:
    if isinstance(found.place.content, bytes) and found.place.kind is Kind.BYTES:
        return found.place.content[:HEAD]
    fd = os.open(found.host, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(fd, "rb") as file:
        return file.read(HEAD)


def _make(found: Found) -> Said:
    """A file that is not there yet."""
    parent = replace(found, host=os.path.dirname(found.host), kind="directory")
    if not may(parent, os.X_OK):
        return fails(errno.EACCES, found, f"the user may not search {parent.host}")
    if not found.place.writable:
        return read_only(found)
    if not may(parent, os.W_OK):
        return fails(errno.EACCES, found, f"the user may not write to {parent.host}")
    return allowed(found, "files may be made there")


def _use(found: Found, wants: int, *, truncates: bool) -> Said:
    """A file that is there."""
    writes, place = bool(wants & os.W_OK), found.place
    if found.kind == "directory" and writes:
        return fails(errno.EISDIR, found, f"{found.guest} is a directory")
    if found.kind == "socket":
        return fails(errno.ENXIO, found, f"{found.guest} is a socket")
    if found.kind == "device" and not place.device:
        return Said("refused", "EACCES", describe(place), "devices of a mount are not opened", "device")
    permitted = may(found, wants)
    first = truncates if found.kind == "file" else found.kind == "fifo"  # the mount is asked before the rights
    if writes and not place.writable and found.kind in ("file", "fifo") and (permitted or first):
        return read_only(found)
    if not permitted:
        return fails(errno.EACCES, found, f"the user may not {_WORD[wants]} {found.host or found.guest}")
    return allowed(found, f"it may be opened to {_WORD[wants]}")
