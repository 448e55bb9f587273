from __future__ import annotations

import errno
import fcntl
import os
import signal
import struct
import threading

from probe import Probe, child, write


def _pair() -> tuple[tuple[int, int], tuple[int, int]]:
    return os.pipe(), os.pipe()


def flock_between_processes(p: Probe) -> None:
    write("file")
    for mine in (fcntl.LOCK_EX, fcntl.LOCK_SH):
        fd = os.open("file", os.O_RDWR)
        p.do("lock", fcntl.flock, fd, mine)

        def other() -> None:
            own = os.open("file", os.O_RDWR)
            p.do("other shared", fcntl.flock, own, fcntl.LOCK_SH | fcntl.LOCK_NB)
            p.do("other exclusive", fcntl.flock, own, fcntl.LOCK_EX | fcntl.LOCK_NB)
            p.do("the inherited one", fcntl.flock, fd, fcntl.LOCK_UN)
            p.do("other exclusive", fcntl.flock, own, fcntl.LOCK_EX | fcntl.LOCK_NB)

        child(other)
        p.do("lock again", fcntl.flock, fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(fd)
    p.do("bad operation", fcntl.flock, os.open("file", os.O_RDONLY), 0)
    p.do("bad descriptor", fcntl.flock, 99, fcntl.LOCK_EX)
    p.do("a pipe", fcntl.flock, os.pipe()[0], fcntl.LOCK_EX)


def flock_waits(p: Probe) -> None:
    """A waiting lock is got when the holder lets go; meanwhile another thread works."""
    write("file")
    fd = os.open("file", os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    reader, writer = os.pipe()

    def other() -> None:
        own = os.open("file", os.O_RDWR)
        worked = threading.Event()
        threading.Thread(target=lambda: (os.stat("file"), write("meanwhile"), worked.set())).start()
        worked.wait()
        os.write(writer, b"1")
        fcntl.flock(own, fcntl.LOCK_EX)
        p.show("got it", True)

    import sys

    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        other()
        sys.stdout.flush()
        os._exit(0)
    os.read(reader, 1)
    fcntl.flock(fd, fcntl.LOCK_UN)
    p.show("child", os.waitpid(pid, 0)[1])


def records_between_processes(p: Probe) -> None:
    write("file", b"x" * 100)
    fd = os.open("file", os.O_RDWR)
    p.do("lock", fcntl.lockf, fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 20)

    def other() -> None:
        own = os.open("file", os.O_RDWR)
        p.do("before", fcntl.lockf, own, fcntl.LOCK_EX | fcntl.LOCK_NB, 20, 0)
        p.do("within", fcntl.lockf, own, fcntl.LOCK_EX | fcntl.LOCK_NB, 5, 22)
        p.do("shared within", fcntl.lockf, own, fcntl.LOCK_SH | fcntl.LOCK_NB, 5, 22)
        p.do("after", fcntl.lockf, own, fcntl.LOCK_EX | fcntl.LOCK_NB, 0, 30)
        asked = struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 22, 1, 0)
        kind, whence, start, length, holder = struct.unpack("hhqqi4x", fcntl.fcntl(own, fcntl.F_GETLK, asked))
        p.show("F_GETLK", (kind, whence, start, length, holder == os.getppid()))

    child(other)
    os.close(fd)  # Linux drops the locks at any descriptor's close, a guest's live until the last one's
    child(lambda: p.do("after the close", fcntl.lockf, os.open("file", os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB, 5, 22))
    p.do("a reader wants to write", fcntl.lockf, os.open("file", os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)
    p.do("bad descriptor", fcntl.lockf, 99, fcntl.LOCK_EX | fcntl.LOCK_NB)


def records_of_descriptions(p: Probe) -> None:
    write("file", b"x" * 100)
    set_lock, set_wait, get_lock = 37, 38, 36
    one, two = os.open("file", os.O_RDWR), os.open("file", os.O_RDWR)
    lock = struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 10, 0)
    p.do("first", fcntl.fcntl, one, set_lock, lock)
    p.do("second", fcntl.fcntl, two, set_lock, lock)
    p.do("get", lambda: struct.unpack("hhqqi4x", fcntl.fcntl(two, get_lock, lock)))
    p.do("pid must be zero", fcntl.fcntl, two, set_lock, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 50, 10, 7))
    thread = threading.Thread(target=lambda: fcntl.fcntl(two, set_wait, lock))
    thread.start()
    p.do("work meanwhile", os.stat, "file")
    os.close(one)
    thread.join()
    p.show("waited", True)


def waiting_is_interrupted(p: Probe) -> None:
    write("file")
    fd = os.open("file", os.O_RDWR)
    fcntl.lockf(fd, fcntl.LOCK_EX)
    reader, writer = os.pipe()

    def waiter() -> None:
        class Alarm(Exception):
            pass

        def ring(*_: object) -> None:
            raise Alarm

        signal.signal(signal.SIGALRM, ring)
        own = os.open("file", os.O_RDWR)
        for call in (fcntl.lockf, fcntl.flock):
            if call is fcntl.flock:
                holder = os.open("file", os.O_RDWR)
                fcntl.flock(holder, fcntl.LOCK_EX)
            signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
            try:
                call(own, fcntl.LOCK_EX)
                p.show("locked", True)
            except Alarm:
                signal.setitimer(signal.ITIMER_REAL, 0)
                p.show("interrupted", call.__name__)

    p.show("status", child(waiter))


def _deadlock(p: Probe, count: int) -> None:
    """Two processes hold `count` locks each, and each asks for one of the other's."""
    write("file", b"x" * 4 * count)
    (to_child, from_parent), (to_parent, from_child) = _pair()
    fd = os.open("file", os.O_RDWR)
    for n in range(count):
        fcntl.lockf(fd, fcntl.LOCK_EX, 1, 4 * n)
    pid = os.fork()
    if pid == 0:
        own = os.open("file", os.O_RDWR)
        for n in range(count):
            fcntl.lockf(own, fcntl.LOCK_EX, 1, 4 * n + 2)
        os.write(from_child, b"1")
        try:
            fcntl.lockf(own, fcntl.LOCK_EX, 1, 4 * (count - 1))
            os._exit(0)
        except OSError as error:
            os._exit(1 if error.errno == errno.EDEADLK else 2)
    os.read(to_parent, 1)
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX, 1, 4 * (count - 1) + 2)
        mine = 0
    except OSError as error:
        mine = 1 if error.errno == errno.EDEADLK else 2
    os.close(fd)
    theirs = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    p.show("one of the two was told", sorted((mine, theirs)))


def deadlock_is_seen(p: Probe) -> None:
    _deadlock(p, 1)


def deadlock_among_many_is_seen(p: Probe) -> None:
    """Of as many as the kernel lists in more than a page."""
    _deadlock(p, 400)


def kept_by_children_and_exec(p: Probe) -> None:
    import subprocess

    write("file")
    fd = os.open("file", os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    holder = subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[fd])
    os.close(fd)
    own = os.open("file", os.O_RDWR)
    p.do("held by the program", fcntl.flock, own, fcntl.LOCK_EX | fcntl.LOCK_NB)
    holder.communicate()
    p.do("free after its end", fcntl.flock, own, fcntl.LOCK_EX | fcntl.LOCK_NB)
