"""Every call that takes another process's id, aimed at a process outside, at a neighbour's, at sentries and at the caller."""

from __future__ import annotations

import os

import pytest

from tests.escape.attack import box, build, children, every_wall, inside, native, ordinary, sentry_of
from tests.escape.victim import condition, program, victim

ATTACK = r"""
#include <linux/perf_event.h>
#include <linux/sched.h>
/* argv[1]: the process; argv[2]: "hard" tries what would kill or stop it */
int main(int argc, char **argv) {
    pid_t pid = atoi(argv[1]);
    int hard = argv[2] != NULL, zero = 0;
    static char memory[4096];
    struct rlimit64 limit = {100, 100};
    struct iovec part = {memory, 8};
    siginfo_t info = {.si_signo = SIGWINCH, .si_code = SI_QUEUE};
    struct perf_event_attr perf = {.type = 1, .size = 112, .disabled = 1, .exclude_kernel = 1};
    struct { unsigned size, policy; long flags; int nice; unsigned priority; long a, b, c; } attributes = {48};
    struct { unsigned version; int pid; } header = {0x20080522, pid};
    struct timespec time;
    told("kill", kill(pid, SIGWINCH));
    told("kill group", kill(-pid, SIGWINCH));
    told("tkill", CALL(SYS_tkill, pid, SIGWINCH));
    told("tgkill", CALL(SYS_tgkill, pid, pid, SIGWINCH));
    told("sigqueue", CALL(SYS_rt_sigqueueinfo, pid, SIGWINCH, &info));
    told("tgsigqueue", CALL(SYS_rt_tgsigqueueinfo, pid, pid, SIGWINCH, &info));
    int pidfd = syscall(SYS_pidfd_open, pid, 0);
    told("pidfd_open", pidfd);
    told("pidfd_send_signal", CALL(SYS_pidfd_send_signal, pidfd, SIGWINCH, 0, 0));
    told("pidfd group", CALL(SYS_pidfd_send_signal, pidfd, SIGWINCH, 0, 4));
    told("pidfd_getfd", CALL(SYS_pidfd_getfd, pidfd, 0, 0));
    told("waitid", CALL(SYS_waitid, 3, pidfd, &info, WEXITED | WNOHANG, 0));
    told("prlimit get", CALL(SYS_prlimit64, pid, RLIMIT_NOFILE, 0, &limit));
    limit.rlim_cur--;
    told("prlimit set", CALL(SYS_prlimit64, pid, RLIMIT_NOFILE, &limit, 0));
    told("prlimit tag", CALL(SYS_prlimit64, pid, RLIMIT_LOCKS, 0, &limit));
    told("getpriority", CALL(SYS_getpriority, PRIO_PROCESS, pid));
    told("setpriority", CALL(SYS_setpriority, PRIO_PROCESS, pid, 5));
    told("priority of its group", CALL(SYS_setpriority, PRIO_PGRP, pid, 5));
    told("ioprio_get", CALL(SYS_ioprio_get, 1, pid));
    told("ioprio_set", CALL(SYS_ioprio_set, 1, pid, 3 << 13));
    told("sched_getscheduler", CALL(SYS_sched_getscheduler, pid));
    told("sched_setscheduler", CALL(SYS_sched_setscheduler, pid, 3, &zero));
    told("sched_getparam", CALL(SYS_sched_getparam, pid, memory));
    told("sched_setparam", CALL(SYS_sched_setparam, pid, &zero));
    told("sched_rr", CALL(SYS_sched_rr_get_interval, pid, &time));
    told("sched_getattr", CALL(SYS_sched_getattr, pid, &attributes, 48, 0));
    attributes.policy = 3;
    told("sched_setattr", CALL(SYS_sched_setattr, pid, &attributes, 0));
    told("getaffinity", CALL(SYS_sched_getaffinity, pid, 128, memory));
    memset(memory, 0, 128); memory[0] = 1;
    told("setaffinity", CALL(SYS_sched_setaffinity, pid, 128, memory));
    told("getpgid", CALL(SYS_getpgid, pid));
    told("getsid", CALL(SYS_getsid, pid));
    told("setpgid", CALL(SYS_setpgid, pid, 0));
    told("clock", CALL(SYS_clock_gettime, (long)(~pid << 3 | 2), &time));
    told("timer", CALL(SYS_timer_create, (long)(~pid << 3 | 2), 0, memory));
    told("capget", CALL(SYS_capget, &header, memory));
    told("process_vm_readv", CALL(SYS_process_vm_readv, pid, &part, 1, &part, 1, 0));
    told("ptrace", CALL(SYS_ptrace, 0x4206, pid, 0, 0));
    told("kcmp", CALL(SYS_kcmp, getpid(), pid, 0, 0, 0));
    told("get_robust_list", CALL(SYS_get_robust_list, pid, memory, memory + 8));
    told("migrate_pages", CALL(SYS_migrate_pages, pid, 8, memory, memory));
    told("move_pages", CALL(SYS_move_pages, pid, 0, 0, 0, 0, 0));
    told("perf", CALL(SYS_perf_event_open, &perf, pid, -1, -1, 0));
    told("wait4", CALL(SYS_wait4, pid, 0, WNOHANG, 0));
    char path[64];
    for (int i = 0; i < 6; i++) {
        snprintf(path, sizeof path, "/proc/%d/%s", pid, (char *[]){"mem", "environ", "status", "fd/0", "root", "cmdline"}[i]);
        told(path + 6, open(path, O_RDONLY | O_NONBLOCK));
    }
    if (hard) { told("stop", kill(pid, SIGSTOP)); told("end", kill(pid, SIGKILL)); }
    return 0;
}
"""


