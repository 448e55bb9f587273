"""Numbers of the x32 interface, which mean 64-bit calls with another number, and numbers beyond all tables."""

from __future__ import annotations

from tests.escape.attack import build, every_wall, inside, ordinary

ATTACK = r"""
static int of(long number) { /* what becomes of a process that makes the call */
    int status;
    pid_t child = fork();
    if (child == 0) { long got = CALL(number, "/tmp/x32", O_CREAT | O_RDWR, 0600); _exit(got >= 0 ? 1 : errno == ENOSYS ? 2 : 3); }
    waitpid(child, &status, 0);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}
int main(void) {
    printf("open=%d\n", of(0x40000000 | 2));
    printf("getpid=%d\n", of(0x40000000 | 39));
    printf("execve=%d\n", of(0x40000000 | 520));
    printf("none=%d\n", of(-1));
    printf("private=%d\n", of(0x5b0));
    printf("high bits=%d\n", of(0x100000000 | 2)); /* the kernel takes the low half: an open like any other */
    return 0;
}
"""


@ordinary
@every_wall
def test_they_kill_or_do_not_exist(walls: str) -> None:
    told = inside(build(ATTACK), walls=walls).told
    assert told["open"] == told["getpid"] == told["execve"] == -31
    assert told["none"] == told["private"] == 2


@ordinary
def test_a_filter_by_number_alone_lets_them_pass() -> None:
    """Without that check the number of openat's x32 form is in no table of a filter that refuses by number."""
    from sandbox._core import syscalls

    assert not {row.nr for row in syscalls()} & {0x40000000 | row.nr for row in syscalls()}
