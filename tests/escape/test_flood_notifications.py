"""More calls that wait than the sentry has threads, and many that call all the time."""

from __future__ import annotations

import os

from tests.escape.attack import LOST, box, build, every_wall, ordinary, sentry_of, works

ATTACK = r"""
/* argv[1] processes wait in the open of a FIFO that nobody writes to (those beyond the sentry's threads get ENOMEM);
 * meanwhile others call; then the first are killed */
int main(int argc, char **argv) {
    int count = atoi(argv[1]), status, refused = 0;
    static pid_t waiting[3000], busy[4];
    if (mkfifo("/tmp/fifo", 0600)) return unfit("mkfifo");
    for (int i = 0; i < count; i++)
        if ((waiting[i] = fork()) == 0) _exit(open("/tmp/fifo", O_RDONLY) < 0 && errno == ENOMEM ? 5 : 0);
    for (int i = 0; i < 4; i++)
        if ((busy[i] = fork()) == 0) { struct stat s; for (int n = 0; n < 300; n++) stat("/tmp", &s); _exit(0); }
    for (int i = 0; i < 4; i++) waitpid(busy[i], &status, 0); /* they are served beside those that wait */
    for (int i = 0; i < count; i++) if (waiting[i] > 0) kill(waiting[i], SIGKILL);
    for (int i = 0; i < count; i++) {
        if (waiting[i] <= 0) continue;
        waitpid(waiting[i], &status, 0);
        refused += WIFEXITED(status) && WEXITSTATUS(status) == 5;
    }
    unlink("/tmp/fifo");
    struct stat s;
    if (stat("/tmp", &s)) return UNFIT;
    printf("%d\n", refused);
    return LOST;
}
"""


@ordinary
@every_wall
def test_waiting_calls_do_not_stop_others(walls: str) -> None:
    """Up to the pool's size calls wait beside each other, and those that do not wait are served."""
    with box(walls, build(ATTACK)) as made:
        for _ in range(2):
            done = made.run(["/attack/attack", "300"], timeout=100)
            assert (done.returncode, done.stdout) == (LOST, b"0\n")
        assert made.run(["/bin/true"], timeout=60).returncode == 0
        assert len(os.listdir(f"/proc/{sentry_of(made)}/task")) <= 640  # a thread is used again when its caller is seen to be dead


@ordinary
@every_wall
def test_beyond_the_pool_calls_that_would_wait_are_refused(walls: str) -> None:
    """Someone is always left to serve: the guest's own kill works, other commands and neighbours do not notice."""
    with box(walls, build(ATTACK)) as made:
        process = made.popen(["/attack/attack", "2100"], stdout=-1)
        assert works()
        out, _ = process.communicate(timeout=200)
        assert process.returncode == LOST and int(out) >= 2100 - 2048
        assert made.run(["/bin/true"], timeout=60).returncode == 0
