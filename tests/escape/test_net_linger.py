"""A long linger time on a connection whose last descriptor is closed by the Supervisor: the guest closes its own while a call
on it is served, with data on the way that nobody reads."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from subprocess import PIPE

import pytest

import sandbox
from sandbox import Allow
from tests.escape.attack import LOST, assert_neighbour_is_served, box, build, every_wall, inside, native, ordinary
from tests.test_internet import python

ATTACK = r"""
#include <netinet/in.h>
#include <poll.h>
/* argv[1]: a port of the loopback where nobody reads; argv[2]: "close" does so once, anything else goes on until standard input ends */
static struct sockaddr_in name = {.sin_family = AF_INET};
static struct linger wait_long = {1, 1000};
static volatile int current = -1;
static volatile long rounds;
static int full(void) {
    static char data[1 << 16];
    int fd = socket(AF_INET, SOCK_STREAM, 0), size = 4096;
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    if (connect(fd, (void *)&name, sizeof name)) return close(fd), -1;
    if (setsockopt(fd, SOL_SOCKET, SO_LINGER, &wait_long, sizeof wait_long)) exit(unfit("SO_LINGER"));
    struct pollfd room = {fd, POLLOUT};
    while (poll(&room, 1, 30) == 1) /* until the other side's is full, too */
        if (send(fd, data, sizeof data, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno != EAGAIN) break;
    return fd;
}
static void *serve(void *_) { /* calls on it, again and again, that the Supervisor serves: one of them has the last descriptor */
    while (!race_over) {
        int fd = current;
        if (fd < 0 || setsockopt(fd, SOL_SOCKET | 1L << 32, SO_LINGER, &wait_long, sizeof wait_long)) continue;
        connect(fd, (void *)&name, sizeof name), listen(fd, 1);
    }
    return NULL;
}
int main(int argc, char **argv) {
    name.sin_port = htons(atoi(argv[1])), name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (!strcmp(argv[2], "close")) {
        int fd = full();
        puts("closes");
        fflush(stdout);
        return fd < 0 ? UNFIT : (close(fd), LOST);
    }
    if (!strcmp(argv[2], "ask")) {
        struct linger got = {0};
        socklen_t size = sizeof got;
        long high = 1L << 32;
        int fd = full(), won = 0;
        for (int i = 0; i < 4; i++) { /* bits above an int, and more bytes than there are */
            char room[64] = {0};
            memcpy(room, &wait_long, sizeof wait_long);
            CALL(SYS_setsockopt, fd, SOL_SOCKET | (i & 1) * high, SO_LINGER | (i & 2) * high, room, i == 3 ? sizeof room : sizeof wait_long);
            getsockopt(fd, SOL_SOCKET, SO_LINGER, &got, &size);
            won |= got.l_onoff && got.l_linger;
        }
        return won ? WON : LOST;
    }
    pthread_t threads[3] = {race(serve), race(serve), race(serve)};
    int flags = fcntl(0, F_SETFL, O_NONBLOCK);
    for (char byte; read(0, &byte, 1) < 0 && flags == 0; rounds++) {
        int fd = full();
        if (rounds == 20) puts("attacking"), fflush(stdout);
        if (fd < 0) continue; /* another thread has connected it */
        current = fd;
        for (volatile int i = 0; i < 20000 + rounds % 7 * 100000; i++) continue;
        close(fd);
        current = -1;
    }
    race_over = 1;
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    return rounds > 20 ? LOST : UNFIT;
}
"""


@pytest.fixture
def deaf() -> Iterator[int]:
    """The port of a listener that accepts in the kernel only, and never reads."""
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        server.bind(("127.0.0.1", 0))
        server.listen(4096)
        yield server.getsockname()[1]


@ordinary
@every_wall
def test_the_supervisor_does_not_wait(deaf: int, walls: str) -> None:
    """Another guest's calls are served while the attack goes on."""
    with box(walls, build(ATTACK), network=[Allow(f"tcp://127.0.0.1:{deaf}")]) as guest:
        attack = guest.popen(["/attack/attack", str(deaf), "race"], stdin=PIPE, stdout=PIPE)
        assert attack.stdout is not None and attack.stdout.readline() == b"attacking\n"
        assert_neighbour_is_served(walls)
        attack.communicate(b"\n")
        assert attack.returncode == LOST


@ordinary
def test_no_linger_time_is_set(deaf: int) -> None:
    assert not inside(build(ATTACK), deaf, "ask", network=[Allow(f"tcp://127.0.0.1:{deaf}")]).won


ALONE = """
import socket, struct
def linger(*want):
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", *want))
    return struct.unpack("ii", ours.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8))
server = socket.create_server(("127.0.0.1", 0))
ours = socket.create_connection(server.getsockname()); peer = server.accept()[0]
local, _ = socket.socketpair()
local.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 8))
print(linger(1, 1000), linger(1, 0), struct.unpack("ii", local.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)))
ours.close()
try: print(peer.recv(1))
except ConnectionResetError: print("reset")
"""


@ordinary
def test_none_is_set_on_a_loopback_of_its_own() -> None:
    """A broken sentry could send the Supervisor such a socket to close. To close by a reset is not to wait."""
    done = sandbox.run(python(ALONE), network="loopback", text=True, stderr=PIPE)
    assert (done.stdout, done.stderr) == ("(0, 0) (1, 0) (0, 0)\nreset\n", "")


def test_it_is_natively(deaf: int) -> None:
    assert native(build(ATTACK), deaf, "ask").won


def test_to_close_it_waits_natively(deaf: int) -> None:
    """Nothing but a signal ends it."""
    with subprocess.Popen([build(ATTACK), str(deaf), "close"], stdout=PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"closes\n"
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        process.kill()
