"""The host's network, from a guest with a loopback of its own: its services on every disguise of the loopback, through
every call that takes an address, and by descriptors of its network that a neighbour or the caller hands over."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from subprocess import PIPE

import pytest

from tests.escape.attack import box, build, inside, native

ATTACK = r"""
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <arpa/inet.h>
#ifndef MSG_FASTOPEN
#define MSG_FASTOPEN 0x20000000
#endif
/* argv[1]: a port of the host's TCP service, argv[2]: of its UDP service, which answers; argv[3]: a descriptor to use */
static int port, plain_port, won;
static void four(const char *label, unsigned address) {
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(address)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    won |= !told(label, connect(fd, (void *)&name, sizeof name));
    close(fd);
    fd = socket(AF_INET, SOCK_STREAM, 0);
    won |= !told("fast open", sendto(fd, "x", 1, MSG_FASTOPEN, (void *)&name, sizeof name));
    close(fd);
    fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct timeval wait = {.tv_usec = 200000};
    char byte;
    name.sin_port = htons(plain_port);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    struct iovec part = {"x", 1};
    struct mmsghdr message = {.msg_hdr = {.msg_name = &name, .msg_namelen = sizeof name, .msg_iov = &part, .msg_iovlen = 1}};
    sendto(fd, "x", 1, 0, (void *)&name, sizeof name);
    sendmsg(fd, &message.msg_hdr, 0);
    sendmmsg(fd, &message, 1, 0);
    won |= !told("answer", recv(fd, &byte, 1, 0));
    close(fd);
}
static void six(const char *label, const char *text) {
    struct sockaddr_in6 name = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    inet_pton(AF_INET6, text, &name.sin6_addr);
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    won |= !told(label, connect(fd, (void *)&name, sizeof name));
    close(fd);
}
int main(int argc, char **argv) {
    port = atoi(argv[1]), plain_port = atoi(argv[2]);
    four("loopback", INADDR_LOOPBACK), four("another loopback", INADDR_LOOPBACK + 0x10203), four("any", 0);
    six("::1", "::1"), six("mapped", "::ffff:127.0.0.1"), six("::", "::"), six("compatible", "::127.0.0.1"), six("NAT64", "64:ff9b::7f00:1");
    if (argc > 3) {
        struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        won |= !told("handed in", connect(atoi(argv[3]), (void *)&name, sizeof name));
    }
    return won ? WON : LOST;
}
"""
# The same walls as everywhere, but for those without a network namespace: there such a guest is not made.
WALLS = ["every wall", "no Landlock"]


@pytest.fixture
def services() -> Iterator[list[int]]:
    """A TCP and a UDP service of the host, which answers once, on every address that it has."""
    with socket.create_server(("", 0)) as server, socket.socket(type=socket.SOCK_DGRAM) as plain:
        plain.bind(("", 0))
        ports = [server.getsockname()[1], plain.getsockname()[1]]
        pid = os.fork()
        if pid == 0:
            while True:
                data, address = plain.recvfrom(10)
                plain.sendto(data, address)
        try:
            yield ports
        finally:
            os.kill(pid, 9)
            os.waitpid(pid, 0)


@pytest.mark.parametrize("walls", WALLS)
def test_no_service_of_the_host_is_reached(services: list[int], walls: str) -> None:
    assert not inside(build(ATTACK), *services, walls=walls, network="loopback").won


@pytest.mark.parametrize("walls", WALLS)
def test_nor_by_a_socket_that_is_handed_in(services: list[int], walls: str) -> None:
    """It belongs to the network that it was made in, whoever connects it."""
    with socket.socket() as ours:
        options = {"walls": walls, "network": "loopback", "pass_fds": [ours.fileno()]}
        assert not inside(build(ATTACK), *services, ours.fileno(), **options).won  # type: ignore[arg-type]


@pytest.mark.parametrize("walls", WALLS)
def test_nor_is_a_neighbour(services: list[int], walls: str) -> None:
    """The services are another guest's."""
    script = "import socket, sys\ns = socket.create_server(('', int(sys.argv[1])))\nprint(flush=True)\nwhile True: s.accept()"
    with box(walls, network="loopback") as neighbour:
        server = neighbour.popen(["python3", "-c", script, str(services[0] % 60000 + 1024)], stdout=PIPE)
        assert server.stdout is not None and server.stdout.readline() == b"\n"
        ports = [services[0] % 60000 + 1024, services[1]]
        assert not inside(build(ATTACK), *ports, walls=walls, network="loopback").won


def test_every_service_is_reached_natively(services: list[int]) -> None:
    outcome = native(build(ATTACK), *services)
    assert outcome.won and outcome.told["loopback"] == 0, outcome
