from __future__ import annotations

import ctypes
import os
import struct

from probe import AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW, Probe, write

UTIME_NOW, UTIME_OMIT = (1 << 30) - 1, (1 << 30) - 2


def _kinds() -> list[str]:
    write("file", b"12345")
    os.mkdir("dir")
    os.symlink("file", "link")
    os.symlink("nowhere", "dangling")
    os.mkfifo("fifo")
    return ["file", "dir", "link", "dangling", "fifo", "missing", "file/x", "dir/", "file/", "", "."]


def chmod(p: Probe) -> None:
    for name in _kinds():
        for mode in (0o640, 0o1700, 0, 0o170644, 0o777):
            if name != ".":
                p.do(f"chmod {name!r} {mode:o}", os.chmod, name, mode)
                if os.path.exists(name):
                    p.show("  ", oct(os.stat(name).st_mode))
        for flags in (0, AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH, 0x10):
            p.raw("fchmodat2", AT_FDCWD, name.encode(), 0o711, flags)
    fd = os.open("dir", os.O_RDONLY)
    p.do("fchmod", os.fchmod, fd, 0o700)
    p.raw("fchmodat2", fd, b"", 0o750, AT_EMPTY_PATH)
    p.do("bad descriptor", os.fchmod, 99, 0o700)
    reader, _ = os.pipe()
    p.do("a pipe", os.fchmod, reader, 0o600)
    p.raw("chmod", 0, 0o600)
    p.do("not the owner's", os.chmod, "/proc/self/status", 0o777)
    p.tree()


def chown(p: Probe) -> None:
    uid, gid = os.getuid(), os.getgid()
    for name in _kinds():
        for owner in ((uid, gid), (-1, -1), (uid, -1), (-1, gid), (12345, -1), (-1, 12345)):
            p.do(f"chown {name!r} {owner[0] in (uid, -1)} {owner[1] in (gid, -1)}", os.chown, name, *owner)
            p.do("  lchown", os.lchown, name, *owner)
    fd = os.open("file", os.O_RDONLY)
    p.do("fchown", os.fchown, fd, uid, gid)
    p.raw("fchownat", fd, b"", uid, gid, AT_EMPTY_PATH)
    p.raw("fchownat", AT_FDCWD, b"dangling", uid, gid, AT_SYMLINK_NOFOLLOW)
    p.raw("fchownat", AT_FDCWD, b"file", uid, gid, 0x10)
    p.do("bad descriptor", os.fchown, 99, uid, gid)
    p.raw("chown", 0, uid, gid)


def truncate(p: Probe) -> None:
    for name in _kinds():
        for size in (0, 3, 100, -1):
            p.do(f"truncate {name!r} {size}", os.truncate, name, size)
    p.show("content", open("file", "rb").read() if os.path.exists("file") else None)
    p.do("large", os.truncate, "file", 1 << 40)
    p.do("too large", os.truncate, "file", 1 << 62)
    os.truncate("file", 1)
    os.chmod("file", 0o444)
    p.do("read-only mode", os.truncate, "file", 0)
    fd = os.open("file", os.O_RDONLY)
    p.do("ftruncate of a reader", os.ftruncate, fd, 0)
    p.raw("truncate", 0, 0)


def times(p: Probe) -> None:
    moments = ((1, 2), (0, 0), (1 << 32, 999999999), (-1, 0), (1600000000, 123456789))
    for name in _kinds():
        for seconds, nanos in moments:
            both = seconds * 1000000000 + nanos
            if name == "link":
                os.utime("file", ns=(9, 9))
            p.do(f"utime {name!r} {both}", os.utime, name, ns=(both, both + 1))
            p.do("  link", os.utime, name, ns=(both + 2, both + 3), follow_symlinks=False)
            if os.path.lexists(name):
                p.show("  ", (os.stat(name).st_mtime_ns if os.path.exists(name) else 0, os.lstat(name).st_mtime_ns))
                os.utime(name, ns=(9, 9), follow_symlinks=False)
    fd = os.open("file", os.O_RDONLY)
    p.do("futimens", os.utime, fd, ns=(5, 6))
    p.show("  ", os.fstat(fd).st_mtime_ns)
    for first, second in ((UTIME_OMIT, 7), (8, UTIME_OMIT), (UTIME_OMIT, UTIME_OMIT), (1 << 30, 0), (-1, 0)):
        p.raw("utimensat", AT_FDCWD, b"file", struct.pack("qqqq", 11, first, 12, second), 0, label=f"{first} {second}")
        status = os.stat("file")
        p.show("  ", (status.st_atime_ns, status.st_mtime_ns))
    p.raw("utimensat", AT_FDCWD, b"file", struct.pack("qqqq", 0, UTIME_NOW, 0, UTIME_NOW), 0, label="now")
    p.show("  is now", os.stat("file").st_mtime_ns > 1600000000)
    p.raw("utimensat", AT_FDCWD, b"file", 0, 0)
    p.raw("utimensat", fd, 0, struct.pack("qqqq", 1, 1, 1, 1), 0, label="null path")
    p.raw("utimensat", fd, b"", struct.pack("qqqq", 1, 1, 1, 1), AT_EMPTY_PATH, label="empty path")
    p.raw("utimensat", AT_FDCWD, b"file", 8, 0)
    p.raw("utimensat", AT_FDCWD, b"file", 0, 0x10)
    p.raw("utime", b"file", struct.pack("qq", 3, 4), label="utime")
    p.raw("utimes", b"file", struct.pack("qqqq", 3, 5, 4, 6), label="utimes")
    p.raw("utimes", b"file", struct.pack("qqqq", 3, 1000000, 4, 6), label="utimes out of range")
    p.raw("futimesat", AT_FDCWD, b"file", struct.pack("qqqq", 8, 5, 9, 6), label="futimesat")
    p.show("  ", (os.stat("file").st_atime_ns, os.stat("file").st_mtime_ns))
    os.chmod("file", 0o000)
    p.do("own file without rights", os.utime, "file", ns=(1, 1))


