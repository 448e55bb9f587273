"""On a read-only grant: an extended attribute set through a descriptor for reading."""

from __future__ import annotations

from tests.escape.attack import every_wall, ordinary
from tests.escape.conftest import Host
from tests.escape.read_only import attack, does_not_reach, works_natively

CALL = 'CALL(SYS_fsetxattr, fd, "user.attack", "x", 1, 0)'


@ordinary
@every_wall
def test_fsetxattr_does_not_reach_a_read_only_grant(host: Host, walls: str) -> None:
    does_not_reach(attack(CALL), host, walls)


def test_fsetxattr_works_natively(host: Host) -> None:
    works_natively(attack(CALL), host)
