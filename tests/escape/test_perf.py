"""perf_event_open watches other processes and the kernel."""

from __future__ import annotations

import errno

from tests.escape.attack import answered_natively, build, every_wall, ordinary, refused

ATTACK = r"""
int main(void) {
    static int attributes[32] = {1, 128};
    told("itself", CALL(298, attributes, 0, -1, -1, 0));
    told("a processor", CALL(298, attributes, -1, 0, -1, 0));
    return 0;
}
"""
EXPECTED = {
    "itself": errno.EACCES,
    "a processor": errno.EACCES,
}


@ordinary
@every_wall
def test_refused(walls: str) -> None:
    refused(build(ATTACK), EXPECTED, walls=walls)


def test_answered_without_the_filter() -> None:
    answered_natively(build(ATTACK), EXPECTED)
