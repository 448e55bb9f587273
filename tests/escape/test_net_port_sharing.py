"""The port of a host's datagram service is shared or taken: SO_REUSEADDR and SO_REUSEPORT, set before and after a port is
chosen, at every address and at that of the service, before it starts and while it runs."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import pytest

from tests.escape.attack import LOST, WON, box, build, every_wall, inside, native, ordinary
from tests.helpers import give_up_privileges

ATTACK = r"""
#include <netinet/in.h>
/* argv[1]: a port, or 0: whichever; argv[2]: an address, "any" or "send", which lets the kernel choose both; argv[3]: a port of
 * the loopback to speak to first, so that it may answer. Says which port it got, waits for a line, and counts what has come. */
static void share(int fd) {
    int one = 1;
    told("address", setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one));
    told("port", setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one));
}
int main(int argc, char **argv) {
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1]))}, other = name;
    struct timeval wait = {.tv_usec = 1};
    socklen_t size = sizeof name;
    char byte;
    int fd = socket(AF_INET, SOCK_DGRAM, 0), won = 0;
    other.sin_addr.s_addr = htonl(INADDR_LOOPBACK), other.sin_port = htons(atoi(argv[3]));
    share(fd);
    if (strcmp(argv[2], "send")) {
        name.sin_addr.s_addr = htonl(strcmp(argv[2], "any") ? INADDR_LOOPBACK : INADDR_ANY);
        if (told("bind", bind(fd, (void *)&name, size))) name.sin_port = 0;
    }
    sendto(fd, "x", 1, 0, (void *)&other, size);
    share(fd);
    getsockname(fd, (void *)&name, &size);
    printf("got=%d\n", ntohs(name.sin_port));
    fflush(stdout);
    getchar();
    while (recv(fd, &byte, 1, MSG_DONTWAIT) == 1) won++;
    printf("stolen=%d\n", won);
    return won ? WON : LOST;
}
"""
LOTTERY = r"""
#include <netinet/in.h>
/* argv[1]: a call that makes the kernel choose a port; the others: ports that services of the host share. Draws until one of
 * these is drawn. */
int main(int argc, char **argv) {
    static char taken[65536];
    for (int i = 2; i < argc; i++) taken[atoi(argv[i])] = 1;
    for (int i = 0; i < 2500; i++) {
        struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}, any = {.sin_family = AF_INET};
        socklen_t size = sizeof name;
        int fd = socket(AF_INET, SOCK_DGRAM, 0), one = 1;
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
        if (!strcmp(argv[1], "send")) send(fd, "x", 1, 0); /* without an address: it gets a port and then an error */
        else if (!strcmp(argv[1], "sendto")) sendto(fd, "x", 1, 0, (void *)&name, size);
        else if (!strcmp(argv[1], "connect")) connect(fd, (void *)&name, size);
        else bind(fd, (void *)&any, size);
        getsockname(fd, (void *)&name, &size);
        if (taken[ntohs(name.sin_port)]) return told("drawn", 0), WON;
        close(fd);
    }
    return LOST;
}
"""
SERVICES = 300
CLIENTS = 64
WAYS = [(what, before) for before in (True, False) for what in ("any", "loopback", "send") if not before or what != "send"]
ways = pytest.mark.parametrize(("what", "before"), WAYS, ids=lambda value: {True: "running", False: "later"}.get(value, value))


def service(address: str, port: int) -> socket.socket:
    """A service of the host's that shares its port with whoever says that it does."""
    made = socket.socket(type=socket.SOCK_DGRAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind((address, port))
        made.setblocking(False)
    except OSError:
        made.close()
        raise
    return made


def received(server: socket.socket) -> int:
    """How many datagrams of as many clients of the host's, each with a port of its own, come to it."""
    with ExitStack() as stack:
        for _ in range(CLIENTS):
            client = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
            client.bind(("127.0.0.1", 0))
            client.sendto(b"x", ("127.0.0.1", server.getsockname()[1]))
    count = 0
    while True:
        try:
            server.recv(9)
        except BlockingIOError:
            return count
        count += 1


def talk(process: Popen[bytes], server: Any, address: str) -> tuple[int, int]:
    """What comes to the service, and how the attack ends. Without a service its port could not be had."""
    assert process.stdout is not None
    with ExitStack() as stack:
        line = b""
        while not line.startswith(b"got="):
            line = process.stdout.readline()
            assert line, process.wait()
        port, came = int(line[4:]), CLIENTS
        if server is None and port:
            try:
                server = stack.enter_context(service(address, port))
            except OSError:
                server = None  # the guest's port is taken for all
        if server is not None:
            came = received(server)
        process.communicate(b"\n")
    return came, process.returncode


@ordinary
@every_wall
@pytest.mark.parametrize("address", ["0.0.0.0", "127.0.0.1"])
@ways
def test_what_is_sent_to_a_service_comes_to_it(walls: str, address: str, what: str, before: bool) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(service(address, 0)) if before else None
        peer = stack.enter_context(service("127.0.0.1", 0)).getsockname()[1]
        made = stack.enter_context(box(walls, build(ATTACK), network="host"))
        port = server.getsockname()[1] if server else 0
        process = made.popen(["/attack/attack", str(port), what, str(peer)], stdin=PIPE, stdout=PIPE)
        assert talk(process, server, address) == (CLIENTS, LOST)  # type: ignore[arg-type]


@pytest.fixture
def ports() -> Iterator[list[int]]:
    """Those of services of the host's that share them, among the ports that the kernel chooses from."""
    with ExitStack() as stack:
        yield [stack.enter_context(service("0.0.0.0", 0)).getsockname()[1] for _ in range(SERVICES)]


@ordinary
@pytest.mark.parametrize("call", ["send", "sendto", "connect", "bind"])
def test_no_port_of_a_service_is_drawn(call: str, ports: list[int]) -> None:
    assert not inside(build(LOTTERY), call, *ports, network="host").won


@pytest.mark.parametrize("call", ["send", "sendto", "connect", "bind"])
def test_natively_one_is(call: str, ports: list[int]) -> None:
    assert native(build(LOTTERY), call, *ports).won


@pytest.mark.parametrize("before", [True, False], ids=["running", "later"])
def test_natively_a_part_is_stolen(before: bool) -> None:
    program: Path = build(ATTACK)
    with ExitStack() as stack:
        server = stack.enter_context(service("0.0.0.0", 0)) if before else None
        peer = stack.enter_context(service("127.0.0.1", 0)).getsockname()[1]
        command = [str(program), str(server.getsockname()[1] if server else 0), "any", str(peer)]
        process = stack.enter_context(Popen(command, stdin=PIPE, stdout=PIPE, preexec_fn=give_up_privileges))
        came, status = talk(process, server, "0.0.0.0")
        assert came < CLIENTS and status == WON
