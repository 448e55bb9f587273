"""A socket of the host's network that was connected and is so no more: it keeps the number of its port, looks bound, and
listens where the kernel likes. And one that is asked with an address of another family than its own."""

from __future__ import annotations

import socket
import subprocess

import pytest

from sandbox import Allow
from tests.escape.attack import build, inside, native, ordinary
from tests.escape.test_host_network import WAYS

ATTACK = r"""
#include <netinet/in.h>
/* argv[1]: connect a socket to this port of 192.0.2.1, which nobody answers; argv[2]: "unspec" or "shutdown"; argv[3]: a
 * connection that was handed in. Says where it listens in the end and waits. */
int main(int argc, char **argv) {
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(0xc0000201)};
    struct sockaddr nobody = {.sa_family = AF_UNSPEC};
    socklen_t size = sizeof name;
    int fd = argc > 3 ? atoi(argv[3]) : socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (argc <= 3) connect(fd, (void *)&name, sizeof name);
    told("apart", strcmp(argv[2], "unspec") ? shutdown(fd, SHUT_RDWR) : connect(fd, &nobody, sizeof nobody));
    told("listen", listen(fd, 5));
    getsockname(fd, (void *)&name, &size);
    int listening = 0;
    size = sizeof listening;
    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size);
    printf("port=%d\n", listening ? ntohs(name.sin_port) : 0);
    fflush(stdout);
    getchar();
    return LOST;
}
"""


def reached(port: int) -> bool:
    """Does a socket that listens at every address of the host's do so at this port?"""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("way", ["unspec", "shutdown"])
def test_it_listens_in_its_slice_or_nowhere(way: str) -> None:
    from tests.escape.attack import box

    with box("every wall", build(ATTACK), network=[Allow("192.0.2.1:1")]) as made:
        process = made.popen(["/attack/attack", "1", way], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3)]
        port = int(lines[2].partition(b"=")[2])
        assert not port or not reached(port), lines
        process.communicate(b"\n")


@pytest.mark.parametrize("way", ["unspec", "shutdown"])
def test_it_listens_everywhere_natively(way: str) -> None:
    with subprocess.Popen([build(ATTACK), "1", way], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3)]
        port = int(lines[2].partition(b"=")[2])
        assert port and reached(port), lines
        process.communicate(b"\n")


@ordinary
@pytest.mark.parametrize("network", ["none", *sorted({str(way) for way in WAYS})])
def test_a_connection_that_is_handed_in_stays_one(network: str) -> None:
    """Nobody makes a listener of it."""
    walls, granted = WAYS.get(network, ("every wall", "none"))
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as ours:
        numbers = [ours.fileno()]
        outcome = inside(
            build(ATTACK), 1, "unspec", *numbers, walls=walls, network=granted, pass_fds=numbers, input=b"\n"
        )
    assert outcome.told["port"] == 0 or not reached(outcome.told["port"]), outcome
    assert granted != "none" or outcome.told["apart"] == 22, outcome


FAMILIES = r"""
#include <netinet/in.h>
/* An IPv4 socket that is given an IPv6 address whose first bytes are an IPv4 one. */
int main(void) {
    struct sockaddr_in6 name = {.sin6_family = AF_INET6, .sin6_port = htons(1)};
    memcpy(&name.sin6_addr, "\x20\x01\x0d\xb8\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01", 16);
    int datagrams = socket(AF_INET, SOCK_DGRAM, 0), stream = socket(AF_INET, SOCK_STREAM, 0);
    int sent = told("sendto", sendto(datagrams, "x", 1, 0, (void *)&name, sizeof name));
    int connected = told("connect", connect(stream, (void *)&name, sizeof name));
    return sent == EAFNOSUPPORT && connected == EAFNOSUPPORT ? LOST : WON;
}
"""


def test_another_familys_address_is_none() -> None:
    """It would be judged as one and used as the other."""
    assert not inside(build(FAMILIES), network=[Allow("[2001:db8:1::1]:1")]).won
    assert not native(build(FAMILIES)).won  # as the kernel has it
