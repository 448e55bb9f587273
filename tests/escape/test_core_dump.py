"""A core dump: to a handler of the host's, which runs with its privileges on what the guest has made, or to a file."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from tests.escape.attack import alive, box, build, children, every_wall, inside, ordinary, sentry_of

ATTACK = r"""
int main(int argc, char **argv) {
    struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY}, now = {1, 1};
    struct rlimit64 kernel = {7, 7};
    int won = 0, status;
    chdir("/tmp");
    told("setrlimit", setrlimit(RLIMIT_CORE, &all));
    told("prlimit", CALL(SYS_prlimit64, 0, RLIMIT_CORE, &all, 0));
    told("one", setrlimit(RLIMIT_CORE, &now));
    told("dumpable", prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
    int signals[] = {SIGSEGV, SIGABRT, SIGQUIT, SIGFPE, SIGILL, SIGBUS, SIGSYS, SIGXFSZ};
    for (int i = 0; i < 8; i++) {
        pid_t child = fork();
        if (child == 0) { signal(signals[i], SIG_DFL); raise(signals[i]); _exit(0); }
        waitpid(child, &status, 0);
        won |= !WIFSIGNALED(status) || WCOREDUMP(status);
    }
    won |= !access("core", F_OK);
    int fd = open("/proc/self/limits", O_RDONLY);
    char text[4096] = "";
    read(fd, text, sizeof text - 1);
    printf("%s\n", strstr(text, "Max core"));
    return won ? WON : LOST;
}
"""
LIMITS = r"""
/* what the kernel really has: told by a child's limits to a reader outside */
int main(int argc, char **argv) { setrlimit(RLIMIT_CORE, &(struct rlimit){RLIM_INFINITY, RLIM_INFINITY}); write(1, "x", 1); pause(); return 0; }
"""


@ordinary
@every_wall
def test_there_is_none(walls: str) -> None:
    outcome = inside(build(ATTACK), walls=walls)
    assert not outcome.won, outcome
    assert outcome.told["setrlimit"] and outcome.told["prlimit"]


@ordinary
@every_wall
def test_not_even_to_a_pipe(walls: str) -> None:
    """A handler behind a pipe is run whatever the limit is, but for 1: which the kernel takes as a request for none."""
    with box(walls, build(LIMITS)) as made:
        process = made.popen(["/attack/attack"], stdout=-1)
        assert process.stdout.read(1) == b"x"
        limits = {resource.prlimit(pid, resource.RLIMIT_CORE) for pid in children(sentry_of(made)) if alive(pid)}
        assert limits == {(1, 1)}
        process.kill()


def test_natively_a_process_leaves_one(tmp_path: Path) -> None:
    """Where the limit allows, the signal's status says that the kernel dumped."""
    program = build("int main(void) { abort(); }")
    child = os.fork()
    if child == 0:
        os.chdir(tmp_path)
        try:
            resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            os.execv(program, ["abort"])
        finally:
            os._exit(7)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status) or not os.WCOREDUMP(status):
        pytest.skip("this machine dumps no cores")
