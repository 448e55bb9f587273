from __future__ import annotations

import errno
import os
import socket
import stat

from probe import AT_EMPTY_PATH, AT_FDCWD, AT_REMOVEDIR, AT_SYMLINK_FOLLOW, Probe, child, write

RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT = 1, 2, 4


def _kinds() -> list[str]:
    write("file", b"one")
    write("other", b"two")
    os.makedirs("full/sub")
    os.mkdir("empty")
    os.symlink("file", "link")
    os.symlink("full", "dirlink")
    os.symlink("nowhere", "dangling")
    os.mkfifo("fifo")
    os.link("file", "hard")
    return ["file", "other", "full", "empty", "link", "dirlink", "dangling", "fifo", "hard", "missing", "missing/x",
            "file/x", "full/", "link/", "dirlink/", "dangling/", "file/", "missing/", ".", "..", "full/.", "full/..",
            "", "full/sub", "dirlink/new"]  # fmt: skip


def _clean() -> None:
    for folder, folders, files in os.walk(".", topdown=False):
        for name in files:
            os.unlink(os.path.join(folder, name))
        for name in folders:
            path = os.path.join(folder, name)
            os.unlink(path) if os.path.islink(path) else os.rmdir(path)


def mkdir(p: Probe) -> None:
    for name in _kinds():
        p.do(f"mkdir {name!r}", os.mkdir, name)
    os.umask(0)
    for mode in (0, 0o777, 0o1777, 0o170755):
        p.do(f"mkdir {mode:o}", os.mkdir, f"{mode:o}", mode)
    p.raw("mkdirat", 99, b"x", 0o755)
    p.raw("mkdirat", AT_FDCWD, 0, 0o755)
    p.tree()


def rmdir(p: Probe) -> None:
    for name in _kinds():
        p.do(f"rmdir {name!r}", os.rmdir, name)
    p.raw("unlinkat", AT_FDCWD, b"other", AT_REMOVEDIR)
    p.raw("unlinkat", AT_FDCWD, b"other", 0x100)
    p.tree()


def unlink(p: Probe) -> None:
    for name in _kinds():
        p.do(f"unlink {name!r}", os.unlink, name)
    p.raw("unlinkat", 99, b"x", 0)
    p.raw("unlinkat", AT_FDCWD, 0, 0)
    p.tree()
    fd = os.open("gone", os.O_CREAT | os.O_RDWR)
    os.unlink("gone")
    p.do("an unlinked file lives on", os.fstat, fd)
    p.do("its name", lambda: os.readlink(f"/proc/self/fd/{fd}").endswith("/gone (deleted)"))
    p.do("reopened", os.open, f"/proc/self/fd/{fd}", os.O_RDONLY)


def rename_every_pair(p: Probe) -> None:
    names = _kinds()
    for flags in (0, RENAME_NOREPLACE, RENAME_EXCHANGE):
        for old in names:
            for new in ("file", "full", "empty", "link", "dirlink", "missing", "full/new", "full/sub/new", "missing/",
                        "dangling", ".", "missing/x", "hard", "full/"):  # fmt: skip
                if p.raw("renameat2", AT_FDCWD, old.encode(), AT_FDCWD, new.encode(), flags) == 0:
                    p.tree()
                    _clean()
                    _kinds()


def rename_flags(p: Probe) -> None:
    _kinds()
    for flags in (RENAME_NOREPLACE | RENAME_EXCHANGE, 8, 0x80000000, RENAME_WHITEOUT | RENAME_EXCHANGE):
        p.raw("renameat2", AT_FDCWD, b"file", AT_FDCWD, b"other", flags)
    p.raw("rename", b"file", 0)
    p.raw("rename", 0, b"file")
    p.raw("renameat", 99, b"file", AT_FDCWD, b"x")
    p.raw("renameat", AT_FDCWD, b"file", 99, b"x")
    p.do("long", os.rename, "file", "n" * 256)
    p.do("other file system", os.rename, "file", "/dev/shm/file")
    p.do("into itself", os.rename, "full", "full/sub/full")
    fd = os.open("full", os.O_RDONLY)
    p.do("by descriptors", os.rename, "sub", "moved", src_dir_fd=fd, dst_dir_fd=fd)
    os.mkdir("shut", 0o555)
    p.do("into a closed directory", os.rename, "file", "shut/file")
    p.tree()