PARENTS = {"getpgid", "getsid", "sched_getscheduler", "sched_getparam"}
"""What a process may ask about its own sentry, which it sees as its parent."""


def expect_nothing(told: dict[str, int], allowed: frozenset[str] = frozenset()) -> None:
    assert len(told) > 40
    assert {name for name, error in told.items() if error == 0} <= allowed


@ordinary
@every_wall
def test_a_process_of_the_callers(walls: str) -> None:
    """INVARIANT own-processes."""
    with victim() as process:
        before = condition(process.pid)
        expect_nothing(inside(build(ATTACK), process.pid, "hard", walls=walls).told)
        assert condition(process.pid) == before


@ordinary
@every_wall
@pytest.mark.parametrize("whose", ["caller", "own sentry", "neighbour's sentry", "neighbour"])
def test_the_caller_sentries_and_neighbours(walls: str, whose: str) -> None:
    with box(walls, program()) as neighbour, box(walls, build(ATTACK)) as made:
        process = neighbour.popen(["/attack/attack"], stdout=-1)
        assert process.stdout.readline() == b"ready\n"
        sentries = {"own sentry": sentry_of(made), "neighbour's sentry": sentry_of(neighbour)}
        # the neighbour's command and its launcher: both must stay as they are
        theirs = children(sentry_of(neighbour))
        pids = theirs if whose == "neighbour" else [sentries.get(whose, os.getpid())]
        for pid in pids:
            before = condition(pid)
            outcome = made.run(["/attack/attack", str(pid), *(["hard"] if whose == "neighbour" else [])])
            told = dict(line.split("=") for line in outcome.stdout.decode().splitlines())
            allowed = frozenset(PARENTS if whose == "own sentry" else ())
            expect_nothing({name: int(error) for name, error in told.items()}, allowed)
            assert condition(pid) == before
        process.kill()


def test_natively_they_reach_it() -> None:
    with victim() as process:
        told = native(build(ATTACK), process.pid, "hard").told
        assert process.wait(10) == -9
    assert sum(error == 0 for error in told.values()) > 20
