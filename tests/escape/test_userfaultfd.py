"""userfaultfd stops whoever touches a page, the sentry in the middle of a copy too; /dev/userfaultfd does the same."""

from __future__ import annotations

import errno

from tests.escape.attack import answered_natively, build, every_wall, ordinary, refused

ATTACK = r"""
int main(void) {
    told("userfaultfd", CALL(323, 0));
    told("user mode only", CALL(323, 1));
    told("device", open("/dev/userfaultfd", O_RDWR));
    return 0;
}
"""
EXPECTED = {
    "userfaultfd": errno.EPERM,
    "user mode only": errno.EPERM,
    "device": errno.ENOENT,
}


@ordinary
@every_wall
def test_refused(walls: str) -> None:
    refused(build(ATTACK), EXPECTED, walls=walls)


def test_answered_without_the_filter() -> None:
    answered_natively(build(ATTACK), EXPECTED)
