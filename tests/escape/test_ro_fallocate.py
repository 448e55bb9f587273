"""On a read-only grant: space taken, or holes punched, through a descriptor for reading."""

from __future__ import annotations

from tests.escape.attack import every_wall, ordinary
from tests.escape.conftest import Host
from tests.escape.read_only import attack, does_not_reach, works_natively

CALL = "CALL(SYS_fallocate, fd, 3, 0, 4096) & CALL(SYS_fallocate, fd, 0, 0, 8192)"


@ordinary
@every_wall
def test_fallocate_does_not_reach_a_read_only_grant(host: Host, walls: str) -> None:
    does_not_reach(attack(CALL, "O_RDWR"), host, walls)


def test_fallocate_works_natively(host: Host) -> None:
    works_natively(attack(CALL, "O_RDWR"), host)
