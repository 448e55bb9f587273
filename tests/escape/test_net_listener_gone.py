"""A listener of the guest's own ends between the moment that it is looked at and the connect: a service of the host's at the
same port of every address, which shares it, would be met in its place."""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path
from subprocess import PIPE, Popen

import pytest

from sandbox import Allow
from tests.escape.attack import LOST, box, build, every_wall, ordinary

ATTACK = r"""
#include <netinet/in.h>
/* argv[1]: a port of the loopback. Binds many sockets there, waits for a line, and then lets one after the other listen for a moment,
 * while it connects. */
#define CROWD 900
static struct sockaddr_in name = {.sin_family = AF_INET};
static int crowd[CROWD];
static void *flicker(void *_) {
    for (int i = 0; i < CROWD; i++) {
        listen(crowd[i], 50);
        for (volatile int pause = 0; pause < i * 7919 % 200000; pause++) continue;
        close(crowd[i]);
    }
    race_over = 1;
    return NULL;
}
int main(int argc, char **argv) {
    struct rlimit many = {1000, 1000};
    socklen_t size = sizeof name;
    int one = 1;
    setrlimit(RLIMIT_NOFILE, &many);
    name.sin_port = htons(atoi(argv[1])), name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (int i = 0; i < CROWD; i++) {
        crowd[i] = socket(AF_INET, SOCK_STREAM, 0);
        setsockopt(crowd[i], SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        setsockopt(crowd[i], SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
        if (bind(crowd[i], (void *)&name, sizeof name)) return unfit("bind");
        getsockname(crowd[i], (void *)&name, &size);
    }
    printf("%d\n", ntohs(name.sin_port));
    fflush(stdout);
    if (getchar() == EOF) return LOST;
    pthread_t thread = race(flicker);
    while (!race_over) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        connect(fd, (void *)&name, sizeof name);
        close(fd);
    }
    pthread_join(thread, NULL);
    return LOST;
}
"""
DATAGRAMS = r"""
#include <netinet/in.h>
/* The same of datagrams: a socket that is connected hears nobody else, and is not there for a datagram that was judged before. */
static struct sockaddr_in name = {.sin_family = AF_INET}, other;
static int server;
static volatile long turns;
static void *flicker(void *_) {
    struct sockaddr nobody = {.sa_family = AF_UNSPEC};
    while (!race_over) {
        connect(server, (void *)&other, sizeof other);
        sched_yield();
        connect(server, &nobody, sizeof nobody);
        turns++;
    }
    return NULL;
}
int main(int argc, char **argv) {
    socklen_t size = sizeof name;
    int one = 1, second = socket(AF_INET, SOCK_DGRAM, 0), sender = socket(AF_INET, SOCK_DGRAM, 0);
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK), other = name;
    bind(second, (void *)&other, size);
    getsockname(second, (void *)&other, &size);
    for (int i = 0; i < 2; i++) { /* a port of its own choice, which it keeps */
        server = socket(AF_INET, SOCK_DGRAM, 0);
        setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        setsockopt(server, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
        if (bind(server, (void *)&name, size)) return unfit("bind");
        getsockname(server, (void *)&name, &size);
        if (i == 0) close(server);
    }
    printf("%d\n", ntohs(name.sin_port));
    fflush(stdout);
    if (getchar() == EOF) return LOST;
    pthread_t thread = race(flicker);
    for (int i = 0; i < 1500 || turns < 300; i++) {
        sendto(sender, "x", 1, MSG_DONTWAIT, (void *)&name, size);
        if (i % 16 == 0) sched_yield();
    }
    race_over = 1;
    pthread_join(thread, NULL);
    return LOST;
}
"""
kinds = pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM], ids=["tcp", "udp"])


def attack(kind: socket.SocketKind) -> Path:
    return build(ATTACK if kind == socket.SOCK_STREAM else DATAGRAMS)


def met(process: Popen[bytes], kind: socket.SocketKind) -> bool:
    """Does anything come to a service of the host's that shares the port of the guest's socket? It may not be there at all."""
    assert process.stdout is not None
    with socket.socket(type=kind) as service:
        service.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        service.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            service.bind(("0.0.0.0", int(process.stdout.readline())))
            if kind == socket.SOCK_STREAM:
                service.listen(4096)
        except OSError:
            service.close()
        process.communicate(b"\n")
        assert process.returncode == LOST
        if service.fileno() >= 0:
            service.setblocking(False)
            with suppress(BlockingIOError):
                _ = service.accept()[0].close() if kind == socket.SOCK_STREAM else service.recv(9)
                return True
    return False


@ordinary
@every_wall
@kinds
def test_no_service_of_the_host_is_met(walls: str, kind: socket.SocketKind) -> None:
    with box(walls, attack(kind), network=[Allow("192.0.2.1:1")]) as guest:
        process = guest.popen(["/attack/attack", "0"], stdin=PIPE, stdout=PIPE)
        assert not met(process, kind)  # type: ignore[arg-type]


@kinds
def test_natively_it_is(kind: socket.SocketKind) -> None:
    """A race, so in one of some goes."""
    assert any(_natively(kind) for _ in range(5))


def _natively(kind: socket.SocketKind) -> bool:
    with Popen([str(attack(kind)), "0"], stdin=PIPE, stdout=PIPE) as process:
        return met(process, kind)
