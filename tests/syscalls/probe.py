"""Runs one case of cases/ and prints what each call returned, so that two runs can be compared line by line.

    python3 probe.py FILE FUNCTION        in an empty directory
"""

from __future__ import annotations

import ctypes
import errno
import importlib.util
import os
import stat
import sys
from typing import Any, Callable, Optional

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long
NUMBERS = {
    "read": 0, "write": 1, "open": 2, "stat": 4, "lstat": 6, "ioctl": 16, "access": 21, "sendfile": 40, "fcntl": 72,
    "flock": 73, "truncate": 76, "getcwd": 79, "chdir": 80, "rename": 82, "mkdir": 83, "rmdir": 84, "creat": 85,
    "link": 86, "unlink": 87, "symlink": 88, "readlink": 89, "chmod": 90, "chown": 92, "fchown": 93, "lchown": 94,
    "umask": 95, "utime": 132, "mknod": 133, "statfs": 137, "setxattr": 188, "getxattr": 191, "listxattr": 194,
    "getdents64": 217, "utimes": 235, "inotify_add_watch": 254, "openat": 257, "mkdirat": 258, "mknodat": 259,
    "fchownat": 260, "futimesat": 261, "newfstatat": 262, "unlinkat": 263, "renameat": 264, "linkat": 265,
    "symlinkat": 266, "readlinkat": 267, "fchmodat": 268, "faccessat": 269, "utimensat": 280, "fallocate": 285,
    "inotify_init1": 294, "renameat2": 316, "execveat": 322, "copy_file_range": 326, "statx": 332,
    "faccessat2": 439, "fchmodat2": 452,
}  # fmt: skip
AT_FDCWD, AT_SYMLINK_NOFOLLOW, AT_REMOVEDIR, AT_SYMLINK_FOLLOW, AT_EMPTY_PATH = -100, 0x100, 0x200, 0x400, 0x1000


class Probe:
    """What a case is given: calls are made through it and print themselves."""

    def __init__(self) -> None:
        self._inodes: dict[tuple[int, int], int] = {}

    def show(self, label: str, value: Any) -> None:
        print(f"{label}: {self._text(value)}", flush=True)

    def do(self, label: str, function: Callable[..., Any], *args: Any, **named: Any) -> Any:
        """The function's result, or None and its errno printed."""
        try:
            value = function(*args, **named)
        except OSError as error:
            self.show(label, errno.errorcode.get(error.errno or 0, str(error)))
            return None
        self.show(label, value)
        return value

    def raw(self, name: str, *args: Any, label: str = "") -> int:
        """A system call as it is: its value, or -errno. Bytes are passed as a NUL-terminated string."""
        ctypes.set_errno(0)
        made = [ctypes.c_char_p(a) if isinstance(a, bytes) else ctypes.c_long(a) if isinstance(a, int) else a
                for a in args]  # fmt: skip
        value = int(LIBC.syscall(ctypes.c_long(NUMBERS[name]), *made))
        if value == -1:
            value = -ctypes.get_errno()
        self.show(label or f"{name}{self._arguments(args)}", errno.errorcode[-value] if value < 0 else value)
        return value

    def _arguments(self, args: tuple[Any, ...]) -> str:
        shown = [a if isinstance(a, int) else a[:40] if isinstance(a, bytes) else "..." for a in args]
        return "(" + ", ".join(map(str, shown)) + ")"

    def _text(self, value: Any) -> str:
        if isinstance(value, os.stat_result):
            kind = stat.S_IFMT(value.st_mode)
            size = value.st_size if kind != stat.S_IFDIR else "dir"
            return (
                f"mode {oct(value.st_mode)} links {value.st_nlink} size {size} "
                f"owner {value.st_uid}:{value.st_gid} rdev {value.st_rdev}"
            )
        if isinstance(value, os.statvfs_result):
            return f"bsize {value.f_bsize} namemax {value.f_namemax} flags {value.f_flag & os.ST_RDONLY}"
        return repr(value)

    def inode(self, value: os.stat_result) -> int:
        """A small number for a file, the same for the same file."""
        return self._inodes.setdefault((value.st_dev, value.st_ino), len(self._inodes))

    def tree(self, top: str = ".") -> None:
        """Every name below `top` with its mode and link."""
        for folder, folders, files in os.walk(os.fsencode(top)):
            folders.sort()
            for name in sorted((*folders, *files)):
                path = os.path.join(folder, name)
                status = os.lstat(path)
                link = os.readlink(path) if stat.S_ISLNK(status.st_mode) else b""
                self.show(repr(path), (oct(status.st_mode), status.st_nlink, link))


def write(path: Any, data: bytes = b"content", mode: int = 0o644) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    os.write(fd, data)
    os.close(fd)


def child(function: Callable[[], Optional[int]]) -> int:
    """Run in a forked process; its wait status. Output is flushed before and after."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        try:
            code = function() or 0
            sys.stdout.flush()
        except BaseException as error:  # noqa: B902  the child must not go on with the parent's work
            print(f"child: {error!r}", flush=True)
            code = 99
        os._exit(code)
    return os.waitpid(pid, 0)[1]


def main() -> None:
    sys.modules["probe"] = sys.modules["__main__"]
    spec = importlib.util.spec_from_file_location("case", sys.argv[1])
    assert spec and spec.loader
    case = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(case)
    os.mkdir("case")  # so that ".." is the same file system, as it is natively
    os.chdir("case")
    getattr(case, sys.argv[2])(Probe())


if __name__ == "__main__":
    main()
