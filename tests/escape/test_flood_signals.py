"""Signals during every served call: each is answered once, returns what it should, and leaves its record."""

from __future__ import annotations

from pathlib import Path

import sandbox._audit
from tests.escape.attack import build, every_wall, inside, native, ordinary

ATTACK = r"""
static void nothing(int signal) {}
int main(int argc, char **argv) {
    struct sigaction action = {.sa_handler = nothing, .sa_flags = SA_RESTART};
    sigaction(SIGALRM, &action, NULL);
    sigaction(SIGUSR1, &action, NULL);
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    struct itimerspec often = {{0, 30000}, {0, 30000}};
    timer_t timer;
    if (timer_create(CLOCK_MONOTONIC, &event, &timer) || timer_settime(timer, 0, &often, NULL)) return unfit("timer");
    int bad = 0;
    char name[64];
    struct stat status;
    sprintf(name, "%s/counted", argv[1]);
    for (int i = 0; i < 2000; i++) { /* what is done twice fails the second time */
        bad += mkdir(name, 0700) != 0;
        bad += stat(name, &status) != 0;
        bad += rmdir(name) != 0;
        int fd = open(name, O_CREAT | O_EXCL | O_WRONLY, 0600);
        bad += fd < 0 || close(fd) || unlink(name);
    }
    printf("bad=%d\n", bad);
    return bad ? WON : LOST;
}
"""


@ordinary
@every_wall
def test_no_call_is_lost_or_done_twice(walls: str, tmp_path: Path) -> None:
    trail = tmp_path / "trail"
    outcome = inside(build(ATTACK), "/tmp", walls=walls, audit=trail)
    assert not outcome.won, outcome
    events = [event for event in sandbox._audit.load(trail) if "/tmp/counted" in event.paths]
    assert len(events) == 2000 * 5
    assert all(event.verdict == "done" for event in events)


def test_so_it_is_natively(tmp_path: Path) -> None:
    assert not native(build(ATTACK), tmp_path).won
