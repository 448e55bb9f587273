"""Processes that are gone as soon as they are there, in chains and in crowds, and zombies that nobody waits for."""

from __future__ import annotations

import os
import time
from contextlib import suppress

from tests.escape.attack import LOST, alive, box, build, children, every_wall, native, ordinary, sentry_of, works

ATTACK = r"""
int main(int argc, char **argv) {
    struct stat status;
    for (int i = 0; i < 400; i++) { /* crowds: some call and die in the middle of it */
        pid_t child = fork();
        if (child == 0) { if (i % 3 == 0) stat("/tmp", &status); if (i % 5 == 0) raise(SIGKILL); _exit(0); }
        if (i % 7 == 0) kill(child, SIGKILL);
    }
    while (wait(NULL) > 0) continue;
    pid_t child = fork();
    if (child == 0) { /* a chain: each goes before the next has begun */
        for (int i = 0; i < 200; i++) { if (fork()) _exit(0); setsid(); if (i % 20 == 0) stat("/tmp", &status); }
        _exit(0);
    }
    waitpid(child, NULL, 0);
    for (int i = 0; i < 200; i++) if (fork() == 0) _exit(0); /* left behind as they are */
    for (int i = 0; i < 100; i++) if (CALL(SYS_clone, CLONE_PARENT | SIGCHLD, 0) == 0) _exit(0); /* children of the sentry */
    pid_t left = fork();
    if (left == 0) { setsid(); CALL(SYS_close_range, 0, ~0u, 0); for (;;) pause(); } /* and one that stays */
    return LOST;
}
"""


@ordinary
@every_wall
def test_they_are_reaped_and_nothing_stays(walls: str) -> None:
    with box(walls, build(ATTACK)) as made:
        sentry = sentry_of(made)
        for _ in range(2):
            assert made.run(["/attack/attack"], timeout=60).returncode == LOST
        assert made.run(["/bin/true"], timeout=60).returncode == 0
        deadline = time.monotonic() + 30
        while len(left := [pid for pid in children(sentry) if alive(pid)]) > 3 and time.monotonic() < deadline:
            time.sleep(0.01)  # a zombie is one until the sentry has looked
        assert len(left) <= 3  # the launcher, and the two that stayed
    assert not any(map(alive, left))
    assert works()


def test_natively_one_stays_behind() -> None:
    """What is left behind outlives its command: natively for ever."""
    source = ATTACK.replace("for (;;) pause();", "alarm(5); prctl(PR_SET_NAME, argv[1]); for (;;) pause();")
    assert native(build(source), "left-behind").status == LOST
    import subprocess

    assert subprocess.run(["pgrep", "-x", "left-behind"], capture_output=True).returncode == 0
    with suppress(ChildProcessError):  # some were made as ours: until the last has ended
        while True:
            os.wait()
