"""kcmp and the calls that read, write and advise another process's memory, and ptrace."""

from __future__ import annotations

import errno

from tests.escape.attack import answered_natively, build, every_wall, ordinary, refused

ATTACK = r"""
int main(void) {
    static char byte[16];
    struct iovec part = {byte, 8};
    told("kcmp", CALL(312, getpid(), getppid(), 0, 0, 0));
    told("process_vm_readv", CALL(310, getppid(), &part, 1, &part, 1, 0));
    told("process_vm_writev", CALL(311, getpid(), &part, 1, &part, 1, 0));
    told("process_madvise", CALL(440, 0, &part, 1, 0, 0));
    told("process_mrelease", CALL(448, 0, 0));
    told("traceme", CALL(101, 0, 0, 0, 0));
    told("attach", CALL(101, 16, getppid(), 0, 0));
    told("seize", CALL(101, 0x4206, getppid(), 0, 0));
    told("migrate_pages", CALL(256, getppid(), 8, &part, &part));
    told("move_pages", CALL(279, getppid(), 0, 0, 0, 0, 0));
    told("get_robust_list", CALL(274, getppid(), &part, &part));
    return 0;
}
"""
EXPECTED = {
    "kcmp": errno.EPERM,
    "process_vm_readv": errno.EPERM,
    "process_vm_writev": errno.EPERM,
    "process_madvise": errno.EPERM,
    "process_mrelease": errno.EPERM,
    "traceme": errno.EPERM,
    "attach": errno.EPERM,
    "seize": errno.EPERM,
    "migrate_pages": errno.ENOSYS,
    "move_pages": errno.ENOSYS,
    "get_robust_list": errno.EPERM,
}


@ordinary
@every_wall
def test_refused(walls: str) -> None:
    refused(build(ATTACK), EXPECTED, walls=walls)


def test_answered_without_the_filter() -> None:
    answered_natively(build(ATTACK), EXPECTED)
