"""A sentry in a guest's hands: the real one, built with a handler that does whatever its guest asks for. What it reaches, wall
by wall, is what `doctor` says."""

from __future__ import annotations

import errno
import functools
import os
import socket
import subprocess
from pathlib import Path

import pytest

from sandbox import _sentry, doctor
from tests.escape.attack import NAMESPACES, WALLS, box, build, every_wall, ordinary
from tests.escape.conftest import Host
from tests.escape.victim import pending, victim

CSRC = Path(__file__).resolve().parents[2] / "csrc"
pytestmark = pytest.mark.skipif(not CSRC.is_dir(), reason="the sources are not there")
BROKEN = r"""
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>
#include "fs.h"
#include "guest.h"
struct answer __real_fs_statfs(struct request *request);
#define CALL(...) broken_call(__VA_ARGS__, 0L, 0L, 0L, 0L, 0L, 0L)
static long broken_call(long nr, long a, long b, long c, long d, long e, long f, ...) { return syscall(nr, a, b, c, d, e, f); }
static long both(long fd) { if (fd >= 0) close(fd); return fd; }
static pid_t asks;
static long name_socket(const char *path, int connects) { /* with a socket of its guest's: it can make none */
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    snprintf(name.sun_path, sizeof name.sun_path, "%s", path);
    int fd = guest_borrow_fd(asks, 9);
    return fd < 0 ? (errno = EDOM, -1) : connects ? connect(fd, (void *)&name, sizeof name) : bind(fd, (void *)&name, sizeof name);
}
static long act(const char *what, char *on) {
    long pid = atol(on);
    char byte[8], proc[64];
    struct iovec part = {byte, 8}, other = {(void *)0x400000, 8};
    struct timespec times[2] = {{1, 0}, {1, 0}};
    struct stat status;
    char *none[] = {NULL};
    snprintf(proc, sizeof proc, "/proc/%s/mem", on);
#define DO(name, expression) if (!strcmp(what, name)) return expression
    DO("read", both(open(on, O_RDONLY)));
    DO("write", both(open(on, O_WRONLY)));
    DO("create", both(open(on, O_CREAT | O_WRONLY, 0600)));
    DO("look", stat(on, &status));
    DO("list", both(open(on, O_RDONLY | O_DIRECTORY)));
    DO("mkdir", mkdir(on, 0700));
    DO("unlink", unlink(on));
    DO("rename", CALL(SYS_renameat2, AT_FDCWD, (long)on, AT_FDCWD, (long)on, 0));
    DO("link", CALL(SYS_linkat, AT_FDCWD, (long)on, AT_FDCWD, (long)on, 0));
    DO("chmod", chmod(on, 0600));
    DO("chmod at", CALL(SYS_fchmodat, AT_FDCWD, (long)on, 0600));
    DO("chmod beside", CALL(452, AT_FDCWD, (long)on, 0600, AT_EMPTY_PATH));
    DO("chown beside", CALL(SYS_fchownat, AT_FDCWD, (long)on, getuid(), getgid(), AT_EMPTY_PATH));
    DO("times beside", CALL(SYS_utimensat, AT_FDCWD, (long)on, (long)times, AT_EMPTY_PATH));
    DO("times", CALL(SYS_utimensat, AT_FDCWD, (long)on, (long)times, 0));
    DO("setxattr", CALL(SYS_setxattr, (long)on, (long)"user.a", (long)"b", 1, 0));
    DO("truncate", truncate(on, 0));
    DO("execute", CALL(SYS_execve, (long)on, (long)none, (long)none));
    DO("execute at", CALL(SYS_execveat, AT_FDCWD, (long)on, (long)none, (long)none, 0));
    DO("connect", name_socket(on, 1));
    DO("bind", name_socket(on, 0));
    DO("socket", syscall(SYS_socket, AF_INET, SOCK_STREAM, 0));
    DO("netlink", syscall(SYS_socket, AF_NETLINK, SOCK_RAW, 0));
    DO("fork", syscall(SYS_fork));
    DO("clone", CALL(SYS_clone, SIGCHLD));
    DO("namespace", unshare(CLONE_NEWUSER));
    DO("mount", CALL(SYS_mount, (long)"none", (long)"/", (long)"tmpfs", 0, 0));
    DO("bpf", CALL(SYS_bpf, 0, (long)byte, 8));
    DO("io_uring", CALL(425, 8, (long)proc));
    DO("keyctl", CALL(SYS_keyctl, 0, -3));
    DO("filter", CALL(SYS_seccomp, 1, 0, (long)byte));
    DO("privileges", CALL(SYS_setuid, 0) || CALL(SYS_capset, (long)byte, (long)byte) ? -1 : geteuid() ? -1 : (errno = EPERM, -1));
    DO("signal", kill(pid, SIGWINCH));
    DO("signal a thread", CALL(SYS_tgkill, pid, pid, SIGWINCH));
    DO("read memory", process_vm_readv(pid, &part, 1, &other, 1, 0) == 8 ? 0 : -1);
    DO("write memory", process_vm_writev(pid, &part, 1, &other, 1, 0) == 8 ? 0 : -1);
    DO("memory", both(open(proc, O_RDWR)));
    DO("trace", CALL(SYS_ptrace, 0x4206, pid, 0, 0));
    DO("see", CALL(SYS_prlimit64, pid, RLIMIT_NOFILE, 0, (long)proc));
    if (!strcmp(what, "its caller's descriptors") || !strcmp(what, "signal its caller")) {
        errno = EBADF;
        for (int fd = 0; fd < 256; fd++) { /* the pidfd that came with its plan */
            char link[32], text[64] = "";
            snprintf(link, sizeof link, "self/fd/%d", fd);
            if (readlinkat(guest_proc(), link, text, 63) < 0 || !strstr(text, "pidfd")) continue;
            if (what[0] == 's') { if (!CALL(SYS_pidfd_send_signal, fd, SIGWINCH, 0, 0)) return 0; continue; }
            for (int n = 0; n < 4; n++) if (CALL(SYS_pidfd_getfd, fd, n, 0) >= 0) return 0;
        }
        return -1;
    }
    errno = EDOM;
    return -1;
}
/* statfs("!what:on") */
struct answer __wrap_fs_statfs(struct request *request) {
    char *colon = request->path[0][0] == '!' ? strchr(request->path[0], ':') : NULL;
    if (colon == NULL) return __real_fs_statfs(request);
    *colon = 0;
    asks = request->tid;
    long did = act(request->path[0] + 1, colon + 1);
    return did < 0 ? answer_error(errno) : answer_value(0);
}
"""
ASK = r"""
#include <sys/statfs.h>
int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        struct statfs status;
        dup2(socket(AF_UNIX, SOCK_STREAM, 0), 9);
        printf("%d\n", statfs(argv[i], &status) ? errno : 0);
        fflush(stdout);
    }
    return 0;
}
"""


