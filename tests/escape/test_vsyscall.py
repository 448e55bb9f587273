"""The vsyscall page: calls at fixed addresses, which the kernel makes itself."""

from __future__ import annotations

from tests.escape.attack import build, every_wall, inside, native, ordinary

ATTACK = r"""
typedef long entry(void *, void *);
static int of(unsigned long address) {
    int status;
    pid_t child = fork();
    if (child == 0) { long room[4]; ((entry *)address)(room, 0); _exit(0); }
    waitpid(child, &status, 0);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}
int main(void) {
    printf("gettimeofday=%d\n", of(0xffffffffff600000));
    printf("time=%d\n", of(0xffffffffff600400));
    printf("getcpu=%d\n", of(0xffffffffff600800));
    printf("its middle=%d\n", of(0xffffffffff600009));
    printf("behind=%d\n", of(0xffffffffff600c00));
    return 0;
}
"""


@ordinary
@every_wall
def test_it_is_no_way_around_the_filter(walls: str) -> None:
    """Three calls that read clocks, as natively; everything else there is a fault."""
    told = inside(build(ATTACK), walls=walls).told
    natively = native(build(ATTACK)).told
    assert all(told[name] in (natively[name], 31) for name in natively)
    assert told["its middle"] in (11, 31) and told["behind"] in (11, 31)