def extended_attributes(p: Probe) -> None:
    for name in _kinds():
        for follow in (True, False):
            p.do(f"set {name!r}", os.setxattr, name, "user.one", b"value", follow_symlinks=follow)
            p.do("  get", os.getxattr, name, "user.one", follow_symlinks=follow)
            p.do("  list", os.listxattr, name, follow_symlinks=follow)
            p.do("  remove", os.removexattr, name, "user.one", follow_symlinks=follow)
            p.do("  remove again", os.removexattr, name, "user.one", follow_symlinks=follow)
    p.do("create", os.setxattr, "file", "user.a", b"1", os.XATTR_CREATE)
    p.do("create again", os.setxattr, "file", "user.a", b"1", os.XATTR_CREATE)
    p.do("replace", os.setxattr, "file", "user.a", b"", os.XATTR_REPLACE)
    p.do("replace missing", os.setxattr, "file", "user.b", b"1", os.XATTR_REPLACE)
    p.do("empty value", os.getxattr, "file", "user.a")
    for name in ("trusted.x", "security.x", "system.x", "nonsense", "user.", "", "user." + "n" * 250, "user." + "n" * 251):
        p.do(f"set {name[:20]}", os.setxattr, "file", name, b"1")
        p.do(f"get {name[:20]}", os.getxattr, "file", name)
    p.do("large value", os.setxattr, "file", "user.big", b"x" * 65536)
    p.do("too large", os.setxattr, "file", "user.big", b"x" * 65537)
    fd = os.open("file", os.O_RDWR)
    p.do("fsetxattr", os.setxattr, fd, "user.fd", b"by descriptor")
    p.do("fgetxattr", os.getxattr, fd, "user.fd")
    p.do("flistxattr", lambda: sorted(os.listxattr(fd)))
    for size in (0, 1, 5, 13):
        p.raw("getxattr", b"file", b"user.fd", ctypes.create_string_buffer(20), size)
    p.raw("listxattr", b"file", ctypes.create_string_buffer(20), 1)
    p.raw("getxattr", b"file", 0, ctypes.create_string_buffer(20), 20)
    p.raw("setxattr", b"file", b"user.x", 0, 5, 0)
    p.raw("setxattr", b"file", b"user.x", b"12345", 5, 8)
    p.do("bad descriptor", os.getxattr, 99, "user.x")
    closed = os.open("file", os.O_RDONLY)
    p.do("set by a reader", os.setxattr, closed, "user.reader", b"1")
    os.mkdir("shut")
    write("sealed", b"x")
    os.mkfifo("pipe")
    for mode in (0o700, 0o300, 0o500, 0o100, 0o000):
        for name in ("shut", "sealed", "pipe"):
            os.chmod(name, mode)
            for attribute in ("user.m", "system.posix_acl_access", "security.x"):
                p.do(f"{mode:o} set {name} {attribute}", os.setxattr, name, attribute, b"1")
                p.do("  get", os.getxattr, name, attribute)
                p.do("  list", os.listxattr, name)
                p.do("  remove", os.removexattr, name, attribute)
    os.chmod("shut", 0o700)
    path_only = os.open("file", os.O_PATH)
    p.do("set by O_PATH", os.setxattr, path_only, "user.y", b"1")
    p.do("list by O_PATH", os.listxattr, path_only)


def times_move_with_changes(p: Probe) -> None:
    write("file", b"1")
    os.mkdir("dir")
    for label, change in (
        ("write", lambda: write("file", b"22")),
        ("create below", lambda: write("dir/x")),
        ("remove below", lambda: os.unlink("dir/x")),
    ):
        for name in ("file", "dir"):
            os.utime(name, ns=(1, 1))
        change()
        p.show(label, [os.stat(name).st_mtime_ns > 1 for name in ("file", "dir")])
    os.utime("file", ns=(1, 1))
    os.chmod("file", 0o600)
    p.show("chmod keeps mtime", os.stat("file").st_mtime_ns)
