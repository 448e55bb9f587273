"""More calls at once than the sentry has threads: processes that all wait in served calls, and many that call all the time."""

from __future__ import annotations

import os

import sandbox
from tests.escape.attack import LOST, alive, box, build, every_wall, ordinary, sentry_of, works

ATTACK = r"""
/* argv[1] processes wait in the open of a FIFO that nobody writes to; meanwhile others call; then the first are killed */
int main(int argc, char **argv) {
    int count = atoi(argv[1]), status;
    static pid_t waiting[700], busy[4];
    if (mkfifo("/tmp/fifo", 0600)) return unfit("mkfifo");
    for (int i = 0; i < count; i++)
        if ((waiting[i] = fork()) == 0) { open("/tmp/fifo", O_RDONLY); _exit(0); }
    for (int i = 0; i < 4; i++)
        if ((busy[i] = fork()) == 0) { struct stat s; for (int n = 0; n < 300; n++) stat("/tmp", &s); _exit(0); }
    if (count < 500) for (int i = 0; i < 4; i++) waitpid(busy[i], &status, 0); /* they are served beside those that wait */
    for (int i = 0; i < count; i++) if (waiting[i] > 0) kill(waiting[i], SIGKILL);
    for (int i = 0; i < count; i++) if (waiting[i] > 0) waitpid(waiting[i], &status, 0);
    if (count >= 500) for (int i = 0; i < 4; i++) waitpid(busy[i], &status, 0);
    unlink("/tmp/fifo");
    struct stat s;
    return stat("/tmp", &s) ? UNFIT : LOST;
}
"""


@ordinary
@every_wall
def test_waiting_calls_do_not_stop_others(walls: str) -> None:
    """Up to the pool's size calls wait beside each other, and those that do not wait are served."""
    with box(walls, build(ATTACK)) as made:
        for _ in range(2):
            assert made.run(["/attack/attack", "300"], timeout=100).returncode == LOST
        assert made.run(["/bin/true"], timeout=60).returncode == 0
        assert len(os.listdir(f"/proc/{sentry_of(made)}/task")) <= 520


@ordinary
@every_wall
def test_beyond_the_pool_a_guest_only_stops_itself(walls: str) -> None:
    """Where nobody is left to serve it, its own kill may wait, too; the caller's does not, and neighbours do not notice."""
    with box(walls, build(ATTACK)) as made:
        process = made.popen(["/attack/attack", "600"])
        assert works()
        try:
            process.wait(3)
        except sandbox.CommandTimeout:
            process.kill()
        sentry = sentry_of(made)
    assert not alive(sentry)
    assert works()
