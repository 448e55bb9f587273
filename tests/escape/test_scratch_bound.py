"""More in scratch than its bound: below directories too deep to look at, in directories that are closed, in files without a
name, in holes that are filled by mapping them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import sandbox
from tests.escape.attack import LOST, build, every_wall, native, ordinary, standing

BOUND = 8 << 20
ATTACK = r"""
/* writes 64 MiB in the way of argv[2] below argv[1], and then waits to be ended */
static int fill(int folder, const char *name, int size) {
    static char block[1 << 20];
    memset(block, 'x', sizeof block);
    int fd = openat(folder, name, O_CREAT | O_RDWR, 0600);
    if (fd < 0) return -1;
    for (int i = 0; i < size; i++) if (write(fd, block, sizeof block) != sizeof block) return -1;
    return fd;
}
int main(int argc, char **argv) {
    int how = atoi(argv[2]), here = open(argv[1], O_RDONLY | O_DIRECTORY), error = 0;
    char name[32];
    if (how == 0) { /* deep */
        for (int i = 0; i < 300; i++) {
            if (mkdirat(here, "d", 0700)) return unfit("mkdir");
            int next = openat(here, "d", O_RDONLY | O_DIRECTORY);
            close(here);
            here = next;
        }
        error = fill(here, "f", 64) < 0;
    } else if (how == 1) { /* closed: files are held open, and written when nobody can look at them */
        int fds[64];
        mkdirat(here, "closed", 0700);
        int folder = openat(here, "closed", O_RDONLY | O_DIRECTORY);
        for (int i = 0; i < 64; i++) { sprintf(name, "f%d", i); fds[i] = openat(folder, name, O_CREAT | O_RDWR, 0600); }
        fchmod(folder, 0);
        static char block[1 << 20];
        memset(block, 'x', sizeof block);
        for (int i = 0; i < 64 && !error; i++) error = write(fds[i], block, sizeof block) != sizeof block;
    } else if (how == 2) { /* without a name */
        for (int i = 0; i < 64 && !error; i++) { sprintf(name, "f%d", i); int fd = fill(here, name, 1); error = fd < 0; unlinkat(here, name, 0); }
    } else { /* O_TMPFILE */
        for (int i = 0; i < 64 && !error; i++) {
            static char block[1 << 20];
            int fd = open(argv[1], O_TMPFILE | O_RDWR, 0600);
            memset(block, 'x', sizeof block);
            error = fd < 0 || write(fd, block, sizeof block) != sizeof block;
        }
    }
    if (error) return LOST; /* the kernel has said no */
    if (argc > 3) return WON;
    sleep(4);
    return WON;
}
"""


@ordinary
@every_wall
@pytest.mark.parametrize("how", [0, 1, 2, 3])
def test_the_bound_holds(walls: str, how: int) -> None:
    """By the kernel where a tmpfs can be had; else the sentry looks, and ends the guest that is past it."""
    with standing(walls):
        done = sandbox.run(
            ["/attack/attack", "/tmp", str(how)],
            mounts={"/attack": build(ATTACK).parent},
            limits=sandbox.Limits(scratch_bytes=BOUND),
            timeout=60,
        )
    assert done.exceeded == "scratch_bytes" or done.returncode in (LOST, -25), done


def test_natively_nothing_stops_it(tmp_path: Path) -> None:
    for how in range(4):
        place = tmp_path / str(how)
        place.mkdir()
        assert native(build(ATTACK), place, how, "natively").won
        subprocess.run(["chmod", "-R", "u+rwx", str(place)], check=True)
        subprocess.run(["rm", "-rf", str(place)], check=True)
