"""Descriptors of other processes, and of oneself through a pidfd."""

from __future__ import annotations

import errno

from tests.escape.attack import answered_natively, build, every_wall, ordinary, refused

ATTACK = r"""
int main(void) {
    told("own", CALL(438, syscall(SYS_pidfd_open, getpid(), 0), 0, 0));
    told("parent's", CALL(438, syscall(SYS_pidfd_open, getppid(), 0), 0, 0));
    told("the first's", CALL(438, syscall(SYS_pidfd_open, 1, 0), 0, 0));
    return 0;
}
"""
EXPECTED = {
    "own": errno.EPERM,
    "parent's": errno.EPERM,
    "the first's": errno.EPERM,
}


@ordinary
@every_wall
def test_refused(walls: str) -> None:
    refused(build(ATTACK), EXPECTED, walls=walls)


def test_answered_without_the_filter() -> None:
    answered_natively(build(ATTACK), EXPECTED)
