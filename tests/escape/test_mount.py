"""The mount family, old and new, and what else changes roots."""

from __future__ import annotations

import errno

from tests.escape.attack import answered_natively, build, every_wall, ordinary, refused

ATTACK = r"""
int main(void) {
    static long attributes[16];
    told("mount", CALL(165, "none", "/tmp", "tmpfs", 0, 0));
    told("bind", CALL(165, "/", "/tmp", 0, 4096, 0));
    told("remount", CALL(165, 0, "/", 0, 32, 0));
    told("umount2", CALL(166, "/proc", 2));
    told("open_tree", CALL(428, -100, "/", 1));
    told("move_mount", CALL(429, -100, "/", -100, "/tmp", 0));
    told("fsopen", CALL(430, "tmpfs", 0));
    told("fsconfig", CALL(431, 0, 6, 0, 0, 0));
    told("fsmount", CALL(432, 0, 0, 0));
    told("fspick", CALL(433, -100, "/", 0));
    told("mount_setattr", CALL(442, -100, "/", 0, attributes, 32));
    told("pivot_root", CALL(155, "/", "/tmp"));
    told("chroot", CALL(161, "/tmp"));
    told("statmount", CALL(457, attributes, attributes, 32, 0));
    told("listmount", CALL(458, attributes, attributes, 4, 0));
    told("open_tree_attr", CALL(467, -100, "/", 1, attributes, 32));
    told("swapon", CALL(167, "/tmp", 0));
    told("acct", CALL(163, "/tmp/a"));
    told("quotactl", CALL(179, 0, "/dev/null", 0, 0));
    return 0;
}
"""
EXPECTED = {
    "mount": errno.EPERM,
    "bind": errno.EPERM,
    "remount": errno.EPERM,
    "umount2": errno.EPERM,
    "open_tree": errno.EPERM,
    "move_mount": errno.EPERM,
    "fsopen": errno.EPERM,
    "fsconfig": errno.EPERM,
    "fsmount": errno.EPERM,
    "fspick": errno.EPERM,
    "mount_setattr": errno.EPERM,
    "pivot_root": errno.EPERM,
    "chroot": errno.EPERM,
    "statmount": errno.ENOSYS,
    "listmount": errno.ENOSYS,
    "open_tree_attr": errno.ENOSYS,
    "swapon": errno.EPERM,
    "acct": errno.EPERM,
    "quotactl": errno.EPERM,
}


@ordinary
@every_wall
def test_refused(walls: str) -> None:
    refused(build(ATTACK), EXPECTED, walls=walls)


def test_answered_without_the_filter() -> None:
    answered_natively(build(ATTACK), EXPECTED)
