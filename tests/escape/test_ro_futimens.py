"""On a read-only grant: the times set through a descriptor for reading."""

from __future__ import annotations

from tests.escape.attack import every_wall, ordinary
from tests.escape.conftest import Host
from tests.escape.read_only import attack, does_not_reach, works_natively

CALL = "futimens(fd, (struct timespec[2]){{1, 1}, {1, 1}})"


@ordinary
@every_wall
def test_futimens_does_not_reach_a_read_only_grant(host: Host, walls: str) -> None:
    does_not_reach(attack(CALL), host, walls)


def test_futimens_works_natively(host: Host) -> None:
    works_natively(attack(CALL), host)