@functools.lru_cache(maxsize=1)
def broken_sentry() -> str:
    target = build("int main(void) { return 0; }", "-DBROKEN").with_name("sentry")
    source = target.with_name("broken.c")
    source.write_text(BROKEN)
    sources = [str(path) for path in CSRC.glob("*.c") if path.name not in ("spawn.c", "drain.c")]
    command = ["gcc", "-std=gnu11", "-w", "-O0", "-D_GNU_SOURCE", "-static-pie", "-fPIE", "-pthread", f"-I{CSRC}"]
    subprocess.run([*command, *sources, str(source), "-Wl,--wrap=fs_statfs", "-o", str(target)], check=True)
    return str(target)


class Broken:
    """What a broken sentry with these walls answers: 0 or an errno."""

    def __init__(self, walls: str, host: Host) -> None:
        self.walls, self.host = walls, host

    def __call__(self, *asked: str) -> dict[str, int]:
        monkey = pytest.MonkeyPatch()
        monkey.setattr(_sentry, "SENTRY", broken_sentry())
        try:
            with box(self.walls, build(ASK), writable={"/out": self.host.writable}) as made:
                done = made.run(["/attack/attack", *(f"!{each}" for each in asked)], timeout=60)
                assert done.returncode == 0, done
                self.stand = set(made.walls)
        finally:
            monkey.undo()
        return dict(zip(asked, map(int, done.stdout.split())))


