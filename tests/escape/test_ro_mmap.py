"""A read-only grant mapped shared, and written: by mmap, mprotect, mremap, through /proc/self/mem, and by calls that are
told to put their answer there."""

from __future__ import annotations

from tests.escape.attack import build, every_wall, inside, native, ordinary
from tests.escape.conftest import Host

ATTACK = r"""
int main(int argc, char **argv) {
    int fd = open(argv[1], argv[2] ? O_RDWR : O_RDONLY);
    if (fd < 0) return unfit("open");
    char *map = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0), text[8] = "";
    if (map == MAP_FAILED) return unfit("mmap");
    told("writable map", (long)mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == -1 ? -1 : 0);
    int may = !told("mprotect", mprotect(map, 4096, PROT_READ | PROT_WRITE));
    if (may) memcpy(map, "stolen", 6);
    mprotect(map, 4096, PROT_READ);
    struct stat status;
    /* served calls write their answer where they are told to */
    told("stat", stat(argv[1], (struct stat *)map));
    told("getcwd", CALL(SYS_getcwd, map, 4096));
    told("readlink", readlink("/proc/self/exe", map, 100));
    told("getdents", CALL(SYS_getdents64, open("/", O_RDONLY), map, 4096));
    told("prlimit", CALL(SYS_prlimit64, 0, RLIMIT_LOCKS, 0, map));
    int memory = open("/proc/self/mem", O_RDWR);
    if (memory >= 0) told("mem", pwrite(memory, "stolen", 6, (off_t)map));
    pread(fd, text, 6, 0);
    return strncmp(text, "of gra", 6) ? WON : LOST;
}
"""


@ordinary
@every_wall
def test_the_file_is_not_changed(host: Host, walls: str) -> None:
    """A descriptor of a read-only grant is for reading, and so is every mapping; the sentry writes guest memory as the guest
    could."""
    before = host.content
    outcome = inside(build(ATTACK), "/data/file", mounts={"/data": host.granted}, walls=walls)
    assert not outcome.won and host.content == before


def test_a_writable_descriptor_would_do(host: Host) -> None:
    assert native(build(ATTACK), host.granted / "file", "writable").won
