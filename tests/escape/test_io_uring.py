"""io_uring does calls beside the filter: none of its three calls exists inside."""

from __future__ import annotations

import errno

from tests.escape.attack import answered_natively, build, every_wall, ordinary, refused

ATTACK = r"""
int main(void) {
    static char parameters[256];
    told("setup", CALL(425, 8, parameters));
    told("enter", CALL(426, 3, 1, 0, 0, 0, 0));
    told("register", CALL(427, 3, 0, 0, 0));
    return 0;
}
"""
EXPECTED = {
    "setup": errno.ENOSYS,
    "enter": errno.ENOSYS,
    "register": errno.ENOSYS,
}


@ordinary
@every_wall
def test_refused(walls: str) -> None:
    refused(build(ATTACK), EXPECTED, walls=walls)


def test_answered_without_the_filter() -> None:
    answered_natively(build(ATTACK), EXPECTED)
