"""New namespaces by unshare: they give an unprivileged process the kernel's privileged interfaces."""

from __future__ import annotations

import errno

from tests.escape.attack import answered_natively, build, every_wall, ordinary, refused

ATTACK = r"""
int main(void) {
    told("user", CALL(272, CLONE_NEWUSER));
    told("mount", CALL(272, CLONE_NEWNS));
    told("pid", CALL(272, CLONE_NEWPID));
    told("net", CALL(272, CLONE_NEWNET));
    told("ipc", CALL(272, CLONE_NEWIPC));
    told("uts", CALL(272, CLONE_NEWUTS));
    told("cgroup", CALL(272, CLONE_NEWCGROUP));
    told("time", CALL(272, 0x80));
    told("user and mount", CALL(272, CLONE_NEWUSER | CLONE_NEWNS));
    told("working directory", CALL(272, CLONE_FS));
    told("high bits", CALL(272, CLONE_NEWUSER | 0x100000000));
    return 0;
}
"""
EXPECTED = {
    "user": errno.EPERM,
    "mount": errno.EPERM,
    "pid": errno.EPERM,
    "net": errno.EPERM,
    "ipc": errno.EPERM,
    "uts": errno.EPERM,
    "cgroup": errno.EPERM,
    "time": errno.EPERM,
    "user and mount": errno.EPERM,
    "working directory": errno.EPERM,
    "high bits": errno.EPERM,
}


@ordinary
@every_wall
def test_refused(walls: str) -> None:
    refused(build(ATTACK), EXPECTED, walls=walls)


def test_answered_without_the_filter() -> None:
    answered_natively(build(ATTACK), EXPECTED)
