"""Calls that wait: they hold up nobody else, and signals interrupt them."""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
import time
from typing import Any, Callable

from probe import Probe, child, write


class Alarm(Exception):
    pass


def _ring(*_: object) -> None:
    raise Alarm


def _interrupted(p: Probe, label: str, function: object, *args: object) -> None:
    signal.signal(signal.SIGALRM, _ring)
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
    try:
        function(*args)  # type: ignore[operator]
        p.show(label, "returned")
    except Alarm:
        p.show(label, "interrupted")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def fifo_waits_for_its_peer(p: Probe) -> None:
    os.mkfifo("fifo")
    done = []
    thread = threading.Thread(target=lambda: done.append(os.open("fifo", os.O_RDONLY)))
    thread.start()
    for number in range(50):
        write(f"meanwhile{number}")
    p.show("others work", len(os.listdir(".")))
    child(lambda: p.do("a child works", os.stat, "fifo"))
    fd = os.open("fifo", os.O_WRONLY)
    thread.join()
    os.write(fd, b"through")
    p.show("read", os.read(done[0], 100))
    os.close(fd)
    p.show("end", os.read(done[0], 100))


def many_fifos_wait_at_once(p: Probe) -> None:
    threads = []
    for number in range(40):
        os.mkfifo(f"fifo{number}")
        threads.append(threading.Thread(target=lambda n=number: os.close(os.open(f"fifo{n}", os.O_RDONLY))))
        threads[-1].start()
    p.do("others work", os.stat, ".")
    for number in range(40):
        os.close(os.open(f"fifo{number}", os.O_WRONLY))
    for thread in threads:
        thread.join()
    p.show("all opened", True)


def fifo_flags(p: Probe) -> None:
    os.mkfifo("fifo")
    p.do("writer without reader", os.open, "fifo", os.O_WRONLY | os.O_NONBLOCK)
    reader = p.do("reader without writer", os.open, "fifo", os.O_RDONLY | os.O_NONBLOCK)
    p.do("read at once", os.read, reader, 10)
    writer = p.do("writer", os.open, "fifo", os.O_WRONLY | os.O_NONBLOCK)
    p.do("read nothing yet", os.read, reader, 10)
    p.do("write", os.write, writer, b"abc")
    p.show("poll", select.select([reader], [writer], [], 0)[:2] == ([reader], [writer]))
    p.do("both ways", os.open, "fifo", os.O_RDWR)
    p.do("by link of /proc", os.open, f"/proc/self/fd/{reader}", os.O_WRONLY | os.O_NONBLOCK)


def opening_a_fifo_is_interrupted(p: Probe) -> None:
    os.mkfifo("fifo")
    for _ in range(3):
        _interrupted(p, "open", os.open, "fifo", os.O_RDONLY)
    p.do("then works", os.stat, "fifo")
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
    thread = threading.Thread(target=lambda: os.close(os.open("fifo", os.O_WRONLY)))
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
    thread.start()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
    p.show("opened in spite of signals", os.open("fifo", os.O_RDONLY) >= 0)
    signal.setitimer(signal.ITIMER_REAL, 0)
    thread.join()


def all_of_many_are_interrupted(p: Probe) -> None:
    """More than the sentry looks at in one go."""
    os.mkfifo("fifo")
    pids, (reader, writer) = [], os.pipe()
    for _ in range(100):
        pid = os.fork()
        pids.append(pid)
        if pid == 0:
            try:
                signal.signal(signal.SIGUSR1, _ring)
                os.write(writer, b"x")
                os.open("fifo", os.O_RDONLY)
            except Alarm:
                os._exit(7)
            os._exit(1)
    for _ in pids:
        os.read(reader, 1)
    while pids:
        pids = [pid for pid in pids if os.waitpid(pid, os.WNOHANG) == (0, 0)]
        for pid in pids:
            os.kill(pid, signal.SIGUSR1)  # again, where the handler ran just before the call
        time.sleep(0.005)
    p.show("gone", True)


def ignored_and_blocked_signals_do_not_interrupt(p: Probe) -> None:
    os.mkfifo("fifo")
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGUSR2, _ring)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    parent = os.getpid()

    def peer() -> None:
        for _ in range(5):
            os.kill(parent, signal.SIGUSR1)
            os.kill(parent, signal.SIGUSR2)
            time.sleep(0.02)
        os.close(os.open("fifo", os.O_WRONLY))

    pid = os.fork()
    if pid == 0:
        peer()
        os._exit(0)
    p.do("open", os.open, "fifo", os.O_RDONLY)
    p.show("pending", signal.SIGUSR2 in signal.sigpending())
    p.show("peer", os.waitpid(pid, 0)[1])


def killed_while_waiting(p: Probe) -> None:
    os.mkfifo("fifo")
    for number in (signal.SIGKILL, signal.SIGTERM):
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.write(writer, b"1")
            os.open("fifo", os.O_RDONLY)
            os._exit(0)
        os.read(reader, 1)
        os.kill(pid, number)
        p.show("status", os.waitpid(pid, 0)[1])
    p.do("others go on", os.stat, "fifo")


def stopped_and_continued_while_waiting(p: Probe) -> None:
    os.mkfifo("fifo")
    pid = os.fork()
    if pid == 0:
        os.close(os.open("fifo", os.O_RDONLY))
        os._exit(7)
    os.kill(pid, signal.SIGSTOP)
    p.show("stopped", os.WIFSTOPPED(os.waitpid(pid, os.WUNTRACED)[1]))
    os.kill(pid, signal.SIGCONT)
    os.close(os.open("fifo", os.O_WRONLY))
    p.show("exit", os.WEXITSTATUS(os.waitpid(pid, 0)[1]))


def pipes_and_sockets(p: Probe) -> None:
    reader, writer = os.pipe()
    _interrupted(p, "read", os.read, reader, 1)
    one, two = socket.socketpair()
    _interrupted(p, "recv", one.recv, 1)
    os.close(reader)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    p.do("write without reader", os.write, writer, b"x")
    two.close()
    p.do("end", one.recv, 1)


def signals_during_served_calls(p: Probe) -> None:
    """A storm of signals changes no result. A handler that does not restart calls may see EINTR from any call that is
    served, but then the call has not happened."""

    def again(function: Callable[..., Any], *args: Any) -> Any:
        while True:
            try:
                return function(*args)
            except InterruptedError:
                pass

    write("file")
    rung: list[int] = []
    signal.signal(signal.SIGALRM, lambda *_: rung.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    bad = 0
    for turn in range(3000):
        signal.siginterrupt(signal.SIGALRM, turn % 2 == 0)
        fd = os.open("file", os.O_RDONLY)
        bad += again(os.fstat, fd).st_size != 7
        os.close(fd)
        again(os.mkdir, "dir")
        again(os.rename, "dir", "dir2")
        again(os.rmdir, "dir2")
        bad += len(again(os.listdir, ".")) != 1
    signal.setitimer(signal.ITIMER_REAL, 0)
    p.show("wrong", bad)
    p.show("signals came", bool(rung))
    p.tree()
