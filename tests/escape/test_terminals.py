"""Terminals of the host: by /dev/pts, /dev/tty, /proc/self/fd, and by what is done to one that the caller has handed in."""

from __future__ import annotations

import os
import pty
from collections.abc import Iterator

import pytest

from tests.escape.attack import box, build, every_wall, inside, native, ordinary

ATTACK = r"""
#include <termios.h>
/* argv[1]: the name of a terminal that nobody gave us */
int main(int argc, char **argv) {
    int won = 0, fd;
    struct stat status;
    char path[64];
    for (int flags = 0; flags < 3; flags++) {
        fd = open(argv[1], flags | O_NOCTTY | O_NONBLOCK);
        if (fd >= 0 && isatty(fd)) { printf("opened\n"); won = 1; write(fd, "stolen", 6); }
    }
    fd = open(argv[1], O_PATH);
    sprintf(path, "/proc/self/fd/%d", fd);
    if (fd >= 0 && open(path, O_RDWR | O_NOCTTY) >= 0) won = 1;
    won |= !chmod(argv[1], 0622) || !chown(argv[1], getuid(), -1);
    setsid();
    won |= open(argv[1], O_RDWR) >= 0 || ioctl(open("/dev/tty", O_RDWR), TIOCSTI, "x") == 0;
    /* one of our own works */
    int own = open("/dev/ptmx", O_RDWR | O_NOCTTY), number, zero = 0;
    if (own < 0 || ioctl(own, TIOCSPTLCK, &zero) || ioctl(own, TIOCGPTN, &number)) return unfit("ptmx");
    sprintf(path, "/dev/pts/%d", number);
    fd = open(path, O_RDWR | O_NOCTTY);
    printf("own=%d\n", fd < 0 ? errno : 0);
    return won ? WON : LOST;
}
"""


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Of the host's: its master, and itself."""
    both = pty.openpty()
    yield both
    for fd in both:
        os.close(fd)


@pytest.fixture
def reads(terminal: tuple[int, int]) -> Iterator[int]:
    """It, opened for reading."""
    fd = os.open(os.ttyname(terminal[1]), os.O_RDONLY | os.O_NOCTTY)
    yield fd
    os.close(fd)


@ordinary
@every_wall
def test_a_terminal_of_the_hosts_does_not_open(walls: str, terminal: tuple[int, int]) -> None:
    ours, theirs = terminal
    os.set_blocking(ours, False)
    with box(walls, build(ATTACK)) as made:
        done = made.run(["/attack/attack", os.ttyname(theirs)], timeout=60)
    assert done.returncode == 43, done
    assert b"own=0" in done.stdout
    with pytest.raises(BlockingIOError):
        os.read(ours, 100)


def test_natively_it_does(terminal: tuple[int, int]) -> None:
    assert native(build(ATTACK), os.ttyname(terminal[1])).won


RACE = r"""
/* argv[1]: a terminal that nobody gave us. Its name is behind 50, and in turns what we may write to */
static int named, mine;
static void *swap(void *_) {
    while (!race_over) { dup2(mine, 50); dup2(named, 50); }
    return NULL;
}
int main(int argc, char **argv) {
    int won = 0;
    named = open(argv[1], O_PATH);
    mine = open("/dev/null", O_RDWR);
    dup2(named, 50);
    race(swap);
    for (int i = 0; i < 3000 && !won; i++) {
        int fd = open(argv[1], O_RDWR | O_NOCTTY | O_NONBLOCK);
        won = fd >= 0 && isatty(fd);
        if (fd >= 0) close(fd);
    }
    race_over = 1;
    return won ? WON : LOST;
}
"""


@ordinary
@every_wall
def test_nor_while_its_name_is_swapped_for_what_may_be_written(walls: str, terminal: tuple[int, int]) -> None:
    """INVARIANT own-rights."""
    assert not inside(build(RACE), os.ttyname(terminal[1]), walls=walls).won


CONTROLLING = r"""
/* standard input is a terminal, given for reading */
int main(int argc, char **argv) {
    int status;
    if (fork()) return wait(&status) > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : UNFIT;
    setsid();
    if (ioctl(0, TIOCSCTTY, 0)) return unfit("TIOCSCTTY");
    printf("reads=%d\n", open("/dev/tty", O_RDONLY | O_NONBLOCK) < 0 ? errno : 0);
    return open("/dev/tty", O_RDWR) >= 0 || open("/dev/tty", O_WRONLY) >= 0 ? WON : LOST;
}
"""


@ordinary
@every_wall
def test_dev_tty_gives_what_the_descriptor_gives(walls: str, reads: int) -> None:
    """INVARIANT own-rights."""
    outcome = inside(build(CONTROLLING), walls=walls, stdin=reads)
    assert not outcome.won and outcome.told == {"reads": 0}


def test_natively_it_gives_more(reads: int) -> None:
    assert native(build(CONTROLLING), stdin=reads).won