def link(p: Probe) -> None:
    names = _kinds()
    for old in names:
        p.do(f"link {old!r}", os.link, old, f"made{names.index(old)}", follow_symlinks=False)
        p.do(f"follow {old!r}", os.link, old, f"follow{names.index(old)}", follow_symlinks=True)
    for new in names:
        p.do(f"link to {new!r}", os.link, "other", new)
    for flags in (0, AT_SYMLINK_FOLLOW, AT_EMPTY_PATH, 0x100):
        p.raw("linkat", AT_FDCWD, b"", AT_FDCWD, b"x", flags)
        p.raw("linkat", AT_FDCWD, b"link", AT_FDCWD, b"flag%d" % flags, flags)
    fd = os.open("file", os.O_RDONLY)
    p.raw("linkat", fd, b"", AT_FDCWD, b"by-fd", AT_EMPTY_PATH)
    p.raw("linkat", AT_FDCWD, b"/proc/self/fd/%d" % fd, AT_FDCWD, b"by-proc", AT_SYMLINK_FOLLOW)
    p.raw("linkat", AT_FDCWD, b"/proc/self/fd/%d" % fd, AT_FDCWD, b"by-proc2", 0)
    p.do("other file system", os.link, "file", "/dev/shm/file")
    p.tree()


def symlink(p: Probe) -> None:
    for new in _kinds():
        p.do(f"symlink {new!r}", os.symlink, "target", new)
    for target in ("", "a" * 4095, "a" * 4096, "a\nb", b"\xff", "//x//", "."):
        name = f"to{len(target)}{target[:2]!r}".replace("/", "_")
        if p.do(f"target {len(target)}", os.symlink, target, name if isinstance(target, str) else os.fsencode(name)) is None:
            p.do("  readlink", lambda n=name: len(os.readlink(n)))
    p.raw("symlink", 0, b"x")
    p.raw("symlink", b"x", 0)
    p.raw("symlinkat", b"x", 99, b"y")
    p.tree()


def mknod(p: Probe) -> None:
    os.umask(0o027)
    for kind in (0, stat.S_IFREG, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK):
        p.do(f"mknod {kind:o}", os.mknod, f"n{kind:o}", kind | 0o666, os.makedev(1, 3))
    p.do("mknod over", os.mknod, "n0", stat.S_IFIFO | 0o666)
    p.do("null device 0:0", os.mknod, "white", stat.S_IFCHR | 0o666, 0)
    for new in _kinds():
        p.do(f"mkfifo {new!r}", os.mkfifo, new)
    p.tree()


def closed_directories(p: Probe) -> None:
    os.mkdir("shut")
    write("shut/file")
    os.mkdir("shut/dir")
    for mode in (0o555, 0o311, 0o400, 0):
        os.chmod("shut", mode)
        for label, function, *args in (
            ("create", os.mkdir, "shut/new"),
            ("open", os.open, "shut/new", os.O_CREAT),
            ("stat", os.stat, "shut/file"),
            ("unlink", os.unlink, "shut/file2"),
            ("rmdir", os.rmdir, "shut/dir2"),
            ("rename", os.rename, "shut/file", "out"),
            ("link", os.link, "shut/file", "out2"),
            ("symlink", os.symlink, "x", "shut/link"),
            ("list", os.listdir, "shut"),
            ("chdir", os.chdir, "shut"),
            ("chmod", os.chmod, "shut/file", 0o600),
        ):
            p.do(f"{mode:o} {label}", function, *args)
            if label == "chdir" and os.path.basename(os.getcwd()) == "shut":
                os.chdir("..")
        if os.path.exists("out"):
            os.chmod("shut", 0o700)
            os.rename("out", "shut/file")
        for made in ("out2", "shut/new", "shut/link"):
            os.chmod("shut", 0o700)
            if os.path.lexists(made):
                os.unlink(made) if not os.path.isdir(made) else os.rmdir(made)
    os.chmod("shut", 0o700)


def below_what_cannot_be_searched(p: Probe) -> None:
    """A relative path needs no rights above the directory that it starts at."""
    top = os.getcwd()
    os.makedirs("shut/mid/here/sub")
    write("shut/mid/beside", b"beside")
    write("shut/mid/here/file", b"text")
    os.symlink("../beside", "shut/mid/here/link")
    folder = os.open("shut/mid/here", os.O_RDONLY)
    os.chdir("shut/mid/here")
    for shut in ("../..", ".."):
        os.chmod(shut, 0o644)
        for path in (
            "file",
            ".",
            "sub",
            "sub/..",
            "missing/..",
            "..",
            "../beside",
            "../../mid",
            "../..",
            "link",
            "sub/../file",
        ):
            p.do(f"{shut} shut, stat {path}", lambda path=path: os.stat(path).st_mode)
            p.do(f"{shut} shut, at {path}", lambda path=path: os.stat(path, dir_fd=folder).st_mode)
            p.do(f"{shut} shut, access {path}", os.access, path, os.R_OK)
        p.do("list", lambda: sorted(os.listdir(".")))
        p.do("open and remove", lambda: (os.close(os.open("new", os.O_CREAT | os.O_EXCL, 0o600)), os.unlink("new")))
        p.do("temporary", lambda: os.close(os.open(".", os.O_TMPFILE | os.O_EXCL | os.O_RDWR, 0o600)))
        p.do("mkdir and rename", lambda: (os.mkdir("d"), os.rename("d", "sub/d"), os.rmdir("sub/d")))
        p.do("up and down", lambda: (os.chdir("sub"), os.chdir("..")))
        p.do("absolute", os.stat, top + "/shut/mid/here/file")
    os.chmod("..", 0o755)
    os.chmod("../..", 0o755)
    os.chdir(top)


