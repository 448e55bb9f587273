"""O_NONBLOCK is taken from a socket by another thread while its connect is served, so that whoever connects it waits for an
answer that never comes: the Supervisor, which serves everybody."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from subprocess import PIPE

import pytest

from sandbox import Allow
from tests.escape.attack import LOST, assert_neighbour_is_served, box, build, every_wall, native, ordinary

ATTACK = r"""
#include <netinet/in.h>
/* argv[1]: a port of the loopback that answers no SYN. Without another argument: threads connect, and one flips the flag of all
 * their sockets and wakes those that wait, until standard input ends. With one: the naive way, which sets the flag and connects;
 * EINTR says that it has waited. */
#define CROWD 8
static int sockets[CROWD], naive;
static pthread_t threads[CROWD];
static volatile long attempts, waited;
static struct sockaddr_in name = {.sin_family = AF_INET};
static void nothing(int _) {}
static void *flip(void *_) {
    for (unsigned round = 0; !race_over; round++) {
        int each = round % CROWD, on = !naive && (round / CROWD) & 1;
        if (round & 16) ioctl(sockets[each], FIONBIO, &on);
        else fcntl(sockets[each], F_SETFL, on ? O_NONBLOCK : 0);
        if (round % 8 == 0) pthread_kill(threads[round / 8 % CROWD], SIGUSR1);
        if (round % 64 == 0) sched_yield();
    }
    return NULL;
}
static void *attack(void *at) {
    int *fd = at;
    while (!race_over) {
        if (naive) fcntl(*fd, F_SETFL, O_NONBLOCK);
        int error = connect(*fd, (void *)&name, sizeof name) ? errno : 0;
        attempts++;
        waited += error == EINTR;
        if (naive && waited) race_over = 1;
        if (error == EALREADY || error == EINPROGRESS || error == EINTR) continue;
        struct sockaddr nobody = {.sa_family = AF_UNSPEC};
        connect(*fd, &nobody, sizeof nobody);
    }
    return NULL;
}
int main(int argc, char **argv) {
    struct sigaction action = {.sa_handler = nothing};
    sigaction(SIGUSR1, &action, NULL);
    name.sin_port = htons(atoi(argv[1])), name.sin_addr.s_addr = htonl(INADDR_LOOPBACK), naive = argc > 2;
    for (int i = 0; i < CROWD; i++) sockets[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    for (int i = 0; i < CROWD; i++) pthread_create(&threads[i], NULL, attack, &sockets[i]);
    pthread_t flipper = race(flip);
    if (!naive) {
        while (attempts < 200) sched_yield();
        puts("attacking");
        fflush(stdout);
        long before = attempts;
        getchar();
        fprintf(stderr, "%ld\n", attempts - before);
        race_over = 1;
    }
    for (int i = 0; i < CROWD; i++) {
        while (pthread_tryjoin_np(threads[i], NULL)) pthread_kill(threads[i], SIGUSR1), sched_yield();
    }
    race_over = 1;
    return naive && waited ? WON : LOST;
}
"""


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a listener whose backlog is full: it answers no SYN, until it is closed."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        crowd = [socket.socket() for _ in range(4)]
        for one in crowd:
            one.setblocking(False)
            one.connect_ex(server.getsockname())
        yield server.getsockname()[1]
        for one in crowd:
            one.close()


@ordinary
@every_wall
def test_the_supervisor_does_not_wait(silent: int, walls: str) -> None:
    """Another guest's calls are served while the attack goes on."""
    with box(walls, build(ATTACK), network=[Allow(f"tcp://127.0.0.1:{silent}")]) as guest:
        attack = guest.popen(["/attack/attack", str(silent)], stdin=PIPE, stdout=PIPE, stderr=PIPE)
        assert attack.stdout is not None and attack.stdout.readline() == b"attacking\n"
        assert_neighbour_is_served(walls)
        _, attempts = attack.communicate(b"\n")
        assert attack.returncode == LOST and int(attempts) > 0, (attack.returncode, attempts)


def test_the_naive_way_waits(silent: int) -> None:
    assert native(build(ATTACK), silent, "naive").won
