"""The host's network, from a guest with a loopback of its own: its services on every disguise of the loopback, through
every call that takes an address, and by descriptors of its network that a neighbour or the caller hands over."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import IPv4Address
from subprocess import PIPE

import pytest

import sandbox
from sandbox import Allow
from tests.escape.attack import WALLS, box, build, inside, native, ordinary

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
WAYS = {  # how the guest has its loopback, and the walls that it can have it with
    "own namespace": ("every wall", "loopback"),
    "own namespace, no Landlock": ("no Landlock", "loopback"),
    **{f"served, {walls}": (walls, [Allow("192.0.2.1:1")]) for walls in WALLS},
}


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


@ordinary
@pytest.mark.parametrize("way", WAYS)
def test_no_service_of_the_host_is_reached(services: list[int], way: str) -> None:
    walls, network = WAYS[way]
    assert not inside(build(ATTACK), *services, walls=walls, network=network).won


@ordinary
@pytest.mark.parametrize("way", WAYS)
def test_nor_by_a_socket_that_is_handed_in(services: list[int], way: str) -> None:
    """It belongs to the network that it was made in, whoever connects it."""
    walls, network = WAYS[way]
    with socket.socket() as ours:
        numbers = [ours.fileno()]
        assert not inside(build(ATTACK), *services, *numbers, walls=walls, network=network, pass_fds=numbers).won


@ordinary
@pytest.mark.parametrize("way", WAYS)
def test_nor_is_a_neighbour(services: list[int], way: str) -> None:
    """The services are another guest's."""
    walls, network = WAYS[way]
    script = "import socket, sys\ns = socket.create_server(('', int(sys.argv[1])))\nprint(flush=True)\nwhile True: s.accept()"
    with box(walls, network=network) as neighbour:
        server = neighbour.popen(["python3", "-c", script, str(services[0] % 60000 + 1024)], stdout=PIPE)
        assert server.stdout is not None and server.stdout.readline() == b"\n"
        ports = [services[0] % 60000 + 1024, services[1]]
        assert not inside(build(ATTACK), *ports, walls=walls, network=network).won


@ordinary
@pytest.mark.parametrize("walls", WALLS)
@pytest.mark.parametrize("from_host", [True, False], ids=["the host", "a neighbour"])
def test_a_slice_lets_in_nobody_else(walls: str, from_host: bool) -> None:
    """The guest's loopback is at addresses of the host's, to which anybody may send: the socket's own filter drops it. A
    neighbour that may reach the host's loopback comes no further."""
    serve = (
        "import socket\ns = socket.create_server(('127.0.0.1', 0))\nprint(s.getsockname()[1], flush=True)\ns.accept()"
    )
    reach = "import socket, sys\ntry: print(socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=0.5).recv(1))\nexcept OSError as e: print(e)"
    with box(walls, network=[Allow("192.0.2.1:1")]) as guest:
        server = guest.popen([sys.executable, "-c", serve], stdout=PIPE)
        assert server.stdout is not None
        target = [str(IPv4Address(guest._guest.parts.net.slice.base + 1)), server.stdout.readline().decode().strip()]  # type: ignore[union-attr]
        if from_host:
            done = subprocess.run([sys.executable, "-c", reach, *target], capture_output=True, text=True).stdout
        else:
            done = sandbox.run([sys.executable, "-c", reach, *target], network="host", text=True).stdout
        assert done == "timed out\n"
        client = "import socket, sys; socket.create_connection(('127.0.0.1', int(sys.argv[1])))"
        assert guest.run([sys.executable, "-c", client, target[1]]).returncode == 0


def test_every_service_is_reached_natively(services: list[int]) -> None:
    outcome = native(build(ATTACK), *services)
    assert outcome.won and outcome.told["loopback"] == 0, outcome
