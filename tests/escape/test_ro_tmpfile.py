"""A file without a name made in a read-only grant, or one that is there given a second name (linkat): in the grant itself, or
in a place where the guest may write."""

from __future__ import annotations

import os

from tests.escape.attack import build, every_wall, inside, native, ordinary
from tests.escape.conftest import Host

ATTACK = r"""
int main(int argc, char **argv) {
    const char *granted = argv[1], *own = argv[2];
    char file[256], name[256], link_[64];
    int won = 0;
    sprintf(file, "%s/file", granted);
    int fd = open(granted, O_TMPFILE | O_RDWR, 0600);
    told("O_TMPFILE", fd);
    sprintf(name, "%s/new", granted);
    sprintf(link_, "/proc/self/fd/%d", fd);
    if (fd >= 0) won |= !told("its name", linkat(AT_FDCWD, link_, AT_FDCWD, name, AT_SYMLINK_FOLLOW));
    int held = open(file, O_RDONLY), path = open(file, O_PATH);
    char *places[] = {(char *)granted, (char *)own};
    for (int i = 0; i < 2; i++) {
        sprintf(name, "%s/by_path%d", places[i], i);
        won |= !told("by path", link(file, name));
        sprintf(link_, "/proc/self/fd/%d", held);
        won |= !told("by magic link", linkat(AT_FDCWD, link_, AT_FDCWD, name, AT_SYMLINK_FOLLOW));
        won |= !told("by descriptor", linkat(path, "", AT_FDCWD, name, AT_EMPTY_PATH));
        won |= !told("by rename", rename(file, name));
        won |= !told("by exchange", CALL(SYS_renameat2, AT_FDCWD, file, AT_FDCWD, name, 2));
        int to = open(name, O_RDWR);
        if (to >= 0) won |= write(to, "stolen", 6) == 6;
    }
    return won ? WON : LOST;
}
"""


@ordinary
@every_wall
def test_a_read_only_file_gets_no_other_name(host: Host, walls: str) -> None:
    """A link from a read-only grant to a writable place would make the file writable there."""
    before = host.content
    grants = {"mounts": {"/data": host.granted}, "writable": {"/out": host.writable}}
    with_mounts = {"writable": grants["writable"]}
    outcome = inside(build(ATTACK), "/data", "/out", mounts=grants["mounts"], walls=walls, **with_mounts)
    assert not outcome.won
    assert host.content == before and os.listdir(host.granted) == ["file"]


def test_it_gets_one_natively(host: Host) -> None:
    assert native(build(ATTACK), host.granted, host.writable).won
