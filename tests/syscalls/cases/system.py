"""/proc, /dev and terminals: what programs read there has the form that Linux gives it."""

from __future__ import annotations

import ctypes
import fcntl
import os
import pty
import re
import signal
import stat
import struct
import subprocess
import termios
import tty

from probe import AT_EMPTY_PATH, Probe, child, write

FILES = ("stat", "status", "statm", "cmdline", "comm", "environ", "maps", "smaps", "mounts", "mountinfo", "limits",
         "oom_score_adj")  # fmt: skip


def _form(text: str) -> list[str]:
    """Lines without their numbers."""
    return [re.sub(r"[0-9]+", "N", line) for line in text.splitlines()]


def own_process(p: Probe) -> None:
    for name in FILES:
        for label, who in (("self", "self"), ("thread-self", "thread-self"), ("pid", str(os.getpid()))):
            p.do(f"{label}/{name}", lambda w=who, n=name: len(open(f"/proc/{w}/{n}", "rb").read()) > 0)
    fields = dict(line.split(":\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\t" in line)
    p.show("status", {name: fields[name] for name in ("Name", "Umask", "State", "Uid", "Gid", "NoNewPrivs", "Threads",
                                                      "CapEff", "SigCgt")})  # fmt: skip
    p.show("pids", (int(fields["Pid"]) == os.getpid(), int(fields["PPid"]) == os.getppid()))
    stat = open("/proc/self/stat").read().rsplit(")", 1)[1].split()
    p.show("stat", (len(stat), stat[0], int(stat[1]) == os.getppid(), int(stat[2]) == os.getpgrp()))
    p.show("cmdline", open("/proc/self/cmdline", "rb").read().split(b"\0")[-2:])
    p.show("environ", b"LANG=C.UTF-8" in open("/proc/self/environ", "rb").read().split(b"\0"))
    p.show("comm", open("/proc/self/comm").read())
    p.show("exe", os.readlink("/proc/self/exe"))
    p.show("exe opens", os.path.samefile("/proc/self/exe", os.readlink("/proc/self/exe")))
    p.show("cwd", os.readlink("/proc/self/cwd") == os.getcwd())
    p.show("root", os.readlink("/proc/self/root"))
    p.show("limits", _form(open("/proc/self/limits").read())[0])
    p.show("links", os.readlink("/proc/self") == str(os.getpid()))
    p.show("tasks", os.listdir("/proc/self/task") == [str(os.getpid())])
    p.show("maps name the program", os.readlink("/proc/self/exe") in open("/proc/self/maps").read())


def own_descriptors(p: Probe) -> None:
    write("file")
    fd, (reader, writer), folder = os.open("file", os.O_RDWR | os.O_APPEND), os.pipe(), os.open(".", os.O_RDONLY)
    os.lseek(fd, 3, os.SEEK_SET)
    p.show("file", os.readlink(f"/proc/self/fd/{fd}") == os.path.abspath("file"))
    p.show("folder", os.readlink(f"/proc/self/fd/{folder}") == os.getcwd())
    p.show("pipe", re.sub(r"\d+", "N", os.readlink(f"/proc/self/fd/{reader}")))
    info = open(f"/proc/self/fdinfo/{fd}").read()
    p.show("fdinfo", re.findall(r"(?:pos|flags):\t\w+", info))
    p.do("missing", os.readlink, "/proc/self/fd/99")
    p.do("through a folder", os.stat, f"/proc/self/fd/{folder}/file")
    p.do("stat", os.stat, f"/proc/self/fd/{fd}")
    p.do("lstat kind", lambda: oct(os.lstat(f"/proc/self/fd/{fd}").st_mode))
    p.do("open for writing only", os.open, f"/proc/self/fd/{reader}", os.O_WRONLY | os.O_NONBLOCK)
    p.do("pipe again", os.open, f"/proc/self/fd/{writer}", os.O_WRONLY)
    p.do("/dev/stdin", lambda: os.path.samestat(os.stat("/dev/stdin"), os.fstat(0)))
    p.do("/dev/fd", lambda: os.path.samestat(os.stat(f"/dev/fd/{fd}"), os.fstat(fd)))
    dev = os.open("/dev", os.O_RDONLY)
    p.do("stdin in /dev", lambda: os.path.samestat(os.stat("stdin", dir_fd=dev), os.fstat(0)))
    p.do("fd in /dev", lambda: os.path.samestat(os.stat(f"fd/{fd}", dir_fd=dev), os.fstat(fd)))
    p.show("listed", {str(fd), str(reader), str(writer)} <= set(os.listdir("/proc/self/fd")))
    p.do("create in fd", os.open, "/proc/self/fd/new", os.O_CREAT | os.O_WRONLY)
    p.do("unlink in fd", os.unlink, f"/proc/self/fd/{fd}")


def processes_that_have_ended(p: Probe) -> None:
    """What their links say while nobody has waited for them, and afterwards."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    for state in ("waited for", "gone"):
        for name in ("exe", "cwd", "root", "fd/0"):
            path = f"/proc/{pid}/{name}"
            p.do(f"{state}: readlink {name}", os.readlink, path)
            p.do(f"{state}: open {name}", os.open, path, os.O_RDONLY)
            p.do(f"{state}: name {name}", os.open, path, os.O_PATH)
            p.do(f"{state}: stat {name}", os.stat, path)
            p.do(f"{state}: through {name}", os.stat, path + "/.")
            p.do(f"{state}: run {name}", os.execv, path, ["x"])
            p.do(f"{state}: lstat {name}", lambda: oct(os.lstat(path).st_mode))  # noqa: B023
            p.do(f"{state}: link {name}", lambda: os.close(os.open(path, os.O_PATH | os.O_NOFOLLOW)))  # noqa: B023
        for name in ("maps", "stat", "task", "fd"):
            p.do(f"{state}: open {name}", lambda: os.close(os.open(f"/proc/{pid}/{name}", os.O_RDONLY)))  # noqa: B023
        if state == "waited for":
            os.waitpid(pid, 0)


def links_of_descriptors(p: Probe) -> None:
    """Of what has no name: followed, not followed, as a directory."""
    reader, _ = os.pipe()
    for fd in (reader, os.memfd_create("x")):
        path = f"/proc/self/fd/{fd}"
        for flags in (os.O_NOFOLLOW, os.O_NOFOLLOW | os.O_DIRECTORY, os.O_DIRECTORY, os.O_PATH | os.O_DIRECTORY, os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY):
            p.do(f"open {flags:o}", os.open, path, flags)
        p.show("named", stat.S_IFMT(os.fstat(os.open(path, os.O_PATH)).st_mode) == stat.S_IFMT(os.fstat(fd).st_mode))
        link = os.open(path, os.O_PATH | os.O_NOFOLLOW)
        p.show("the link", stat.S_ISLNK(os.fstat(link).st_mode))
        p.show("its text", os.readlink("", dir_fd=link) == os.readlink(path))
        p.do("read", os.read, link, 1)


def terminals_that_are_only_named(p: Probe) -> None:
    """O_PATH of /dev/tty, with a controlling terminal and without."""
    def look() -> int:
        p.do("as a directory", os.open, "/dev/tty", os.O_RDONLY | os.O_DIRECTORY)
        p.do("named as one", os.open, "/dev/tty", os.O_PATH | os.O_DIRECTORY)
        fd = os.open("/dev/tty", os.O_PATH)
        p.do("read", os.read, fd, 1)
        p.do("write", os.write, fd, b"x")
        p.show("flags", bool(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_PATH))
        p.show("name", os.readlink(f"/proc/self/fd/{fd}"))
        p.do("anew", lambda: os.isatty(os.open(f"/proc/self/fd/{fd}", os.O_RDWR)))
        p.do("to read", lambda: os.isatty(os.open(f"/proc/self/fd/{fd}", os.O_RDONLY)))
        return 0

    child(lambda: os.setsid() or look())
    master, slave = pty.openpty()

    def with_terminal() -> int:
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        return look()

    p.show("ended", child(with_terminal))


def texts_that_are_only_named(p: Probe) -> None:
    """O_PATH of files of /proc: nothing is read, and each way anew opens the text."""
    for name in ("self/mountinfo", "self/status", "self/limits", "self/fdinfo/0", "meminfo", "sys/kernel/ostype"):
        fd = os.open(f"/proc/{name}", os.O_PATH)
        p.do("read", os.read, fd, 1)
        p.do("mode", lambda: oct(os.fstat(fd).st_mode))  # noqa: B023
        p.do("chdir", os.fchdir, fd)
        p.do("chmod", os.fchmod, fd, 0o600)
        p.raw("execveat", fd, b"", 0, 0, AT_EMPTY_PATH)
        p.show("name", os.readlink(f"/proc/self/fd/{fd}") == os.path.realpath(f"/proc/{name}"))
        p.raw("readlinkat", fd, b"", ctypes.create_string_buffer(100), 100)
        p.raw("statx", fd, b"", AT_EMPTY_PATH, 0x7ff, ctypes.create_string_buffer(256))
        p.raw("faccessat2", fd, b"", os.R_OK, AT_EMPTY_PATH)
        p.raw("newfstatat", fd, b"", ctypes.create_string_buffer(256), AT_EMPTY_PATH)
        p.do("anew", lambda: len(os.read(os.open(f"/proc/self/fd/{fd}", os.O_RDONLY), 1)))  # noqa: B023
        p.do("as a directory", os.open, f"/proc/self/fd/{fd}", os.O_PATH | os.O_DIRECTORY)
        p.raw("openat", fd, b"", os.O_RDONLY)
        p.raw("openat", fd, b".", os.O_RDONLY)


def other_processes(p: Probe) -> None:
    child_pid = os.fork()
    if child_pid == 0:
        signal.pause()
    p.show("listed", str(child_pid) in os.listdir("/proc"))
    status = open(f"/proc/{child_pid}/status").read()
    p.show("parent", f"PPid:\t{os.getpid()}\n" in status)
    p.show("cmdline", open(f"/proc/{child_pid}/cmdline").read() == open("/proc/self/cmdline").read())
    p.show("exe", os.readlink(f"/proc/{child_pid}/exe") == os.readlink("/proc/self/exe"))
    p.show("cwd", os.readlink(f"/proc/{child_pid}/cwd") == os.getcwd())
    p.show("fd", os.listdir(f"/proc/{child_pid}/fd") != [])
    os.kill(child_pid, signal.SIGKILL)
    p.show("zombie", os.waitid(os.P_PID, child_pid, os.WEXITED | os.WNOWAIT).si_status)
    p.show("its state", "Z (zombie)" in open(f"/proc/{child_pid}/status").read())
    os.waitpid(child_pid, 0)
    p.do("gone", os.stat, f"/proc/{child_pid}")
    p.do("gone too", os.open, f"/proc/{child_pid}/status", os.O_RDONLY)
    p.do("never", os.stat, "/proc/99999999")


def machine(p: Probe) -> None:
    for name in ("cpuinfo", "meminfo", "stat", "uptime", "loadavg", "version", "filesystems"):
        p.do(name, lambda n=name: len(open(f"/proc/{n}").read()) > 0)
    p.show("processors", open("/proc/cpuinfo").read().count("processor\t"))
    p.show("memory", re.findall("^(MemTotal|MemFree|MemAvailable|SwapTotal):", open("/proc/meminfo").read(), re.M))
    p.show("stat", re.findall("^(cpu|btime|processes|ctxt)", open("/proc/stat").read(), re.M)[:1])
    p.show("uptime", len(open("/proc/uptime").read().split()))
    p.show("load", len(open("/proc/loadavg").read().split()))
    for name in ("ostype", "osrelease", "pid_max", "ngroups_max", "cap_last_cap", "random/boot_id", "random/uuid"):
        p.do(name, lambda n=name: len(open(f"/proc/sys/kernel/{n}").read().strip()) > 0)
    p.show("release", open("/proc/sys/kernel/osrelease").read().strip() == os.uname().release)
    p.do("cpu topology", lambda: open("/sys/devices/system/cpu/online").read())
    p.show("counts", (os.cpu_count(), len(os.sched_getaffinity(0)), os.sysconf("SC_NPROCESSORS_ONLN")))
    p.do("create", os.open, "/proc/new", os.O_CREAT | os.O_WRONLY)
    p.do("mkdir", os.mkdir, "/proc/new")
    p.do("missing", os.open, "/proc/nonsense", os.O_RDONLY)


def devices(p: Probe) -> None:
    for name in ("null", "zero", "full", "random", "urandom"):
        p.do(name, lambda n=name: (oct(os.stat(f"/dev/{n}").st_mode), os.stat(f"/dev/{n}").st_rdev))
        fd = os.open(f"/dev/{name}", os.O_RDWR)
        p.do("  read", lambda f=fd: len(os.read(f, 16)))
        if "random" not in name:
            p.do("  write", os.write, fd, b"x" * 100)
    write("file")
    p.do("> /dev/null", lambda: open("/dev/null", "w").write("x"))
    p.do("O_TRUNC | O_CREAT", os.open, "/dev/null", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    p.do("shm", lambda: write("/dev/shm/probe-%d" % os.getpid()))
    p.do("shm unlink", lambda: os.unlink("/dev/shm/probe-%d" % os.getpid()))
    p.do("chmod null", os.chmod, "/dev/null", 0o600) if os.getuid() else None
    p.do("no controlling terminal", child, lambda: (os.setsid(), p.do("tty", os.open, "/dev/tty", os.O_RDWR)) and None)


def terminals(p: Probe) -> None:
    master, slave = pty.openpty()
    p.show("name", re.sub(r"\d+", "N", os.ttyname(slave)))
    p.show("is a terminal", (os.isatty(master), os.isatty(slave), os.isatty(os.pipe()[0])))
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 101, 0, 0))
    p.show("size", os.get_terminal_size(master))
    os.write(master, b"line\n")
    p.show("read", os.read(slave, 100))
    os.write(slave, b"out\n")
    seen = b""
    while b"out\r\n" not in seen:
        seen += os.read(master, 100)
    p.show("echo and output", seen)
    tty.setraw(slave)
    os.write(master, b"x")
    p.show("raw", os.read(slave, 100))
    p.show("stat", oct(os.stat(os.ttyname(slave)).st_mode)[:4])
    again = p.do("open by name", lambda: os.isatty(os.open(os.ttyname(slave), os.O_RDWR | os.O_NOCTTY)))
    p.show("again", again)
    p.do("by descriptor", lambda: os.isatty(os.open(f"/proc/self/fd/{slave}", os.O_RDWR | os.O_NOCTTY)))
    p.show("TIOCSTI", _refused(slave))


def _refused(fd: int) -> bool:
    try:
        fcntl.ioctl(fd, 0x5412, b"x")
    except OSError:
        return True
    return False


def a_session_on_a_terminal(p: Probe) -> None:
    pid, master = pty.fork()
    if pid == 0:
        with open("/dev/tty", "w") as terminal:
            terminal.write("through /dev/tty %d %d\n" % (os.getsid(0) == os.getpid(), os.tcgetpgrp(0) == os.getpgrp()))
        os.execv("/bin/sh", ["sh", "-c", "read line; echo got $line; kill -INT $$"])
    os.write(master, b"typed\n")
    seen = b""
    try:
        while data := os.read(master, 1000):
            seen += data
    except OSError as error:
        p.show("end", error.errno)
    p.show("seen", sorted(seen.split(b"\r\n")))
    p.show("status", os.waitpid(pid, 0)[1])


def control_characters(p: Probe) -> None:
    pid, master = pty.fork()
    if pid == 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a handler of Python's could run just before the pause
        os.write(1, b"ready")
        signal.pause()
    while b"ready" not in os.read(master, 100):
        pass
    os.write(master, b"\x03")
    p.show("status", os.waitpid(pid, 0)[1])


def accounts(p: Probe) -> None:
    done = subprocess.run(["/usr/bin/id", "-u"], stdout=subprocess.PIPE)
    p.show("id", done.stdout)
    p.show("uids", (os.getresuid() == (os.getuid(),) * 3, os.getresgid() == (os.getgid(),) * 3))
    p.do("setuid to itself", os.setuid, os.getuid())
    p.do("setgid to itself", os.setgid, os.getgid())
    p.do("setuid to another", os.setuid, 54321)
    p.do("setresuid", os.setresuid, 54321, -1, -1)
    p.do("setgroups", os.setgroups, [])
    p.do("chroot", os.chroot, "/")
