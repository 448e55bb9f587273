"""Input pushed into a terminal, as if it had been typed there: TIOCSTI, TIOCLINUX, TIOCCONS, on a terminal of the caller's and
on one that was made inside."""

from __future__ import annotations

import errno
import os
import pty
import select

from tests.escape.attack import Outcome, box, build, every_wall, in_a_world_of_its_own, ordinary

ATTACK = r"""
int main(int argc, char **argv) {
    char paste = 3, line[2] = {11, 0};
    int own = open("/dev/ptmx", O_RDWR | O_NOCTTY);
    for (int i = 0; i < 2; i++) {
        int fd = i ? own : 0;
        told(i ? "own TIOCSTI" : "TIOCSTI", ioctl(fd, TIOCSTI, "x"));
        told(i ? "own TIOCLINUX" : "TIOCLINUX", ioctl(fd, TIOCLINUX, &paste));
        told(i ? "own TIOCLINUX 11" : "TIOCLINUX 11", ioctl(fd, TIOCLINUX, line));
        told(i ? "own TIOCCONS" : "TIOCCONS", ioctl(fd, TIOCCONS));
        told(i ? "own high bits" : "high bits", CALL(SYS_ioctl, fd, TIOCSTI | 0x100000000, "x"));
    }
    return 0;
}
"""


@ordinary
@every_wall
def test_nothing_is_typed(walls: str) -> None:
    """ioctl passes by an allow-list of commands, compared in the 32 bits that the kernel reads."""
    ours, theirs = pty.openpty()
    try:
        with box(walls, build(ATTACK)) as made:
            done = made.run(["/attack/attack"], stdin=theirs, start_new_session=True)
        told = Outcome(done.returncode, done.stdout, done.stderr).told
        assert len(told) == 10 and set(told.values()) == {errno.EPERM}
        os.set_blocking(theirs, False)
        assert select.select([theirs], [], [], 0)[0] == []
    finally:
        os.close(ours)
        os.close(theirs)


def test_the_kernel_would_look_at_them() -> None:
    """Without the filter the answers differ with the kernel: some type, some want to know what terminal it is."""
    assert set(in_a_world_of_its_own(build(ATTACK)).told.values()) != {errno.EPERM}
