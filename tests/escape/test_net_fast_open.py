"""TCP Fast Open: data to an address that is connected to by the same call, which is none that takes an address: by sendto, sendmsg,
sendmmsg and a deferred connect, with an address, after one that was refused, and on a socket that shall forget one."""

from __future__ import annotations

import socket

import pytest

from sandbox import Allow
from tests.escape.attack import LOST, build, every_wall, inside, native, ordinary

ATTACK = r"""
#include <netinet/in.h>
#include <netinet/tcp.h>
/* argv[1]: the port of a service of the host's. Who reaches it has won. */
int main(int argc, char **argv) {
    int won = 0;
    signal(SIGPIPE, SIG_IGN);
    for (int six = 0; six < 2; six++)
        for (int way = 0; way < 6; way++) {
            struct sockaddr_in6 space = {.sin6_family = AF_INET6, .sin6_port = htons(atoi(argv[1])), .sin6_addr.s6_addr = {[10] = 0xff, [11] = 0xff, 127, 0, 0, 1}};
            struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
            void *name = six ? (void *)&space : (void *)&four;
            socklen_t size = six ? sizeof space : sizeof four;
            struct iovec part = {"x", 1};
            struct mmsghdr message = {.msg_hdr = {.msg_name = name, .msg_namelen = size, .msg_iov = &part, .msg_iovlen = 1}};
            int fd = socket(six ? AF_INET6 : AF_INET, SOCK_STREAM, 0), on = 1;
            struct timeval soon = {0, 200000};
            char byte, label[40];
            setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof soon);
            if (way == 0) sendto(fd, "x", 1, MSG_FASTOPEN, name, size);
            if (way == 1) sendmsg(fd, &message.msg_hdr, MSG_FASTOPEN);
            if (way == 2) sendmmsg(fd, &message, 1, MSG_FASTOPEN | MSG_DONTWAIT);
            if (way == 3) setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &on, sizeof on), connect(fd, name, size), write(fd, "x", 1);
            if (way == 4) connect(fd, name, size), sendto(fd, "x", 1, MSG_FASTOPEN, NULL, 0);
            if (way == 5) connect(fd, &(struct sockaddr){AF_UNSPEC}, sizeof(struct sockaddr)), CALL(SYS_sendto, fd, "x", 1L, MSG_FASTOPEN | (1L << 32), name, size);
            snprintf(label, sizeof label, "way %d of %d", way, six);
            won |= !told(label, recv(fd, &byte, 1, 0));
            close(fd);
        }
    return won ? WON : LOST;
}
"""


@pytest.fixture
def service() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


@ordinary
@every_wall
def test_nobody_is_reached(service: socket.socket, walls: str) -> None:
    with service:
        service.setblocking(False)
        outcome = inside(build(ATTACK), service.getsockname()[1], walls=walls, network=[Allow("192.0.2.1")])
        assert outcome.status == LOST, outcome
        with pytest.raises(BlockingIOError):
            service.accept()


def test_natively_it_is(service: socket.socket) -> None:
    with service:
        service.setsockopt(socket.IPPROTO_TCP, 23, 5)
        service.setblocking(False)
        native(build(ATTACK), service.getsockname()[1])
        taken = 0
        while taken < 12:
            try:
                service.accept()[0].close()
            except BlockingIOError:
                break
            taken += 1
        assert taken >= 10, taken
