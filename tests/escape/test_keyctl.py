"""Keyrings are shared by all processes of a user."""

from __future__ import annotations

import errno

from tests.escape.attack import answered_natively, build, every_wall, ordinary, refused

ATTACK = r"""
int main(void) {
    told("session", CALL(250, 0, -3, 0));
    told("user", CALL(250, 6, -4));
    told("add_key", CALL(248, "user", "a", "b", 1, -3));
    told("request_key", CALL(249, "user", "a", 0, -3));
    return 0;
}
"""
EXPECTED = {
    "session": errno.ENOSYS,
    "user": errno.ENOSYS,
    "add_key": errno.ENOSYS,
    "request_key": errno.ENOSYS,
}


@ordinary
@every_wall
def test_refused(walls: str) -> None:
    refused(build(ATTACK), EXPECTED, walls=walls)


def test_answered_without_the_filter() -> None:
    answered_natively(build(ATTACK), EXPECTED)
