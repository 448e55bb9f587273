"""exec: what runs, what it is given, and how it fails."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading

from probe import AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW, Probe, child, write


def _argv(*words: bytes) -> object:
    import ctypes

    return (ctypes.c_char_p * (len(words) + 1))(*words, None)

def _run(p: Probe, label: str, path: object, args: list[object], env: dict[str, str] | None = None) -> None:
    """Status and output of an exec in a child, or its errno."""
    reader, writer = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        os.dup2(writer, 1)
        try:
            os.execve(path, args, env if env is not None else {"A": "1"})  # type: ignore[arg-type,type-var]
        except OSError as error:
            os.write(1, b"errno %d" % error.errno)
            os._exit(3)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        output = stream.read()
    p.show(label, (os.waitpid(pid, 0)[1], output))

def _script(name: str, text: str, mode: int = 0o755) -> None:
    write(name, text.encode())
    os.chmod(name, mode)

def scripts(p: Probe) -> None:
    _script("show", '#!/bin/sh\necho "$0" "$#" "$@"\n')
    _script("with-args", "#!/bin/sh -e\necho $- $0 $1\n")
    _script("one-arg", "#! /usr/bin/printf [%s] a b \n")
    _script("relative", "#!./show\nx\n")
    _script("nested", "#!./relative two\nx\n")
    _script("spaces", "#!   \t /bin/echo \t  hello  there \t \n")
    _script("no-newline", "#!/bin/echo")
    _script("only", "#!")
    _script("blank", "#!  \n")
    _script("missing", "#!/no/such/interpreter\n")
    _script("directory", "#!/tmp\n")
    _script("itself", "#!./itself\n")
    _script("no-rights", "#!/bin/sh\necho x\n", 0o644)

    _script("plain", "echo plain\n")
    _script("empty", "")
    _script("binary", "\0\1\2\3")
    _script("crlf", "#!/bin/sh\r\necho x\r\n")
    _script("name with space", "#!/bin/sh\necho \"$0\"\n")
    _script("long", "#!/bin/echo " + "x" * 300 + "\n")
    _script("long-path", "#!/" + "x" * 300 + "\n")
    os.symlink("show", "link")
    os.mkdir("dir")
    for count in range(1, 7):
        _script(f"deep{count}", f"#!./deep{count - 1}\n" if count > 1 else "#!/bin/echo\n")
    for name in sorted(os.listdir(".")):
        _run(p, name, f"./{name}", ["zero", "one", "two words", ""])
    for name in ("show/", "missing-file", "show/x", "", "dir/", ".", "/", "dir/..", "n" * 256, "/proc/self/status"):
        _run(p, name, name, ["zero"])
    _run(p, "no arguments", "./show", ["x"])
    _run(p, "unlinked interpreter", "./gone", ["x"])

def arguments_and_environment(p: Probe) -> None:
    show = ["/usr/bin/env", "-0"]
    _run(p, "environment", "/usr/bin/env", show, {"B": "two\nlines", "EMPTY": "", "U": "\u00e9"})
    _run(p, "no environment", "/usr/bin/env", show, {})
    _run(p, "odd arguments", "/usr/bin/printf", ["printf", "[%s]", "", "\n", "a b", "\xe9", "*"])
    _run(p, "many", "/bin/sh", ["sh", "-c", "echo $#", "x", *["y"] * 20000])
    _run(p, "one of 128 KiB less one", "/bin/sh", ["sh", "-c", "echo ${#1}", "x", "y" * 131071])
    _run(p, "one of 128 KiB", "/bin/sh", ["sh", "-c", "echo ${#1}", "x", "y" * 131072])
    _run(p, "too much", "/bin/true", ["true", *["y" * 100000] * 100])
    _script("script", "#!/bin/sh\necho $#\n")
    _run(p, "many to a script", "./script", ["x", *["y"] * 20000])
    _run(p, "too much for a script", "./script", ["x", *["y" * 100000] * 100])
    _run(p, "argv[0] differs", "/bin/sh", ["other", "-c", "echo $0"])
    _run(p, "comm", "/bin/sh", ["other", "-c", "cat /proc/$$/comm"])
    import ctypes

    env = _argv(b"A=1")
    for label, args in (("null argv", 0), ("bad argv", 8), ("bad string", (ctypes.c_long * 2)(8, 0))):
        child(lambda a=args, lab=label: p.raw("execveat", AT_FDCWD, b"/bin/true", a, env, 0, label=lab) and None)
    child(lambda: p.raw("execveat", AT_FDCWD, b"/bin/true", _argv(b"true"), 8, 0, label="bad environment") and None)
    child(lambda: p.raw("execveat", AT_FDCWD, b"/bin/true", _argv(b"true"), 0, 0, label="null environment") and None)
    child(lambda: p.raw("execveat", AT_FDCWD, 0, _argv(b"true"), env, 0, label="null path") and None)

def by_descriptor(p: Probe) -> None:
    _script("script", "#!/bin/sh\necho script $#\n")
    os.symlink("script", "link")
    args, env = _argv(b"echo", b"hello"), _argv(b"A=1")
    fd = os.open("/bin/echo", os.O_RDONLY)
    folder = os.open("/bin", os.O_PATH)
    script = os.open("script", os.O_RDONLY)
    closing = os.dup(script)
    os.set_inheritable(script, True)
    calls = (
        ("empty path", fd, b"", AT_EMPTY_PATH),
        ("without the flag", fd, b"", 0),
        ("below a directory", folder, b"echo", 0),
        ("absolute", 99, b"/bin/echo", 0),
        ("bad descriptor", 99, b"echo", 0),
        ("script", script, b"", AT_EMPTY_PATH),
        ("script that would be closed", closing, b"", AT_EMPTY_PATH),
        ("link", AT_FDCWD, b"link", 0),
        ("link not followed", AT_FDCWD, b"link", AT_SYMLINK_NOFOLLOW),
        ("nonsense flag", AT_FDCWD, b"/bin/echo", 0x10),
        ("a directory", folder, b"", AT_EMPTY_PATH),
        ("a pipe", os.pipe()[0], b"", AT_EMPTY_PATH),
    )
    for label, where, path, flags in calls:
        p.show(label, child(lambda w=where, t=path, f=flags: p.raw("execveat", w, t, args, env, f, label="  ") and 5))

def memory_files(p: Probe) -> None:
    data = open("/bin/echo", "rb").read()
    fd = os.memfd_create("program", 0)
    os.write(fd, data)
    _run(p, "fexecve of a writable memfd", fd, ["echo", "from memory"])
    again = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY)
    os.close(fd)
    _run(p, "fexecve", again, ["echo", "from memory"])
    _run(p, "by proc", f"/proc/self/fd/{again}", ["echo", "from memory"])
    os.fchmod(again, 0o600)
    _run(p, "without the right", again, ["echo", "from memory"])

def kinds_of_programs(p: Probe) -> None:
    data = bytearray(open("/bin/true", "rb").read())
    for label, at, change in (
        ("32-bit class", 4, b"\1"), ("big endian", 5, b"\2"), ("other machine", 18, b"\x28\0"), ("core file", 16, b"\4\0"),
        ("relocatable", 16, b"\1\0"), ("entry size", 54, b"\1\0"), ("no headers", 56, b"\0\0"),
        ("headers far away", 32, b"\xff" * 7 + b"\x0f"), ("version", 20, b"\x09\0\0\0"),
    ):  # fmt: skip
        changed = bytearray(data)
        changed[at : at + len(change)] = change
        write("program", bytes(changed))
        os.chmod("program", 0o755)
        if label != "version":
            _run(p, label, "./program", ["x"])
    for size in (0, 3, 4, 16, 63, 64, 100):
        write("program", bytes(data[:size]))
        _run(p, f"{size} bytes", "./program", ["x"])
    _run(p, "a fifo", "fifo", ["x"]) if os.mkfifo("fifo", 0o755) is None else None
    _run(p, "a device", "/dev/null", ["x"])

def what_survives(p: Probe) -> None:
    """Descriptors, signals, directory, umask and limits over an exec; nothing of ours is left in the program."""
    import resource

    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    kept, closed = os.open("/dev/null", os.O_RDONLY), os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(kept, True)
    fcntl.fcntl(closed, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGUSR2, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
    os.umask(0o031)
    os.mkdir("dir")
    os.chdir("dir")
    resource.setrlimit(resource.RLIMIT_NOFILE, (99, 200))
    os.nice(3)
    _run(p, "descriptors", "/bin/sh", ["sh", "-c", "ls -m /proc/$$/fd; :"])
    _run(p, "signals", "/bin/grep", ["grep", "-E", "SigBlk|SigIgn|SigCgt|ShdPnd", "/proc/self/status"])
    _run(p, "rest", "/bin/sh", ["sh", "-c", "pwd | sed 's,.*/,,'; umask; ulimit -n; ulimit -c; nice"])
    os.set_inheritable(kept, False)
    for number in range(3, 20):
        _quiet_close(number)
    p.do("missing program", os.execv, "/no/such/program", ["x"])
    p.show("after a failed exec", sorted(os.listdir("/proc/self/fd")))

def _quiet_close(fd: int) -> None:
    try:
        os.close(fd)
    except OSError:
        pass

def full_table(p: Probe) -> None:
    """An exec with no descriptor left under the soft limit works, as on Linux."""
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (12, 64))
    try:
        while True:
            os.open("/dev/null", os.O_RDONLY)
    except OSError as error:
        p.show("full", error.errno)
    sys.stdout.flush()
    os.execv("/bin/echo", ["echo", "ran"])

def from_threads(p: Probe) -> None:
    """An exec by a thread that is not the first, while others run, ends them and keeps the process id."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        for _ in range(3):
            threading.Thread(target=lambda: [os.getppid() for _ in iter(int, 1)], daemon=True).start()
        for _ in range(2):
            threading.Thread(target=lambda: [os.stat(".") for _ in iter(int, 1)], daemon=True).start()
        script = f"test $$ = {os.getpid()} && echo same; ls /proc/$$/task | wc -l"
        threading.Thread(target=lambda: os.execv("/bin/sh", ["sh", "-c", script])).start()
        signal.pause()
    p.show("status", os.waitpid(pid, 0)[1])

