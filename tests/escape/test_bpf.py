"""bpf(2) loads code into the kernel."""

from __future__ import annotations

import errno

from tests.escape.attack import answered_natively, build, every_wall, ordinary, refused

ATTACK = r"""
int main(void) {
    static int attributes[32] = {2, 4, 4, 1};
    told("map", CALL(321, 0, attributes, sizeof attributes));
    told("program", CALL(321, 5, attributes, sizeof attributes));
    return 0;
}
"""
EXPECTED = {
    "map": errno.EPERM,
    "program": errno.EPERM,
}


@ordinary
@every_wall
def test_refused(walls: str) -> None:
    refused(build(ATTACK), EXPECTED, walls=walls)


def test_answered_without_the_filter() -> None:
    answered_natively(build(ATTACK), EXPECTED)
