"""Copies of a guest's files for the host. Everything is opened by the sentry in the guest's view; links are made, never
followed; on the host side nothing is opened but below the directory that the caller names, name by name."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from . import _core
from ._errors import GuestFault

_CHUNK = 1 << 20
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

Fetch = Callable[[_core.Fetch, bytes], int]


def check_name(name: str) -> str:
    """A name in a listing comes from a guest: one that could lead elsewhere ends the guest."""
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise GuestFault(f"a directory of the guest holds the name {name!r}")
    return name


def export(fetch: Fetch, source: bytes, target: str) -> None:
    """Copy the guest's directory `source` into `target`, or the file `source` to the file of that name in it."""
    os.makedirs(target, exist_ok=True)
    top = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            folder = fetch(_core.Fetch.LIST, source)
        except NotADirectoryError:
            name = check_name(os.fsdecode(source.rstrip(b"/").rpartition(b"/")[2]))
            return _copy_file(fetch, source, top, name)
        os.close(folder)
        waiting = [(source, "")]
        while waiting:
            waiting += _copy_folder(fetch, *waiting.pop(), top)
    finally:
        os.close(top)


@contextmanager
def _descend(top: int, path: str) -> Iterator[int]:
    """A descriptor of the directory `path` below `top`, made where missing. No link is followed on the way."""
    here = os.dup(top)
    try:
        for name in filter(None, path.split("/")):
            with suppress(FileExistsError):
                os.mkdir(name, 0o777, dir_fd=here)
            inner = os.open(name, _DIRECTORY, dir_fd=here)
            os.close(here)
            here = inner
        yield here
    finally:
        os.close(here)


def _copy_folder(fetch: Fetch, source: bytes, below: str, top: int) -> list[tuple[bytes, str]]:
    """Copy what is no directory; return the directories."""
    folders = []
    try:
        guest = fetch(_core.Fetch.LIST, source)
    except (FileNotFoundError, NotADirectoryError):
        return []  # gone meanwhile
    try:
        with _descend(top, below) as host, os.scandir(guest) as entries:
            for entry in entries:
                name = check_name(entry.name)
                path = source.rstrip(b"/") + b"/" + os.fsencode(name)
                if entry.is_dir(follow_symlinks=False):
                    folders.append((path, f"{below}/{name}"))
                elif entry.is_symlink():
                    _copy_link(guest, host, name)
                elif entry.is_file(follow_symlinks=False):
                    with suppress(FileNotFoundError):
                        _copy_file(fetch, path, host, name)
    finally:
        os.close(guest)
    return folders


def _replace(make: Callable[[], int | None], folder: int, name: str) -> int | None:
    """Make a new entry, in the place of a file or link of that name."""
    try:
        return make()
    except FileExistsError:
        os.unlink(name, dir_fd=folder)
        return make()


def _copy_link(guest: int, host: int, name: str) -> None:
    text = os.readlink(name, dir_fd=guest)
    _replace(lambda: os.symlink(text, name, dir_fd=host), host, name)


def _copy_file(fetch: Fetch, path: bytes, host: int, name: str) -> None:
    source = fetch(_core.Fetch.READ, path)
    try:
        mode = regular(source, path)
        target = _replace(lambda: os.open(name, _NEW, 0o600, dir_fd=host), host, name)
        assert target is not None
        try:
            while data := os.read(source, _CHUNK):
                while data:
                    data = data[os.write(target, data) :]
            os.fchmod(target, mode & 0o777)  # never set-user-id
        finally:
            os.close(target)
    finally:
        os.close(source)


def regular(fd: int, path: bytes) -> int:
    """The mode of a fetched file, which may be anything: OSError unless it is a regular file."""
    mode = os.fstat(fd).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fsdecode(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "not a regular file", os.fsdecode(path))
    return mode
