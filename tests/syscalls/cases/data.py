from __future__ import annotations

import fcntl
import mmap
import os
import resource
import signal
import socket

from probe import AT_FDCWD, Probe, child, write


def read_write_seek(p: Probe) -> None:
    write("file", bytes(range(256)) * 40)
    fd = os.open("file", os.O_RDWR)
    p.do("pread", os.pread, fd, 4, 1000)
    p.do("pwrite", os.pwrite, fd, b"abcd", 20000)
    p.do("size", lambda: os.fstat(fd).st_size)
    p.do("lseek end", os.lseek, fd, 0, os.SEEK_END)
    p.do("lseek data", os.lseek, fd, 10300, os.SEEK_DATA)
    p.do("lseek hole", os.lseek, fd, 0, os.SEEK_HOLE)
    p.do("lseek beyond", os.lseek, fd, -1, os.SEEK_SET)
    p.do("readv", os.readv, fd, [bytearray(3), bytearray(5)])
    p.do("writev", os.writev, fd, [b"x", b"yz"])
    append = os.open("file", os.O_WRONLY | os.O_APPEND)
    os.lseek(append, 0, os.SEEK_SET)
    os.write(append, b"end")
    p.show("appended", os.pread(fd, 3, os.fstat(fd).st_size - 3))
    p.do("read of a writer", os.read, append, 1)
    reader = os.open("file", os.O_RDONLY)
    p.do("write of a reader", os.write, reader, b"x")
    p.do("fsync", os.fsync, fd)
    p.do("fdatasync", os.fdatasync, fd)
    folder = os.open(".", os.O_RDONLY)
    p.do("fsync a directory", os.fsync, folder)
    p.do("read a directory", os.read, folder, 1)


def mapping(p: Probe) -> None:
    write("file", b"a" * 5000)
    fd = os.open("file", os.O_RDWR)
    with mmap.mmap(fd, 5000) as memory:
        memory[10:15] = b"hello"
        memory.flush()
        p.show("written through", os.pread(fd, 5, 10))
        child(lambda: memory.__setitem__(slice(0, 3), b"kid"))
        p.show("shared with a child", memory[:3])
    reader = os.open("file", os.O_RDONLY)
    p.do("writable map of a reader", mmap.mmap, reader, 5000)
    with mmap.mmap(reader, 5000, prot=mmap.PROT_READ) as memory:
        p.show("read", memory[10:15])
    with mmap.mmap(fd, 5000, prot=mmap.PROT_READ | mmap.PROT_EXEC) as memory:
        p.show("executable map", memory[10:15])


def fallocate(p: Probe) -> None:
    write("file", b"1" * 10000)
    fd = os.open("file", os.O_RDWR)
    for mode in (0, 1, 3, 0x10, 0x8, 0x20, 2, 0x40):
        p.raw("fallocate", fd, mode, 4096, 4096)
        p.show("  size", os.fstat(fd).st_size)
    p.do("posix_fallocate", os.posix_fallocate, fd, 0, 20000)
    p.raw("fallocate", fd, 0, -1, 10)
    p.raw("fallocate", os.open("file", os.O_RDONLY), 0, 0, 10)
    p.raw("fallocate", os.pipe()[1], 0, 0, 10)
    p.raw("fallocate", 99, 0, 0, 10)


def copies_in_the_kernel(p: Probe) -> None:
    write("from", os.urandom(0) + b"0123456789" * 2000)
    source, target = os.open("from", os.O_RDONLY), os.open("to", os.O_CREAT | os.O_RDWR)
    p.do("copy_file_range", os.copy_file_range, source, target, 5000, 10, 0) if hasattr(os, "copy_file_range") else None
    p.do("sendfile", os.sendfile, target, source, 0, 3000)
    p.do("to itself", os.copy_file_range, target, target, 10, 0, 5) if hasattr(os, "copy_file_range") else None
    p.do("to a reader", os.sendfile, source, source, 0, 10)
    one, two = socket.socketpair()
    p.do("sendfile to a socket", os.sendfile, one.fileno(), source, 0, 100)
    p.show("received", len(two.recv(200)))
    reader, writer = os.pipe()
    if hasattr(os, "splice"):
        p.do("splice", os.splice, source, writer, 50, 0)
        p.show("piped", os.read(reader, 100))
    p.show("content", open("to", "rb").read()[:20])
    p.do("fadvise", os.posix_fadvise, source, 0, 0, os.POSIX_FADV_WILLNEED)


