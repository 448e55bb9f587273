"""On a read-only grant: the times set through a descriptor for reading."""

from __future__ import annotations

from tests.escape.attack import build, every_wall, inside, native, ordinary
from tests.escape.conftest import Host

ATTACK = r"""
int main(int argc, char **argv) {
    int fd = open(argv[1], argv[2] ? O_RDONLY : O_RDONLY), path = open(argv[1], O_PATH), result;
    char link[32];
    if (fd < 0 || path < 0) return unfit("open");
    result = futimens(fd, (struct timespec[2]){{1, 1}, {1, 1}});
    told("descriptor", result);
    int won = result == 0;
    fd = path;
    result = futimens(fd, (struct timespec[2]){{1, 1}, {1, 1}});
    told("path descriptor", result);
    won |= result == 0;
    sprintf(link, "/proc/self/fd/%d", path);
    fd = open(link, O_RDONLY);
    result = futimens(fd, (struct timespec[2]){{1, 1}, {1, 1}});
    told("opened anew", result);
    won |= result == 0;
    return won ? WON : LOST;
}
"""


def look(host: Host) -> tuple[object, ...]:
    status = (host.granted / "file").stat()
    return status.st_mode, status.st_uid, status.st_mtime_ns, status.st_ctime_ns, status.st_size


@ordinary
@every_wall
def test_futimens_does_not_reach_a_read_only_grant(host: Host, walls: str) -> None:
    """INVARIANT read-only-means-it."""
    before = look(host)
    assert not inside(build(ATTACK), "/data/file", mounts={"/data": host.granted}, walls=walls).won
    assert look(host) == before


def test_futimens_works_natively(host: Host) -> None:
    before = look(host)
    assert native(build(ATTACK), host.granted / "file", "natively").won
    assert look(host) != before
