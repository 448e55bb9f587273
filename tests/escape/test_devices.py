"""The host's devices that every guest has: their rights, owner and times, which root owns; and devices of its own."""

from __future__ import annotations

import os

import pytest

from tests.escape.attack import build, every_wall, inside, native, ordinary
from tests.escape.conftest import Host

ATTACK = r"""
int main(int argc, char **argv) {
    int won = 0;
    for (char **name = argv + 1; *name; name++) { /* what they have already: whoever may set that may set anything */
        struct stat now;
        if (stat(*name, &now)) return unfit(*name);
        int fd = open(*name, O_RDONLY), path = open(*name, O_PATH);
        won |= !told("chmod", chmod(*name, now.st_mode & 07777));
        won |= !told("fchmod", fchmod(fd, now.st_mode & 07777));
        won |= !told("fchmodat2", CALL(452, path, "", now.st_mode & 07777, AT_EMPTY_PATH));
        won |= !told("chown", chown(*name, now.st_uid, now.st_gid));
        won |= !told("setxattr", CALL(SYS_setxattr, *name, "user.x", "y", 1, 0));
        won |= !told("unlink", unlink(*name)) || !told("rename", rename(*name, "/dev/other"));
    }
    won |= !told("mknod", mknod("/tmp/null", S_IFCHR | 0666, 0x103));
    won |= !told("block", mknod("/tmp/disk", S_IFBLK | 0666, 0x800));
    return won ? WON : LOST;
}
"""
DEVICES = ["/dev/null", "/dev/zero", "/dev/full", "/dev/urandom"]
OPEN = r"""
int main(int argc, char **argv) {
    int fd = open(argv[1], O_RDONLY), path = open(argv[1], O_PATH);
    char link[64];
    sprintf(link, "/proc/self/fd/%d", path);
    int again = open(link, O_RDONLY);
    return fd >= 0 || again >= 0 ? WON : LOST;
}
"""


@ordinary
@every_wall
def test_the_hosts_devices_stay_as_they_are(walls: str) -> None:
    before = [(os.stat(name).st_mode, os.stat(name).st_ctime_ns) for name in DEVICES]
    assert not inside(build(ATTACK), *DEVICES, walls=walls).won
    assert before == [(os.stat(name).st_mode, os.stat(name).st_ctime_ns) for name in DEVICES]


def test_their_owner_changes_them(host: Host) -> None:
    """The same calls on a file that the process owns, as uid 0 owns the devices."""
    assert native(build(ATTACK), host.writable / "file").won


@ordinary
@every_wall
def test_a_device_in_a_granted_directory_does_not_open(host: Host, walls: str) -> None:
    """Grants are nodev."""
    try:
        os.mknod(host.granted / "zero", 0o20666, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("only root makes devices")
    assert native(build(OPEN), host.granted / "zero").won
    assert not inside(build(OPEN), "/data/zero", mounts={"/data": host.granted}, walls=walls).won
    assert not inside(build(OPEN), "/data/zero", writable={"/data": host.granted}, walls=walls).won
