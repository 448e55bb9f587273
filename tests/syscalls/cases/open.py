from __future__ import annotations

import ctypes
import errno
import os
import resource
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from probe import AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_FOLLOW, Probe, child, write

FLAGS = ("O_RDONLY", "O_WRONLY", "O_RDWR", "O_CREAT", "O_EXCL", "O_TRUNC", "O_APPEND", "O_DIRECTORY", "O_NOFOLLOW",
         "O_PATH", "O_NONBLOCK", "O_CLOEXEC", "O_SYNC", "O_DSYNC", "O_NOATIME", "O_NOCTTY", "O_TMPFILE")  # fmt: skip


def _kinds() -> list[str]:
    write("file")
    os.mkdir("dir")
    os.symlink("file", "link")
    os.symlink("dir", "dirlink")
    os.symlink("nowhere", "dangling")
    os.symlink("loop", "loop")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind("sock")
    write("closed", mode=0)
    return ["file", "dir", "link", "dirlink", "dangling", "loop", "sock", "closed", "missing", "missing/below",
            "file/below", "dir/", "file/", "dirlink/", "link/", "dangling/", ".", "..", "dir/..", "dir/../file", ""]  # fmt: skip


def every_flag_on_every_kind(p: Probe) -> None:
    for name in FLAGS:
        for kind in _kinds():
            fd = p.do(f"{name} {kind!r}", os.open, kind, getattr(os, name), 0o640)
            if fd is not None:
                p.do("  fstat", os.fstat, fd)
                os.close(fd)
        p.tree()
        for made in ("missing", "nowhere", "file", "closed", "sock", "link", "dirlink", "dangling", "loop"):
            if os.path.lexists(made):
                os.unlink(made)
        os.rmdir("dir")


def pairs_of_flags(p: Probe) -> None:
    kinds = _kinds()
    pairs = [
        os.O_WRONLY | os.O_CREAT | os.O_EXCL,
        os.O_RDWR | os.O_TRUNC,
        os.O_WRONLY | os.O_APPEND | os.O_CREAT,
        os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW,
        os.O_PATH | os.O_NOFOLLOW,
        os.O_PATH | os.O_DIRECTORY,
        os.O_CREAT | os.O_NOFOLLOW,
        os.O_CREAT | os.O_DIRECTORY,
        os.O_TMPFILE | os.O_RDWR,
        os.O_TMPFILE | os.O_RDWR | os.O_EXCL,
        3,
    ]
    for flags in pairs:
        for kind in kinds:
            fd = p.do(f"{flags:#o} {kind!r}", os.open, kind, flags, 0o600)
            if fd is not None:
                os.close(fd)
    p.tree()


def modes_and_umask(p: Probe) -> None:
    for mask in (0, 0o022, 0o077, 0o777, 0o027):
        old = os.umask(mask)
        p.show("old umask", old)
        for mode in (0o777, 0o666, 0o1777, 0):
            name = f"{mask:o}-{mode:o}"
            fd = os.open(name, os.O_CREAT | os.O_WRONLY, mode)
            p.do(name, os.fstat, fd)
            os.close(fd)
    p.show("inherited", child(lambda: os.umask(0)))


def status_flags(p: Probe) -> None:
    import fcntl

    write("file")
    for name in FLAGS:
        if name not in ("O_DIRECTORY", "O_TMPFILE", "O_EXCL"):
            fd = p.do(name, os.open, "file", getattr(os, name) | os.O_RDWR if name != "O_WRONLY" else os.O_WRONLY)
            if fd is not None:
                p.do("  F_GETFL", fcntl.fcntl, fd, fcntl.F_GETFL)
                p.do("  F_GETFD", fcntl.fcntl, fd, fcntl.F_GETFD)
                os.close(fd)
    for flags in (0, os.O_CLOEXEC):
        fd = p.raw("openat", AT_FDCWD, b"file", flags, 0)
        p.show("F_GETFD", fcntl.fcntl(fd, fcntl.F_GETFD))


