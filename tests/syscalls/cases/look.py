from __future__ import annotations

import ctypes
import os
import socket
import struct

from probe import AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW, Probe, write


def _kinds() -> list[str]:
    write("file", b"12345")
    os.mkdir("dir", 0o750)
    os.symlink("file", "link")
    os.symlink("dir", "dirlink")
    os.symlink("nowhere", "dangling")
    os.mkfifo("fifo")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind("sock")
    os.link("file", "hard")
    os.mkdir("closed", 0)
    os.mkdir("noread", 0o311)
    return ["file", "dir", "link", "dirlink", "dangling", "fifo", "sock", "hard", "closed", "closed/x", "noread",
            "noread/x", "missing", "file/x", "dir/", "file/", "", "."]  # fmt: skip


def stat_family(p: Probe) -> None:
    for kind in _kinds():
        p.do(f"stat {kind!r}", os.stat, kind)
        p.do(f"lstat {kind!r}", os.lstat, kind)
        for flags in (0, AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, 0x800, 0x8000, 0x10):
            out = ctypes.create_string_buffer(256)
            p.raw("newfstatat", AT_FDCWD, kind.encode(), out, flags)
            if flags <= AT_EMPTY_PATH:
                p.show("  mode and size", (struct.unpack_from("I", out, 24), kind != "." and out[48]))
    for kind in ("file", "dir", "link", "fifo"):
        fd = os.open(kind, os.O_RDONLY | os.O_NONBLOCK)
        p.do("fstat", os.fstat, fd)
        out = ctypes.create_string_buffer(256)
        p.raw("newfstatat", fd, b"", out, AT_EMPTY_PATH)
        p.raw("newfstatat", fd, b"", out, 0)
        p.raw("newfstatat", fd, b"file", out, AT_EMPTY_PATH)
        p.raw("newfstatat", fd, 0, out, AT_EMPTY_PATH, label="null path")
    reader, _ = os.pipe()
    out = ctypes.create_string_buffer(256)
    p.raw("newfstatat", reader, b"", out, AT_EMPTY_PATH, label="a pipe")
    p.raw("newfstatat", 99, b"", out, AT_EMPTY_PATH)
    p.raw("newfstatat", 99, b"file", out, 0)
    p.raw("newfstatat", 99, os.getcwdb() + b"/file", out, 0, label="absolute path, bad descriptor")
    p.raw("newfstatat", AT_FDCWD, b"", out, AT_EMPTY_PATH, label="the working directory")
    p.raw("stat", b"file", 0)
    p.raw("stat", b"file", 8)
    p.raw("stat", b"file", -1)
    p.raw("stat", 0, out)


def statx_masks(p: Probe) -> None:
    _kinds()
    for mask in (0, 0x1, 0x7FF, 0xFFF, 0x1FFF, 0x80000000):
        for name in (b"file", b"link", b"missing", b""):
            for flags in (0, AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH, 0x2000, 0x4000, 0x6000, 0x10):
                out = ctypes.create_string_buffer(256)
                if p.raw("statx", AT_FDCWD, name, flags, mask, out) == 0 and name:
                    given, _, _, links, uid, gid, mode = struct.unpack_from("IIQIIIH", out, 0)
                    p.show("  ", (given & 0x7FF & (mask or 0x7FF), links, uid, gid, oct(mode)))
    p.raw("statx", AT_FDCWD, b"file", 0, 0x7FF, 0)
    fd = os.open("file", os.O_RDONLY)
    p.raw("statx", fd, b"", AT_EMPTY_PATH, 0x7FF, ctypes.create_string_buffer(256))
    p.raw("statx", fd, 0, AT_EMPTY_PATH, 0x7FF, ctypes.create_string_buffer(256), label="null path")


def access_family(p: Probe) -> None:
    for kind in _kinds():
        for mode in range(8):
            p.raw("access", kind.encode(), mode)
    p.raw("access", b"file", 8)
    p.raw("faccessat", AT_FDCWD, b"link", os.R_OK)
    for flags in (0, 0x200, AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH, 0x200 | AT_SYMLINK_NOFOLLOW, 0x10000):
        for name in (b"file", b"dangling", b"", b"closed"):
            p.raw("faccessat2", AT_FDCWD, name, os.R_OK | os.X_OK, flags)
    fd = os.open("file", os.O_RDONLY)
    p.raw("faccessat2", fd, b"", os.R_OK, AT_EMPTY_PATH)
    p.raw("faccessat2", 99, b"", os.R_OK, AT_EMPTY_PATH)
    p.raw("faccessat2", fd, b"x", os.R_OK, 0)


def readlink_sizes(p: Probe) -> None:
    for kind in _kinds():
        p.do(kind, os.readlink, kind)
    for size in (-1, 0, 1, 4, 8, 100):
        out = ctypes.create_string_buffer(128)
        p.raw("readlink", b"dangling", out, size)
        p.show("  ", out.raw[:12])
    p.raw("readlink", b"link", 0, 10)
    p.raw("readlinkat", AT_FDCWD, b"link", ctypes.create_string_buffer(9), 9)
    p.raw("readlinkat", 99, b"link", ctypes.create_string_buffer(9), 9)
    p.raw("readlinkat", AT_FDCWD, b"", ctypes.create_string_buffer(9), 9)


