"""Files that would run as another user on the host: made, marked or moved into a writable grant."""

from __future__ import annotations

import os
import stat

from tests.escape.attack import build, every_wall, inside, native, ordinary
from tests.escape.conftest import Host

ATTACK = r"""
static int won;
static void check(const char *how, const char *path) {
    struct stat status;
    if (!lstat(path, &status) && S_ISREG(status.st_mode) && status.st_mode & (S_ISUID | S_ISGID)) { printf("%s: made\n", how); won = 1; }
    unlink(path);
}
int main(int argc, char **argv) { /* argv[1]: the grant; argv[2]: a place of our own */
    char path[256], own[256], link_[64];
    umask(0);
    sprintf(path, "%s/program", argv[1]); sprintf(own, "%s/program", argv[2]);
    close(open(path, O_CREAT | O_WRONLY, 06755)); check("open", path);
    close(open(path, O_CREAT | O_WRONLY, 0755)); chmod(path, 04755); check("chmod", path);
    int fd = open(path, O_CREAT | O_RDWR, 0755); fchmod(fd, 02755); check("fchmod", path);
    fd = open(path, O_CREAT | O_RDWR, 0755); sprintf(link_, "/proc/self/fd/%d", fd); chmod(link_, 06755); check("magic link", path);
    fd = open(path, O_CREAT | O_RDWR, 0755); int held = open(path, O_PATH); CALL(452, held, "", 04755, AT_EMPTY_PATH); check("fchmodat2", path);
    mknod(path, S_IFREG | 06755, 0); check("mknod", path);
    fd = open(argv[1], O_TMPFILE | O_RDWR, 06755); fchmod(fd, 06755); sprintf(link_, "/proc/self/fd/%d", fd);
    linkat(AT_FDCWD, link_, AT_FDCWD, path, AT_SYMLINK_FOLLOW); check("O_TMPFILE", path);
    close(open(own, O_CREAT | O_WRONLY, 0755)); chmod(own, 06755); rename(own, path); check("rename", path);
    link(own, path); check("link", path);
    close(open(path, O_CREAT | O_WRONLY, 0755));
    if (!CALL(SYS_setxattr, path, "security.capability", "\1\0\0\2\377\377\377\377\0\0\0\0\0\0\0\0\0\0\0\0", 20, 0)) { printf("capabilities\n"); won = 1; }
    return won ? WON : LOST;
}
"""


@ordinary
@every_wall
def test_no_file_of_the_host_gets_a_set_id_bit(host: Host, walls: str) -> None:
    outcome = inside(build(ATTACK), "/out", "/work", writable={"/out": host.writable}, walls=walls)
    assert not outcome.won, outcome
    modes = [entry.stat(follow_symlinks=False).st_mode for entry in os.scandir(host.writable)]
    assert not any(mode & (stat.S_ISUID | stat.S_ISGID) for mode in modes)


def test_an_owner_sets_it_natively(host: Host) -> None:
    assert native(build(ATTACK), host.writable, host.writable).won
