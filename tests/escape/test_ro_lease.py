"""A lease or a notification on a file: the host's open of it waits for the guest, or tells it."""

from __future__ import annotations

from tests.escape.attack import build, every_wall, inside, native, ordinary
from tests.escape.conftest import Host

ATTACK = r"""
int main(int argc, char **argv) {
    int fd = open(argv[1], O_RDONLY), folder = open(argv[2], O_RDONLY | O_DIRECTORY);
    if (fd < 0 || folder < 0) return unfit("open");
    int lease = told("F_SETLEASE", fcntl(fd, F_SETLEASE, F_RDLCK));
    told("lease", fcntl(fd, F_GETLEASE) == F_RDLCK ? 0 : -1);
    int notify = told("F_NOTIFY", fcntl(folder, F_NOTIFY, DN_CREATE));
    told("F_SETSIG", fcntl(fd, F_SETSIG, SIGUSR1));
    return lease == 0 || notify == 0 ? WON : LOST;
}
"""


@ordinary
@every_wall
def test_there_are_no_leases(host: Host, walls: str) -> None:
    """fcntl passes by an allow-list of commands."""
    outcome = inside(build(ATTACK), "/data/file", "/data", mounts={"/data": host.granted}, walls=walls)
    assert not outcome.won
    outcome = inside(build(ATTACK), "/out/file", "/out", writable={"/out": host.writable}, walls=walls)
    assert not outcome.won


def test_linux_gives_them(host: Host) -> None:
    assert native(build(ATTACK), host.granted / "file", host.granted).won
