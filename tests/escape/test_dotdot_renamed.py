"""A directory that is held is moved elsewhere in its mount, or away from the mount by the host: its `..` shows nothing."""

from __future__ import annotations

import os

from tests.escape.attack import box, build, every_wall, ordinary
from tests.escape.conftest import Host

ATTACK = r"""
/* holds the directory argv[1], says so, waits for a line, then looks through its `..` */
int main(int argc, char **argv) {
    char text[64] = "", line;
    int held = open(argv[1], O_RDONLY | O_DIRECTORY), fd, won = 0;
    if (held < 0 || chdir(argv[1])) return unfit("hold");
    told("held", 0);
    if (read(0, &line, 1) != 1) return UNFIT;
    char *paths[] = {"../file", "../../secret/file", "..//./file"};
    for (int i = 0; i < 3; i++)
        for (int by = 0; by < 2; by++) {
            fd = openat(by ? held : AT_FDCWD, paths[i], O_RDONLY);
            if (fd >= 0 && read(fd, text, sizeof text - 1) > 0 && strstr(text, "secret")) won = 1;
        }
    return won ? WON : LOST;
}
"""


@ordinary
@every_wall
def test_a_directory_moved_out_of_the_mount_leads_nowhere(host: Host, walls: str) -> None:
    """The host moves a directory that the guest holds next to a secret."""
    held = host.writable / "held"
    held.mkdir()
    with box(walls, build(ATTACK), writable={"/out": host.writable}) as made:
        process = made.popen(["/attack/attack", "/out/held"], stdin=-1, stdout=-1)
        assert process.stdout.readline() == b"held=0\n"
        os.rename(held, host.secret / "held")
        process.communicate(b"\n")
        assert process.returncode == 43


def test_natively_it_shows_the_new_parent(host: Host) -> None:
    import subprocess

    held = host.writable / "held"
    held.mkdir()
    process = subprocess.Popen([build(ATTACK), held], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout and process.stdout.readline() == b"held=0\n"
    os.rename(held, host.secret / "held")
    process.communicate(b"\n")
    assert process.returncode == 42
