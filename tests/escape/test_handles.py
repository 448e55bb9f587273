"""A file handle reaches past mounts and names."""

from __future__ import annotations

import errno

from tests.escape.attack import answered_natively, build, every_wall, ordinary, refused

ATTACK = r"""
int main(void) {
    static int handle[34] = {128}, mount;
    told("name_to_handle_at", CALL(303, -100, "/proc", handle, &mount, 0));
    told("of a descriptor", CALL(303, 0, "", handle, &mount, 0x1000));
    told("open_by_handle_at", CALL(304, 0, handle, 0));
    return 0;
}
"""
EXPECTED = {
    "name_to_handle_at": errno.EOPNOTSUPP,
    "of a descriptor": errno.EOPNOTSUPP,
    "open_by_handle_at": errno.EPERM,
}


@ordinary
@every_wall
def test_refused(walls: str) -> None:
    refused(build(ATTACK), EXPECTED, walls=walls)


def test_answered_without_the_filter() -> None:
    answered_natively(build(ATTACK), EXPECTED)
