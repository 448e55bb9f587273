"""Calls that are newer than the table: libc must find them missing, the kernel must not see them."""

from __future__ import annotations

import errno

from tests.escape.attack import answered_natively, build, every_wall, ordinary, refused

ATTACK = r"""
int main(void) {
    told("call 462", CALL(462, 0, 0, 0, 0, 0, 0));
    told("call 470", CALL(470, 0, 0, 0, 0, 0, 0));
    told("call 471", CALL(471, 0, 0, 0, 0, 0, 0));
    told("call 480", CALL(480, 0, 0, 0, 0, 0, 0));
    told("call 500", CALL(500, 0, 0, 0, 0, 0, 0));
    told("call 511", CALL(511, 0, 0, 0, 0, 0, 0));
    told("call 547", CALL(547, 0, 0, 0, 0, 0, 0));
    told("call 600", CALL(600, 0, 0, 0, 0, 0, 0));
    told("call 1000", CALL(1000, 0, 0, 0, 0, 0, 0));
    told("call 1073741823", CALL(1073741823, 0, 0, 0, 0, 0, 0));
    return 0;
}
"""
EXPECTED = {
    "call 462": errno.ENOSYS,
    "call 470": errno.ENOSYS,
    "call 471": errno.ENOSYS,
    "call 480": errno.ENOSYS,
    "call 500": errno.ENOSYS,
    "call 511": errno.ENOSYS,
    "call 547": errno.ENOSYS,
    "call 600": errno.ENOSYS,
    "call 1000": errno.ENOSYS,
    "call 1073741823": errno.ENOSYS,
}


@ordinary
@every_wall
def test_refused(walls: str) -> None:
    refused(build(ATTACK), EXPECTED, walls=walls)


def test_answered_without_the_filter() -> None:
    answered_natively(build(ATTACK), EXPECTED)