def duplicates(p: Probe) -> None:
    write("file", b"0123456789")
    fd = os.open("file", os.O_RDONLY)
    two = os.dup(fd)
    os.lseek(fd, 5, os.SEEK_SET)
    p.show("shared position", os.read(two, 2))
    p.show("dup2", os.dup2(fd, 50))
    p.show("F_DUPFD", fcntl.fcntl(fd, fcntl.F_DUPFD, 60))
    p.show("F_DUPFD_CLOEXEC", fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 70))
    os.set_inheritable(fd, True)
    import subprocess

    done = subprocess.run(["/bin/sh", "-c", f"cat <&{fd}"], pass_fds=[fd], stdout=subprocess.PIPE)
    p.show("inherited at its position", done.stdout)
    p.do("close twice", lambda: (os.close(two), os.close(two)))
    p.do("fcntl bad", fcntl.fcntl, 99, fcntl.F_GETFD)
    p.do("pipe size", fcntl.fcntl, os.pipe()[0], 1032)
    again = p.do("by /proc/self/fd", os.open, f"/proc/self/fd/{fd}", os.O_RDONLY)
    p.show("a position of its own", os.read(again, 2))
    p.do("by /dev/fd", os.open, f"/dev/fd/{fd}", os.O_RDONLY)
    p.do("more rights", os.open, f"/proc/self/fd/{fd}", os.O_RDWR)
    p.do("missing", os.open, "/proc/self/fd/99", os.O_RDONLY)


def file_size_limit(p: Probe) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    fd = os.open("file", os.O_CREAT | os.O_RDWR)
    p.do("within", os.write, fd, b"x" * 900)
    p.do("over", os.write, fd, b"x" * 900)
    p.do("beyond", os.write, fd, b"x")
    p.do("ftruncate", os.ftruncate, fd, 2000)
    p.do("truncate", os.truncate, "file", 2000)
    p.raw("fallocate", fd, 0, 0, 2000)
    p.do("size", os.fstat, fd)


def anonymous_memory_files(p: Probe) -> None:
    fd = p.do("memfd_create", os.memfd_create, "name", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, b"data")
    p.show("size and links", (os.fstat(fd).st_size, os.fstat(fd).st_nlink))
    p.do("fchmod", os.fchmod, fd, 0o600)
    p.show("link", os.readlink(f"/proc/self/fd/{fd}"))
    p.do("reopen", os.open, f"/proc/self/fd/{fd}", os.O_RDONLY)
    p.do("seal", fcntl.fcntl, fd, 1033, 2)
    p.do("write", os.write, fd, b"more")
    p.do("truncate", os.ftruncate, fd, 0)


def by_old_calls(p: Probe) -> None:
    for name in (b"file", b"file", b"missing/x"):
        fd = p.raw("creat", name, 0o640)
        if fd >= 0:
            os.close(fd)
    p.raw("mkdir", b"dir", 0o700)
    p.raw("link", b"file", b"dir/hard")
    p.raw("symlink", b"file", b"soft")
    p.raw("rename", b"dir/hard", b"hard")
    p.raw("chmod", b"hard", 0o400)
    p.raw("unlink", b"hard")
    p.raw("rmdir", b"dir")
    p.raw("mknod", b"pipe", 0o010600, 0)
    p.raw("access", b"pipe", 4)
    p.raw("openat", AT_FDCWD, b"soft", 0, 0)
    p.tree()
