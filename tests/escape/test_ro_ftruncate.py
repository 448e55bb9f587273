"""On a read-only grant: a file cut through descriptors that are for reading or name a path only."""

from __future__ import annotations

from tests.escape.attack import every_wall, ordinary
from tests.escape.conftest import Host
from tests.escape.read_only import attack, does_not_reach, works_natively

CALL = "ftruncate(fd, 0)"


@ordinary
@every_wall
def test_ftruncate_does_not_reach_a_read_only_grant(host: Host, walls: str) -> None:
    does_not_reach(attack(CALL, "O_RDWR"), host, walls)


def test_ftruncate_works_natively(host: Host) -> None:
    works_natively(attack(CALL, "O_RDWR"), host)
