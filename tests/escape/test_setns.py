"""Another process's namespaces, by its pidfd or by /proc."""

from __future__ import annotations

import errno

from tests.escape.attack import answered_natively, build, every_wall, ordinary, refused

ATTACK = r"""
int main(void) {
    told("by descriptor", CALL(308, 0, 0));
    told("by pidfd", CALL(308, syscall(SYS_pidfd_open, getpid(), 0), CLONE_NEWNS));
    told("names", open("/proc/self/ns/mnt", O_RDONLY));
    told("the sentry's", open("/proc/1/ns/mnt", O_RDONLY));
    return 0;
}
"""
EXPECTED = {
    "by descriptor": errno.EPERM,
    "by pidfd": errno.EPERM,
    "names": errno.ENOENT,
    "the sentry's": errno.ENOENT,
}


@ordinary
@every_wall
def test_refused(walls: str) -> None:
    refused(build(ATTACK), EXPECTED, walls=walls)


def test_answered_without_the_filter() -> None:
    answered_natively(build(ATTACK), EXPECTED)