def worked(answers: dict[str, int]) -> set[str]:
    return {name.partition(":")[0] for name, error in answers.items() if error == 0}


CHANGES = ("write", "create", "mkdir", "unlink", "rename", "link", "truncate")
NEVER = (
    *("chmod", "chmod at", "times", "execute", "execute at", "socket", "netlink"),
    *("fork", "clone", "namespace", "mount", "bpf", "io_uring", "keyctl", "filter", "privileges"),
)
BESIDE = ("chmod beside", "chown beside", "times beside", "setxattr")


def said_of(reach: Broken, what: str) -> str:
    walls = {name: "" if name in reach.stand else "no" for name in (*WALLS["no namespaces"], *NAMESPACES)}
    return doctor._reach(walls)[what]


@ordinary
@every_wall
def test_what_no_wall_is_needed_for(host: Host, walls: str) -> None:
    """Its own filter and the lack of privileges always stand: no program, no process, no socket, no times by path."""
    (host.secret / "program").write_bytes(build(ASK).read_bytes())
    (host.secret / "program").chmod(0o755)
    places = {"execute": "program", "execute at": "program"}
    answers = Broken(walls, host)(*(f"{what}:{host.secret / places.get(what, 'file')}" for what in NEVER))
    assert worked(answers) == set() and errno.EDOM not in answers.values()


@ordinary
@every_wall
def test_sockets(host: Host, walls: str) -> None:
    reach = Broken(walls, host)
    with socket.socket(socket.AF_UNIX) as daemon:
        daemon.bind(str(host.secret / "daemon"))
        daemon.listen()
        answers = reach(f"connect:{host.secret / 'daemon'}", f"bind:{host.secret / 'new'}")
    if "mountns" in reach.stand:
        assert worked(answers) == set() and said_of(reach, "network") == "UNIX sockets of its guest's"
    else:
        assert "connect" in worked(answers) and "may connect to by path" in said_of(reach, "network")
        assert ("bind" in worked(answers)) == ("landlock" not in reach.stand)


@ordinary
@every_wall
def test_files(host: Host, walls: str) -> None:
    file, new = host.secret / "file", host.secret / "new"
    reach = Broken(walls, host)
    asked = [
        f"{what}:{new if what in ('create', 'mkdir') else file}" for what in (*BESIDE, "look", "list", "read", *CHANGES)
    ]
    asked[asked.index(f"list:{file}")] = f"list:{host.secret}"
    did = worked(reach(*asked))
    said = said_of(reach, "files")
    if "mountns" in reach.stand:
        assert did == set() and "nothing else has a name" in said
    elif "landlock" in reach.stand:
        assert did == {"look", *BESIDE} and "content of what the policy grants" in said
        assert "rights, times and extended attributes" in said
    else:
        assert did >= {"look", "read", "write", "create", *BESIDE} and "everything" in said


@ordinary
@every_wall
def test_processes(host: Host, walls: str) -> None:
    with victim() as process:
        acts = ("signal", "signal a thread", "read memory", "write memory", "memory", "trace", "see")
        reach = Broken(walls, host)
        answers = reach(*(f"{what}:{process.pid}" for what in (*acts, "its caller's descriptors", "signal its caller")))
        signalled = pending(process.pid) != 0
        process.kill()
    did = worked(answers)
    said = said_of(reach, "processes")
    if "pidns" in reach.stand:
        assert did == set() and not signalled and said == "its guest's"
    elif "landlock-scope" in reach.stand:
        assert did <= {"see"} and not signalled and "sees" in said
    else:
        assert did >= {"signal", "signal a thread"} and signalled and "signals to any process" in said
        if os.geteuid() != 0:  # root's processes have capabilities that a sentry has not
            assert did >= {"read memory", "trace"}
    assert all(error != errno.EDOM for error in answers.values())