def path_only(p: Probe) -> None:
    os.mkdir("dir")
    write("dir/file")
    os.symlink("file", "dir/link")
    fd = p.do("O_PATH dir", os.open, "dir", os.O_PATH)
    p.do("openat", os.open, "file", os.O_RDONLY, dir_fd=fd)
    p.do("read", os.read, fd, 1)
    p.do("fchdir", os.fchdir, fd)
    p.show("cwd", os.path.basename(os.getcwd()))
    p.do("fchmod", os.fchmod, fd, 0o700)
    link = p.do("O_PATH link", os.open, "link", os.O_PATH | os.O_NOFOLLOW)
    p.do("fstat", os.fstat, link)
    p.do("readlink empty", os.readlink, "", dir_fd=link)
    p.do("reopen link", os.open, f"/proc/self/fd/{link}", os.O_RDONLY)
    file = p.do("O_PATH file", os.open, "file", os.O_PATH)
    p.do("reopen", os.open, f"/proc/self/fd/{file}", os.O_RDWR)
    p.do("write", os.write, file, b"x")
    p.do("getxattr", os.getxattr, file, "user.x")
    p.do("listdir", os.listdir, fd)


def temporary_file_gets_a_name(p: Probe) -> None:
    fd = p.do("O_TMPFILE", os.open, ".", os.O_TMPFILE | os.O_RDWR, 0o640)
    os.write(fd, b"made")
    p.do("fstat", os.fstat, fd)
    p.raw("linkat", AT_FDCWD, b"/proc/self/fd/%d" % fd, AT_FDCWD, b"named", AT_SYMLINK_FOLLOW)
    p.raw("linkat", AT_FDCWD, b"/proc/self/fd/%d" % fd, AT_FDCWD, b"named", AT_SYMLINK_FOLLOW)
    p.raw("linkat", fd, b"", AT_FDCWD, b"by-descriptor", AT_EMPTY_PATH)
    p.do("fstat", os.fstat, fd)
    held = p.do("O_EXCL", os.open, ".", os.O_TMPFILE | os.O_RDWR | os.O_EXCL, 0o600)
    p.raw("linkat", AT_FDCWD, b"/proc/self/fd/%d" % held, AT_FDCWD, b"never", AT_SYMLINK_FOLLOW)
    p.tree()


def descriptors_as_directories(p: Probe) -> None:
    os.mkdir("dir")
    write("dir/file")
    write("file")
    folder, file = os.open("dir", os.O_RDONLY), os.open("file", os.O_RDONLY)
    reader, _ = os.pipe()
    for fd in (folder, file, reader, 99, -1, -100):
        for path in (b"file", b".", b"..", b"", b"../file"):
            p.raw("openat", fd, path, os.O_RDONLY, 0)
    os.rename("dir", "moved")
    p.do("after rename", os.open, "../moved/file", os.O_RDONLY, dir_fd=folder)
    os.unlink("moved/file")
    os.rmdir("moved")
    p.do("removed", os.open, "file", os.O_RDONLY | os.O_CREAT, dir_fd=folder)
    p.do("removed ..", os.stat, "..", dir_fd=folder)
    p.do("removed .", os.stat, ".", dir_fd=folder)
    p.do("listdir", os.listdir, folder)


def bad_arguments(p: Probe) -> None:
    write("file")
    for address in (0, 1, 0x7FFFFFFFFFFF, -1):
        p.raw("openat", AT_FDCWD, address, 0, 0)
        p.raw("open", address, 0, 0)
    page = ctypes.create_string_buffer(b"x" * 9000)
    p.raw("open", page, 0, 0, label="no NUL")
    p.raw("open", b"", 0, 0)
    for flags in (0x80000000, 0x40000000, 0xFFFFFFFF, 0o100000000):
        p.raw("open", b"file", flags, 0o600)
    p.raw("openat", AT_FDCWD, b"file", 1 << 40, 0, label="high bits are not flags")
    p.raw("openat", (1 << 40) - 100 & 0xFFFFFFFF | 1 << 40, b"file", 0, 0, label="high bits are not a descriptor")


