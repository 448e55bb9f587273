"""kill(-1), kill(0) and groups: they reach the guest's own processes and nobody else."""

from __future__ import annotations

import os

from tests.escape.attack import box, build, every_wall, native, ordinary
from tests.escape.victim import pending, program, victim

ATTACK = r"""
/* with a child that takes the signal; argv[1..]: groups to be aimed at, as positive numbers */
int main(int argc, char **argv) {
    sigset_t harmless;
    sigemptyset(&harmless);
    sigaddset(&harmless, SIGWINCH);
    sigprocmask(SIG_BLOCK, &harmless, NULL);
    pid_t child = fork();
    if (child == 0) { int got; sigwait(&harmless, &got); _exit(got); }
    for (int i = 1; i < argc; i++) told(argv[i], kill(-atoi(argv[i]), SIGWINCH));
    told("everyone", argc > 1 ? kill(-1, SIGWINCH) : kill(child, SIGWINCH));
    int status;
    waitpid(child, &status, 0);
    told("child", WIFEXITED(status) && WEXITSTATUS(status) == SIGWINCH ? 0 : -1);
    return 0;
}
"""


@ordinary
@every_wall
def test_only_the_guest_is_reached(walls: str) -> None:
    with victim() as process, box(walls, build(ATTACK)) as made, box(walls, program()) as neighbour:
        other = neighbour.popen(["/attack/attack"], stdout=-1)
        assert other.stdout.readline() == b"ready\n"
        groups = [os.getpgid(process.pid), os.getpgid(0)]
        outcome = made.run(["/attack/attack", *map(str, groups)], timeout=60, start_new_session=True)
        told = dict(line.split(b"=") for line in outcome.stdout.splitlines())
        assert told[b"everyone"] == told[b"child"] == b"0"
        assert {told[str(group).encode()] for group in groups} == {b"3"}
        assert pending(process.pid) == 0
        other.kill()


def test_a_signal_to_a_group_shows_natively() -> None:
    """The same signal, sent to the victim's group, is seen as this test would see it."""
    with victim() as process:
        os.kill(process.pid, 28)
        assert pending(process.pid) == 1 << 27
        assert native(build(ATTACK)).told["child"] == 0