def many_at_once(p: Probe) -> None:
    """Threads that start programs at the same time; each gets its own output."""
    wrong: list[object] = []

    def work(number: int) -> None:
        for turn in range(8):
            done = subprocess.run(["/bin/echo", f"{number}-{turn}"], stdout=subprocess.PIPE)
            if (done.returncode, done.stdout) != (0, b"%d-%d\n" % (number, turn)):
                wrong.append(done)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    p.show("wrong", wrong)

def spawned(p: Probe) -> None:
    write("file", b"from the file")
    actions = [(os.POSIX_SPAWN_OPEN, 0, "file", os.O_RDONLY, 0), (os.POSIX_SPAWN_DUP2, 1, 2)]
    sys.stdout.flush()
    pid = os.posix_spawn("/bin/cat", ["cat"], {}, file_actions=actions)
    p.show("status", os.waitpid(pid, 0)[1])
    p.do("missing", os.posix_spawn, "/no/such", ["x"], {})
    p.do("bad action", os.posix_spawn, "/bin/cat", ["cat"], {}, file_actions=[(os.POSIX_SPAWN_OPEN, 0, "none", 0, 0)])
    pid = os.posix_spawnp("true", ["true"], os.environ)
    p.show("by name", os.waitpid(pid, 0)[1])