def listing(p: Probe) -> None:
    os.mkdir("dir")
    for number in range(500):
        write(f"dir/{number:03d}-" + "n" * (number % 200))
    os.mkdir("dir/sub")
    os.symlink("x", "dir/link")
    os.mkfifo("dir/fifo")
    p.show("names", sorted(os.listdir("dir")))
    p.show("types", sorted((e.name, e.is_dir(), e.is_symlink(), e.is_file()) for e in os.scandir("dir"))[-3:])
    p.show("inodes agree", all(e.inode() == os.lstat(e.path).st_ino for e in os.scandir("dir")))
    fd = os.open("dir", os.O_RDONLY)
    first = _read_all(p, fd, 1000)
    p.show("count", len(first))
    p.show("at the end", _read_all(p, fd, 1000))
    os.lseek(fd, 0, os.SEEK_SET)
    p.show("after rewind, equal", _read_all(p, fd, 4096) == first)
    for position in (1, 100, 400):
        os.lseek(fd, first[position][1], os.SEEK_SET)
        p.show("after seek, equal", _read_all(p, fd, 700) == first[position + 1 :])
    os.lseek(fd, 0, os.SEEK_SET)
    for size in (0, 10, 23, 24):
        p.raw("getdents64", fd, ctypes.create_string_buffer(64), size)
    p.raw("getdents64", fd, 0, 1000)
    p.raw("getdents64", fd, 8, 1000)
    p.raw("getdents64", 99, ctypes.create_string_buffer(64), 64)
    file = os.open("dir/000-", os.O_RDONLY)
    p.raw("getdents64", file, ctypes.create_string_buffer(64), 64)
    reader, _ = os.pipe()
    p.raw("getdents64", reader, ctypes.create_string_buffer(64), 64)
    two = os.dup(fd)
    os.lseek(fd, 0, os.SEEK_SET)
    half = _read_some(two, 2000)
    p.show("a duplicate shares the position", half + _read_all(p, fd, 4096) == first)


def listing_while_changing(p: Probe) -> None:
    os.mkdir("dir")
    for number in range(300):
        write(f"dir/{number}")
    fd = os.open("dir", os.O_RDONLY)
    seen = _read_some(fd, 2000)
    for number in range(300):
        os.unlink(f"dir/{number}")
    p.show("some were read", 0 < len(seen) < 302)
    p.do("rmdir", os.rmdir, "dir")
    p.do("listdir of a removed directory", os.listdir, fd)
    os.mkdir("dir2")
    write("dir2/a")
    fd = os.open("dir2", os.O_RDONLY)
    p.show("first", sorted(n for n, _ in _read_all(p, fd, 4096)))
    write("dir2/b")
    os.lseek(fd, 0, os.SEEK_SET)
    p.show("after a new file", sorted(n for n, _ in _read_all(p, fd, 4096)))
    os.mkdir("noread", 0o311)
    p.do("unreadable", os.listdir, "noread")


def _read_some(fd: int, size: int) -> list[tuple[bytes, int]]:
    import probe

    out = ctypes.create_string_buffer(size)
    got = int(probe.LIBC.syscall(ctypes.c_long(217), ctypes.c_long(fd), out, ctypes.c_long(size)))
    names, at = [], 0
    while at < got:
        _, offset, length = struct.unpack_from("=QqH", out.raw, at)
        names.append((out.raw[at + 19 : at + length].split(b"\0")[0], offset))
        at += length
    return names


def _read_all(p: Probe, fd: int, size: int) -> list[tuple[bytes, int]]:
    names: list[tuple[bytes, int]] = []
    while more := _read_some(fd, size):
        names += more
    return names


def file_systems(p: Probe) -> None:
    write("file")
    for name in (".", "file", "missing", "file/x"):
        p.do(f"statvfs {name}", os.statvfs, name)
    fd = os.open("file", os.O_RDONLY)
    p.do("fstatvfs", os.fstatvfs, fd)
    p.raw("statfs", b"file", 0)
    p.raw("statfs", 0, ctypes.create_string_buffer(200))


def long_links(p: Probe) -> None:
    """Targets of many links add up to far more than a path may have; nothing of that is too long."""
    os.symlink("/".join(["self", *["e" * 250] * 16]), "self")
    p.do("of itself", os.stat, "self")
    os.mkdir("dir")
    way = "../dir/" * 560
    for number in range(41):
        os.symlink(f"{way}{number + 1}", f"dir/{number}")
    write("dir/41")
    p.do("40", lambda: os.stat("dir/1").st_size)
    p.do("41", lambda: os.stat("dir/0").st_size)
    p.do("40 and a name", os.stat, "dir/1/file")