def long_names(p: Probe) -> None:
    for length in (254, 255, 256):
        p.do(f"{length}", os.open, "n" * length, os.O_CREAT | os.O_WRONLY)
        p.do(f"{length} dir", os.mkdir, "d" * length)
    p.do("utf-8 255 bytes", os.mkdir, "\u00e9" * 127 + "x")
    for total in (4094, 4095, 4096, 4097):
        path = "./" * (total // 2) + "f" * (total % 2)
        p.do(f"path of {len(path)}", os.open, path[:-1] + "f", os.O_CREAT | os.O_WRONLY)
        p.do(f"stat of {len(path)}", os.stat, path[:-1] + "f")
    here = os.getcwd()
    for _ in range(18):
        os.mkdir("d" * 200)
        os.chdir("d" * 200)
    p.do("deep create", os.open, "deep", os.O_CREAT | os.O_WRONLY)
    p.show("getcwd", len(os.getcwd()) - len(here) if not _fails(os.getcwd) else "fails")
    p.do("deep ..", os.stat, "../..")
    os.chdir(here)


def _fails(function: object) -> bool:
    try:
        function()  # type: ignore[operator]
    except OSError:
        return True
    return False


def odd_names(p: Probe) -> None:
    for name in (b"with space", b"new\nline", b"tab\t", b"\xff\xfe\x80", b"-rf", b"*", b"\\", b"'", b'"', b"\x01\x7f",
                 b"...", b"..x", b".hidden", b" ", "\u202e".encode()):  # fmt: skip
        p.do(repr(name), os.open, name, os.O_CREAT | os.O_WRONLY)
    p.show("listed", sorted(os.listdir(b".")))


def slashes_and_dots(p: Probe) -> None:
    os.makedirs("a/b/c")
    write("a/b/file")
    for path in ("a//b", "a/./b", "a/b/", "a/b//", "a/b/.", "a/b/..", "a/b/../", "a/b/file/", "a/b/file/.", "./a",
                 ".//a", "a/b/c/../../b/file", "a/missing/..", "a/b/file/..", "../" * 60 + "etc"):  # fmt: skip
        p.do(path, os.stat, path) if not path.endswith("etc") else p.do(path, os.access, path, os.F_OK)
    p.do("create with slash", os.open, "new/", os.O_CREAT | os.O_WRONLY)
    p.do("create .", os.open, ".", os.O_CREAT | os.O_WRONLY)
    p.do("create missing/new", os.open, "missing/new", os.O_CREAT | os.O_WRONLY)
    p.do("root and above", lambda: os.path.samefile("/../../../..", "/"))


def too_many_descriptors(p: Probe) -> None:
    write("file")
    resource.setrlimit(resource.RLIMIT_NOFILE, (10, 10))
    made = []
    while (fd := p.do("open", os.open, "file", os.O_RDONLY)) is not None:
        made.append(fd)
    p.do("open again", os.open, "file", os.O_RDONLY)
    os.close(made[0])
    p.do("after close", os.open, "file", os.O_RDONLY)


def every_flag_on_links(p: Probe) -> None:
    """By a descriptor's link and by links of the file system, with any three flags."""
    import itertools

    names = ("CREAT", "EXCL", "TRUNC", "APPEND", "DIRECTORY", "NOFOLLOW", "PATH", "TMPFILE")
    write("file")
    os.symlink("file", "to-file")
    os.symlink(".", "to-directory")
    os.symlink("nothing", "to-nothing")
    held = [os.open("file", os.O_RDWR), os.open(".", os.O_RDONLY), os.open("to-file", os.O_PATH | os.O_NOFOLLOW)]
    links = [*(f"/proc/self/fd/{fd}" for fd in held), "/proc/self/cwd", "to-file", "to-directory", "to-nothing"]
    for link in links:
        for way, count in itertools.product((os.O_RDONLY, os.O_WRONLY, os.O_RDWR), range(4)):
            for chosen in itertools.combinations(names, count):
                flags = way | os.O_NONBLOCK
                for name in chosen:
                    flags |= getattr(os, f"O_{name}")
                try:
                    os.close(os.open(link, flags, 0o600))
                    said = "opens"
                except OSError as error:
                    said = errno.errorcode[error.errno or 0]
                p.show(f"{link} {way} {' '.join(chosen)}", said)
                if os.path.lexists("nothing"):
                    os.unlink("nothing")


def temporary_behind_links(p: Probe) -> None:
    """O_TMPFILE by the link of a descriptor whose file has no name."""
    os.mkdir("gone")
    write("gone-file")
    held = {"directory": os.open("gone", os.O_RDONLY), "file": os.open("gone-file", os.O_RDWR), "pipe": os.pipe()[1], "memfd": os.memfd_create("x")}
    os.rmdir("gone")
    os.unlink("gone-file")
    for name, fd in held.items():
        for flags in (0, os.O_PATH, os.O_EXCL, os.O_DIRECTORY):
            attempt = lambda: os.close(os.open(f"/proc/self/fd/{fd}", os.O_TMPFILE | os.O_RDWR | flags, 0o600))  # noqa: E731
            if name == "directory":  # EPERM, EACCES, ENOENT: by file system and rights
                p.show(f"{name} {flags:o} is refused", _fails(attempt))
            else:
                p.do(f"{name} {flags:o}", attempt)


def _anew(function: Callable[..., Any], *args: Any) -> Any:
    """Linux counts the links of a walk twice where it has to begin it anew, which depends on its caches: then once more."""
    for _ in range(9):
        with suppress(OSError):
            return function(*args)
    return function(*args)


def links(p: Probe) -> None:
    write("file")
    for depth in range(45):
        os.symlink(f"l{depth - 1}" if depth else "file", f"l{depth}")
    for depth in (0, 38, 39, 40, 41, 44):
        p.do(f"{depth + 1} links", _anew, os.open, f"l{depth}", os.O_RDONLY)
    os.mkdir("d")
    os.symlink(".", "d/self")
    for count in (1, 39, 40, 41):
        p.do(f"{count} of itself", _anew, os.stat, "d/" + "self/" * count)
    os.symlink("../file", "d/up")
    os.symlink(os.path.join(os.getcwd(), "file"), "absolute")
    os.symlink("/", "root")
    p.do("empty link", os.symlink, "", "empty")
    for path in ("d/up", "absolute", "root/proc/self/status", "absolute/", "d/up/x"):
        p.do(path, os.open, path, os.O_RDONLY)
    os.symlink("x" * 4095, "long")
    p.do("long link", os.stat, "long")
    p.do("longer link", os.symlink, "x" * 4096, "longer")
    os.symlink("made-by-link", "create")
    p.do("create through a link", os.open, "create", os.O_CREAT | os.O_WRONLY)
    p.do("exclusive through a link", os.open, "create", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    for name, target in (("loops", "loops/"), ("nowhere", "missing/dir/"), ("below", "file/x/"), ("there", "d/"), ("round", "d/self/"), ("dot", "dot/.")):
        os.symlink(target, name)
        for flags in (os.O_RDONLY, os.O_CREAT, os.O_CREAT | os.O_EXCL, os.O_CREAT | os.O_DIRECTORY):
            p.do(f"{name} -> {target} {flags:o}", os.open, name, flags)
    os.symlink("slash/", "create2")
    p.do("create through a link with a slash", os.open, "create2", os.O_CREAT | os.O_WRONLY)
    p.tree()
