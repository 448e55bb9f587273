"""The host is stopped by a lock on a file that the guest was given to read only."""

from __future__ import annotations

import fcntl
import subprocess
from pathlib import Path

import pytest

from tests.escape.attack import box, build, every_wall, ordinary
from tests.escape.conftest import Host

ATTACK = r"""
/* takes every lock that it can get, says so and waits for a line */
int main(int argc, char **argv) {
    char line;
    int fd = argv[1][0] ? open(argv[1], O_RDONLY) : 3;
    struct flock record = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
    told("flock", flock(fd, LOCK_EX | LOCK_NB));
    told("record", fcntl(fd, F_SETLK, &record));
    told("description", fcntl(fd, F_OFD_SETLK, &record));
    told("taken", 0);
    read(0, &line, 1);
    return 0;
}
"""


def is_stopped(path: Path) -> bool:
    """Would a process of the host that locks the file have to wait?"""
    with open(path, "r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def take(process: subprocess.Popen[bytes], path: Path) -> bool:
    assert process.stdout is not None
    lines = iter(process.stdout.readline, b"taken=0\n")
    assert [line.split(b"=")[0] for line in lines] == [b"flock", b"record", b"description"]
    stopped = is_stopped(path)
    process.communicate(b"\n")
    return stopped


@ordinary
@every_wall
@pytest.mark.parametrize("way", ["granted", "handed in"])
def test_the_host_goes_on(host: Host, walls: str, way: str) -> None:
    """Locks on read-only grants, and on what the caller gave for reading, are the guest's own."""
    path = host.granted / "file"
    with open(path, "rb") as handed, box(walls, build(ATTACK), mounts={"/data": host.granted}) as made:
        if way == "granted":
            process = made.popen(["/attack/attack", "/data/file"], stdin=-1, stdout=-1)
        else:
            command = f"exec 3<&{handed.fileno()}; exec /attack/attack ''"
            process = made.popen(
                command, shell=True, executable="/bin/bash", stdin=-1, stdout=-1, pass_fds=[handed.fileno()]
            )
        assert not take(process, path)


def test_it_stops_natively(host: Host) -> None:
    path = host.granted / "file"
    assert take(subprocess.Popen([build(ATTACK), path], stdin=subprocess.PIPE, stdout=subprocess.PIPE), path)