def chains(p: Probe) -> None:
    sys.stdout.flush()
    script = "i=$1; [ $i = 0 ] && exec echo end; exec /bin/sh ./again $((i - 1))"
    _script("again", script)
    os.execv("/bin/sh", ["sh", "./again", "100"])

def just_written(p: Probe) -> None:
    """Written, closed and run at once, many times: whoever opened it for the guest has closed it by then."""
    with open("/bin/true", "rb") as file:
        content = file.read()
    states = []
    for _ in range(200):
        fd = os.open("fresh", os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o755)
        os.write(fd, content)
        os.close(fd)
        states.append(subprocess.run(["./fresh"]).returncode)
        os.unlink("fresh")
    p.show("states", set(states))


def killed_and_stopped(p: Probe) -> None:
    """Signals that meet an exec: none is lost, nothing hangs."""
    statuses = []
    for turn in range(60):
        pid = os.fork()
        if pid == 0:
            while True:
                os.execv("/bin/sh", ["sh", "-c", 'exec sh -c "$0" "$0"', 'exec sh -c "$0" "$0"'])
        os.kill(pid, signal.SIGSTOP)
        stopped = os.WIFSTOPPED(os.waitpid(pid, os.WUNTRACED)[1])
        os.kill(pid, signal.SIGCONT)
        os.kill(pid, (signal.SIGKILL, signal.SIGTERM)[turn % 2])
        statuses.append((stopped, os.waitpid(pid, 0)[1]))
    p.show("statuses", sorted(set(statuses)))
