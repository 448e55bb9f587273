"""Files opened anew behind /proc/self/fd with more rights than their descriptors have: read-only grants, files that the
caller handed in, and both while another thread puts something else behind the number."""

from __future__ import annotations

import os

import pytest

from tests.escape.attack import box, build, every_wall, inside, native, ordinary
from tests.escape.conftest import Host

ATTACK = r"""
/* argv[1]: a file, or "" for standard input. Its descriptor, for reading, is behind 50; with a race, a memfd in turns */
static int target, memory;
static void *swap(void *_) {
    while (!race_over) { dup2(memory, 50); dup2(target, 50); }
    return NULL;
}
int main(int argc, char **argv) {
    char *names[] = {"/proc/self/fd/50", "/dev/fd/50", "/proc/thread-self/fd/50", "/proc/self/task/../fd/50"};
    struct stat wanted, status;
    int races = atoi(argv[2]), won = 0;
    target = argv[1][0] ? open(argv[1], O_RDONLY) : 0;
    memory = memfd_create("mine", 0);
    if (target < 0 || fstat(target, &wanted)) return unfit("target");
    dup2(target, 50);
    pthread_t thread;
    if (races) thread = race(swap);
    for (int i = 0; i < (races ? races : 4) && !won; i++) {
        int fd = open(names[i % 4], i & 8 ? O_WRONLY : O_RDWR);
        if (fd >= 0 && !fstat(fd, &status) && status.st_ino == wanted.st_ino && status.st_dev == wanted.st_dev)
            won = write(fd, "stolen", 6) == 6;
        if (fd >= 0) close(fd);
    }
    race_over = 1;
    return won ? WON : LOST;
}
"""


@ordinary
@every_wall
@pytest.mark.parametrize("races", [0, 8000])
def test_a_read_only_grant_cannot_be_opened_for_writing(host: Host, walls: str, races: int) -> None:
    """INVARIANT read-only-means-it."""
    before = host.content
    assert not inside(build(ATTACK), "/data/file", races, mounts={"/data": host.granted}, walls=walls).won
    assert host.content == before


@ordinary
@every_wall
@pytest.mark.parametrize("races", [0, 8000])
def test_nor_can_what_the_caller_gave_for_reading(host: Host, walls: str, races: int) -> None:
    before = host.content
    with open(host.secret / "file", "rb") as handed:
        assert not inside(build(ATTACK), "", races, stdin=handed, walls=walls).won
    assert host.content == before


def test_linux_opens_them_natively(host: Host) -> None:
    assert native(build(ATTACK), host.granted / "file", 0).won
    with open(host.secret / "file", "rb") as handed:
        assert native(build(ATTACK), "", 0, stdin=handed).won


LED_AWAY = """
import os
os.mkdir("/w/d"); os.link("/w/file", "/w/d/x")
held = os.open("/w/d/x", os.O_RDONLY)
os.unlink("/w/d/x"); os.rmdir("/w/d"); os.symlink({outside!r}, "/w/d")
os.stat(f"/proc/self/fd/{{held}}")
"""


@ordinary
@every_wall
def test_what_a_link_leads_to_outside_is_not_looked_at(host: Host, walls: str) -> None:
    """INVARIANT below-root: a removed name is looked up in its mount, though a link stands above it now; nothing tells what is outside."""
    os.link(host.writable / "file", host.secret / "x (deleted)")
    with box(walls, writable={"/w": host.writable}) as made:
        done = made.run(["python3", "-c", LED_AWAY.format(outside=str(host.secret))], timeout=60)
    assert done.returncode == 0, done
