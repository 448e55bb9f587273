"""The other end of a pipe that the caller handed in, opened behind /proc/self/fd: what others write to a guest's standard output would be
read, and what the caller writes to its standard input could be forged."""

from __future__ import annotations

import os

import pytest

from tests.escape.attack import box, build, every_wall, native, ordinary

ATTACK = r"""
/* argv[1]: the descriptor, argv[2]: what it is not for. A pipe of our own is swapped in, whose other end we may open */
static int target, mine[2];
static void *swap(void *_) {
    while (!race_over) { dup2(mine[0], 50); dup2(target, 50); dup2(mine[1], 50); dup2(target, 50); }
    return NULL;
}
int main(int argc, char **argv) {
    int flags = atoi(argv[2]) | O_NONBLOCK, races = atoi(argv[3]), won = 0;
    char text[64] = "", path[64];
    struct stat wanted, status;
    target = atoi(argv[1]);
    if (fstat(target, &wanted) || pipe(mine)) return UNFIT;
    dup2(target, 50);
    if (races) race(swap);
    for (int i = 0; i < (races ? races : 4) && !won; i++) {
        sprintf(path, i & 1 ? "/dev/fd/50" : "/proc/%d/fd/50", getpid());
        int fd = open(path, i & 2 && !races ? O_RDWR | O_NONBLOCK : flags);
        won = fd >= 0 && !fstat(fd, &status) && status.st_ino == wanted.st_ino;
        if (fd >= 0) close(fd);
    }
    race_over = 1;
    int named = open("/proc/self/fd/50", O_PATH);
    sprintf(path, "/proc/self/fd/%d", named);
    if (!races && (open(path, flags) >= 0 || open(path, O_RDWR) >= 0)) won = 1;
    return won ? WON : LOST;
}
"""

OWN = """
import os
reader, writer = os.pipe()
os.open(f"/proc/self/fd/{writer}", os.O_RDWR)
os.write(os.open(f"/proc/self/fd/{reader}", os.O_WRONLY), b"own")
assert os.read(reader, 9) == b"own"
if (pid := os.fork()) == 0:
    os.close(reader)
    os.open(f"/proc/{os.getppid()}/fd/{writer}", os.O_RDONLY)
    os.open(f"/proc/self/fd/{writer}", os.O_RDONLY)
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
"""


@ordinary
@every_wall
@pytest.mark.parametrize("races", [0, 4000])
@pytest.mark.parametrize(("descriptor", "flags"), [(0, os.O_WRONLY), (2, os.O_RDONLY)])
def test_the_other_end_is_not_opened(walls: str, descriptor: int, flags: int, races: int) -> None:
    """INVARIANT own-rights."""
    with box(walls, build(ATTACK)) as made:
        done = made.run(["/attack/attack", str(descriptor), str(flags), str(races)], input=b"to the guest", timeout=60)
    assert done.returncode == 43, done


@ordinary
@every_wall
def test_the_same_end_and_ends_of_ones_own_are(walls: str) -> None:
    """What programs do: files that are named /dev/stdout, and pipes that the guest has made, by either end, of another process, too."""
    with box(walls) as made:
        done = made.run(["sh", "-c", "echo a > /dev/stdout; echo b | tee /dev/stderr; cat /dev/stdin; exec 3>&1; echo c > /dev/fd/3"], input=b"in", timeout=60)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"a\nb\ninc\n", b"b\n"), done
        made.run(["python3", "-c", OWN], check=True, timeout=60)


def test_natively_it_is() -> None:
    read, write = os.pipe()
    with os.fdopen(read, "rb") as stdin, os.fdopen(write, "wb"):
        assert native(build(ATTACK), 0, os.O_WRONLY, 0, stdin=stdin).won
