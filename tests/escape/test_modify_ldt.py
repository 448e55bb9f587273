"""Segments of one's own, and the other calls of the machine's oldest interfaces."""

from __future__ import annotations

import errno

from tests.escape.attack import answered_natively, build, every_wall, ordinary, refused

ATTACK = r"""
int main(void) {
    static char buffer[64];
    told("read", CALL(154, 0, buffer, sizeof buffer));
    told("write", CALL(154, 1, buffer, 16));
    told("iopl", CALL(172, 3));
    told("ioperm", CALL(173, 0x80, 1, 1));
    told("set_thread_area", CALL(205, buffer));
    return 0;
}
"""
EXPECTED = {
    "read": errno.ENOSYS,
    "write": errno.ENOSYS,
    "iopl": errno.EPERM,
    "ioperm": errno.EPERM,
    "set_thread_area": errno.ENOSYS,
}


@ordinary
@every_wall
def test_refused(walls: str) -> None:
    refused(build(ATTACK), EXPECTED, walls=walls)


def test_answered_without_the_filter() -> None:
    answered_natively(build(ATTACK), EXPECTED)
