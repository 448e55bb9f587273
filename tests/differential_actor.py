"""Makes sequences of filesystem calls and says what each returned. Runs natively and inside a guest.

Reads a line with the repr of (number, calls), answers with the repr of [results, tree]."""

from __future__ import annotations

import ast
import ctypes
import errno
import os
import re
import stat
import sys
from contextlib import suppress
from typing import Any, Callable

DEPTH = 24  # of the directory that the calls begin in: ".." and links do not lead out of it, natively either
LIBC = ctypes.CDLL(None, use_errno=True)


class Actor:
    def __init__(self, base: bytes, number: int) -> None:
        self.top = os.path.join(base, b"%d" % number, *[b"p"] * DEPTH)
        os.makedirs(self.top)
        os.chdir(self.top)
        os.umask(0o022)
        self.fds: dict[int, int] = {}

    def path(self, path: bytes) -> bytes:
        """Paths are relative, or absolute below the directory that the calls begin in."""
        return self.top + path if path.startswith(b"/") else path

    def fd(self, slot: int) -> int:
        return self.fds.get(slot, 999)

    def where(self, slot: int) -> dict[str, Any]:
        return {} if slot < 0 else {"dir_fd": self.fd(slot)}

    # ---- the calls ------------------------------------------------------------------------------------------------

    def open(self, slot: int, at: int, path: bytes, flags: int, mode: int) -> None:  # noqa: A003
        fd = os.open(self.path(path), flags | os.O_NONBLOCK, mode, **self.where(at))
        self.close(slot)
        self.fds[slot] = fd

    def close(self, slot: int) -> None:
        if slot in self.fds:
            os.close(self.fds.pop(slot))

    def read(self, slot: int) -> bytes:
        return os.read(self.fd(slot), 50)

    def write(self, slot: int, data: bytes) -> int:
        return os.write(self.fd(slot), data)

    def fstat(self, slot: int) -> Any:
        return _status(os.fstat(self.fd(slot)))

    def ftruncate(self, slot: int, size: int) -> None:
        os.ftruncate(self.fd(slot), size)

    def fchmod(self, slot: int, mode: int) -> None:
        os.fchmod(self.fd(slot), mode)

    def fchdir(self, slot: int) -> None:
        os.fchdir(self.fd(slot))

    def list_fd(self, slot: int) -> Any:
        return sorted(os.listdir(self.fd(slot)))

    def link_fd(self, slot: int, path: bytes) -> None:
        os.link(f"/proc/self/fd/{self.fd(slot)}".encode(), self.path(path), follow_symlinks=True)

    def reopen(self, slot: int, flags: int) -> None:
        os.close(os.open(f"/proc/self/fd/{self.fd(slot)}", flags | os.O_NONBLOCK))

    def fd_name(self, slot: int) -> Any:
        name = os.readlink(f"/proc/self/fd/{self.fd(slot)}".encode())[len(self.top) :]
        return re.sub(rb"#\d+", b"#", name)  # of O_TMPFILE: an inode number

    def stat(self, at: int, path: bytes) -> Any:
        return _status(os.stat(self.path(path), **self.where(at)))

    def lstat(self, at: int, path: bytes) -> Any:
        return _status(os.lstat(self.path(path), **self.where(at)))

    def access(self, at: int, path: bytes, mode: int) -> bool:
        return os.access(self.path(path), mode, **self.where(at))

    def readlink(self, at: int, path: bytes) -> Any:
        target = os.readlink(self.path(path), **self.where(at))
        return target.replace(self.top, b"TOP")

    def list(self, path: bytes) -> Any:
        return sorted(os.listdir(self.path(path)))

    def mkdir(self, at: int, path: bytes, mode: int) -> None:
        os.mkdir(self.path(path), mode, **self.where(at))

    def rmdir(self, at: int, path: bytes) -> None:
        os.rmdir(self.path(path), **self.where(at))

    def unlink(self, at: int, path: bytes) -> None:
        os.unlink(self.path(path), **self.where(at))

    def rename(self, old: bytes, new: bytes, flags: int) -> None:
        if LIBC.renameat2(-100, self.path(old), -100, self.path(new), flags) < 0:
            raise OSError(ctypes.get_errno(), "")

    def link(self, old: bytes, new: bytes, follow: bool) -> None:
        os.link(self.path(old), self.path(new), follow_symlinks=follow)

    def symlink(self, target: bytes, at: int, path: bytes) -> None:
        os.symlink(self.path(target), self.path(path), **self.where(at))

    def mknod(self, at: int, path: bytes, kind: int, mode: int) -> None:
        os.mknod(self.path(path), kind | mode, **self.where(at))

    def chmod(self, path: bytes, mode: int) -> None:
        os.chmod(self.path(path), mode)

    def truncate(self, path: bytes, size: int) -> None:
        os.truncate(self.path(path), size)

    def utime(self, path: bytes, seconds: int, follow: bool) -> Any:
        os.utime(self.path(path), (seconds, seconds), follow_symlinks=follow)
        return os.stat(self.path(path), follow_symlinks=follow).st_mtime

    def setxattr(self, path: bytes, value: bytes, follow: bool) -> None:
        os.setxattr(self.path(path), "user.x", value, follow_symlinks=follow)

    def getxattr(self, path: bytes, follow: bool) -> bytes:
        return os.getxattr(self.path(path), "user.x", follow_symlinks=follow)

    def chdir(self, path: bytes) -> None:
        os.chdir(self.path(path))

    def getcwd(self) -> bytes:
        return os.getcwdb()[len(self.top) :]

    def umask(self, mask: int) -> int:
        return os.umask(mask)

    def statvfs(self, path: bytes) -> int:
        return os.statvfs(self.path(path)).f_namemax

    def chain(self, name: bytes, count: int) -> None:
        """A chain of links: name0 -> name1 -> ..."""
        for number in range(count):
            os.symlink(name + b"%d" % (number + 1), name + b"%d" % number)

    # ---- the end --------------------------------------------------------------------------------------------------

    def finish(self) -> dict[bytes, Any]:
        for slot in list(self.fds):
            self.close(slot)
        for up in range(DEPTH, -1, -1):  # the calls may have closed a directory above
            with suppress(OSError):
                os.chmod(_above(self.top, up), 0o755)
        with suppress(OSError):  # the calls may have removed it, too
            os.chdir(self.top)
        return _tree(self.top)


