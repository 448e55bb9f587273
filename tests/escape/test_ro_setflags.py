"""On a read-only grant: inode flags (immutable, append-only, no-dump) set through a descriptor for reading."""

from __future__ import annotations

from tests.escape.attack import build, every_wall, inside, native, ordinary
from tests.escape.conftest import Host

ATTACK = r"""
#include <linux/fs.h>
int main(int argc, char **argv) {
    int fd = open(argv[1], O_RDONLY), flags = 0;
    struct fsxattr extended = {0};
    if (fd < 0) return unfit("open");
    int readable = ioctl(fd, FS_IOC_GETFLAGS, &flags);
    flags ^= FS_NODUMP_FL;
    int set = told("FS_IOC_SETFLAGS", ioctl(fd, FS_IOC_SETFLAGS, &flags));
    int more = told("FS_IOC_FSSETXATTR", ioctl(fd, FS_IOC_FSSETXATTR, &extended));
    told("FICLONE", ioctl(fd, FICLONE, fd));
    return set == 0 || more == 0 ? WON : LOST;
}
"""


@ordinary
@every_wall
def test_flags_of_a_read_only_grant_stay(host: Host, walls: str) -> None:
    """ioctl passes by an allow-list of commands that no file attribute is on."""
    assert not inside(build(ATTACK), "/data/file", mounts={"/data": host.granted}, walls=walls).won


@ordinary
@every_wall
def test_nor_do_they_change_on_a_writable_one(host: Host, walls: str) -> None:
    assert not inside(build(ATTACK), "/out/file", writable={"/out": host.writable}, walls=walls).won


def test_an_owner_changes_them_natively(host: Host) -> None:
    assert native(build(ATTACK), host.granted / "file").won
