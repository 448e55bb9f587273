"""clone3 has its flags in memory, where no filter looks: it does not exist inside."""

from __future__ import annotations

import errno

from tests.escape.attack import answered_natively, build, every_wall, ordinary, refused

ATTACK = r"""
int main(void) {
    static long arguments[11] = {0x100000, 0, 0, 0, SIGCHLD};
    told("clone3", CALL(435, arguments, 88));
    told("namespace", (arguments[0] = CLONE_NEWUSER, CALL(435, arguments, 88)));
    told("cgroup", (arguments[0] = 0x200000000, CALL(435, arguments, 88)));
    told("unreadable", CALL(435, 8, 88));
    return 0;
}
"""
EXPECTED = {
    "clone3": errno.ENOSYS,
    "namespace": errno.ENOSYS,
    "cgroup": errno.ENOSYS,
    "unreadable": errno.ENOSYS,
}


@ordinary
@every_wall
def test_refused(walls: str) -> None:
    refused(build(ATTACK), EXPECTED, walls=walls)


def test_answered_without_the_filter() -> None:
    answered_natively(build(ATTACK), EXPECTED)