def _above(path: bytes, up: int) -> bytes:
    return b"/".join(path.split(b"/")[:-up]) if up else path


def _status(status: os.stat_result) -> Any:
    size = status.st_size if stat.S_ISREG(status.st_mode) else None
    return (oct(status.st_mode), status.st_nlink, size, status.st_uid, status.st_gid)


def _tree(top: bytes) -> dict[bytes, Any]:
    found: dict[bytes, Any] = {}
    for folder, folders, files in os.walk(top):
        for name in (*folders, *files):
            path = os.path.join(folder, name)
            found[path[len(top) :]] = _entry(path).replace(top, b"TOP")
    return found


def _entry(path: bytes) -> bytes:
    try:
        status = os.lstat(path)
    except OSError as error:  # a directory that can be read and not searched
        return errno.errorcode[error.errno or 0].encode()
    text = repr(_status(status)).encode()
    with suppress(OSError):
        if stat.S_ISLNK(status.st_mode):
            text += os.readlink(path)
        elif stat.S_ISREG(status.st_mode):
            with open(path, "rb") as file:
                text += file.read()
    return text


def _attempt(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    try:
        return function(*arguments)
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    except ValueError as error:
        return str(error)


def main() -> None:
    base = os.fsencode(sys.argv[1])
    for line in sys.stdin.buffer:
        number, calls = ast.literal_eval(line.decode())
        actor = Actor(base, number)
        results = [_attempt(getattr(actor, name), arguments) for name, *arguments in calls]  # type: ignore[arg-type]
        sys.stdout.buffer.write(repr([results, actor.finish()]).encode() + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