def working_directory(p: Probe) -> None:
    here = os.getcwd()
    os.makedirs("a/b")
    write("file")
    os.symlink("a/b", "link")
    for path in ("a", "..", "a/b", "../..", "link", here, "file", "missing", "", "link/..", ".", "a/b/../.."):
        p.do(f"chdir {path!r}", os.chdir, path)
        p.do("  getcwd", os.getcwd)
    os.chdir(here)
    fd = os.open("a/b", os.O_RDONLY)
    p.do("fchdir", os.fchdir, fd)
    os.rename(f"{here}/a", f"{here}/renamed")
    p.do("getcwd after rename", os.getcwd)
    p.do("stat ..", os.stat, "..")
    os.chdir("..")
    p.do("getcwd", os.getcwd)
    os.chdir("b")
    os.rmdir(f"{here}/renamed/b")
    p.do("getcwd of a removed directory", os.getcwd)
    p.do("stat .", os.stat, ".")
    p.do("stat ..", os.stat, "..")
    p.do("create", os.open, "x", os.O_CREAT)
    p.do("mkdir", os.mkdir, "x")
    p.do("listdir", os.listdir, ".")
    p.do("chdir ..", os.chdir, "..")
    p.do("chdir absolute", os.chdir, here)
    file, reader = os.open("file", os.O_RDONLY), os.pipe()[0]
    for bad in (file, reader, 99):
        p.do("fchdir", os.fchdir, bad)
    import ctypes

    for size in (0, 1, len(here), len(here) + 1, 100):
        p.raw("getcwd", ctypes.create_string_buffer(4096), size)
    p.raw("getcwd", 0, 100)
    os.mkdir("shut", 0o600)
    p.do("chdir without x", os.chdir, "shut")


def working_directory_of_processes(p: Probe) -> None:
    import threading

    os.makedirs("a/b")
    here = os.getcwd()

    def inner() -> None:
        p.show("child begins in", os.path.relpath(os.getcwd(), here))
        os.chdir("b")
        p.show("child is in", os.path.relpath(os.getcwd(), here))

    os.chdir("a")
    child(inner)
    p.show("parent stays in", os.path.relpath(os.getcwd(), here))
    thread = threading.Thread(target=os.chdir, args=("b",))
    thread.start()
    thread.join()
    p.show("a thread moves all", os.path.relpath(os.getcwd(), here))
    p.show("umask", (os.umask(0o077), os.umask(0o022)))
    child(lambda: p.show("child umask", os.umask(0)))
    p.show("own umask", os.umask(0o022))
    import subprocess

    p.show("exec keeps", subprocess.run(["/bin/pwd"], stdout=subprocess.PIPE).stdout.endswith(b"/a/b\n"))


def same_file_again_after_errors(p: Probe) -> None:
    """A failed call leaves nothing: no descriptor, no name."""
    before = sorted(os.listdir("/proc/self/fd"))
    for _ in range(50):
        for call in (lambda: os.open("missing", 0), lambda: os.rename("a", "b"), lambda: os.mkdir("m/x")):
            try:
                call()
            except OSError as error:
                assert error.errno == errno.ENOENT
    p.show("descriptors as before", sorted(os.listdir("/proc/self/fd")) == before)
    p.tree()


def socket_files(p: Probe) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        p.do("bind", sock.bind, "sock")
        p.do("stat", os.stat, "sock")
    with socket.socket(socket.AF_UNIX) as sock:
        p.do("bind again", sock.bind, "sock")
        p.do("connect to nobody", sock.connect, "sock")
        p.do("connect to a missing name", sock.connect, "missing")
        write("file")
        p.do("connect to a file", sock.connect, "file")
    p.do("open", os.open, "sock", os.O_RDONLY)
    p.do("rename", os.rename, "sock", "sock2")
    p.do("unlink", os.unlink, "sock2")
