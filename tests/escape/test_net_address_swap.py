"""Another thread swaps the address, its length or the message around it while a call that takes one is served: what was
judged is what is used."""

from __future__ import annotations

import socket

import pytest

from sandbox import Allow
from tests.escape.attack import build, every_wall, inside, native, ordinary

ATTACK = r"""
#include <netinet/in.h>
/* argv[1], argv[2]: ports of a service that may be reached, by TCP and UDP; argv[3], argv[4]: of one that may not; argv[5]: how
 * often. With a sixth argument each call is made the naive way: the address is looked at, and then given to the kernel. */
#define NAME(number) {.sin_family = AF_INET, .sin_port = htons(number), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}
static struct sockaddr_in good, bad, name;
static struct iovec part = {"x", 1};
static struct mmsghdr many[4];
static void *swap(void *_) {
    for (unsigned round = 0; !race_over; round++) { /* by its bytes, by what points to it, by its length */
        struct sockaddr_in *to = round & 1 ? &bad : &good;
        memcpy(&name, to, sizeof name);
        BARRIER;
        for (int i = 0; i < 4; i++) {
            many[i].msg_hdr.msg_name = round & 2 ? (void *)to : (void *)&name;
            many[i].msg_hdr.msg_namelen = round & 4 ? sizeof name : 128 * (round & 1) + sizeof name;
        }
        BARRIER;
        for (volatile unsigned i = 0; i < (round & 1023); i++) continue;
        memcpy(&name, &good, sizeof name);
    }
    return NULL;
}
static int naive;
static int judged(void *at) {
    struct sockaddr_in seen;
    memcpy(&seen, at, sizeof seen);
    for (volatile int i = 0; i < 300; i++) continue; /* what a check takes */
    return !naive || seen.sin_port == good.sin_port;
}
int main(int argc, char **argv) {
    int times = atoi(argv[5]), done = 0, refused = 0;
    naive = argc > 6;
    for (int stream = 1; stream >= 0; stream--) {
        good = (struct sockaddr_in)NAME(atoi(argv[stream ? 1 : 2])), bad = (struct sockaddr_in)NAME(atoi(argv[stream ? 3 : 4])), name = good;
        for (int i = 0; i < 4; i++) many[i].msg_hdr = (struct msghdr){.msg_name = &name, .msg_namelen = sizeof name, .msg_iov = &part, .msg_iovlen = 1};
        race_over = 0;
        pthread_t thread = race(swap);
        int plain = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
        for (int i = 0; i < times / (stream ? 4 : 1); i++) {
            if (!judged(&name)) continue;
            if (stream) {
                int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
                int got = connect(fd, (void *)&name, sizeof name) && errno != EINPROGRESS;
                done += !got, refused += got;
                close(fd);
                continue;
            }
            if (i % 4 == 0) done += sendto(plain, "x", 1, 0, (void *)&name, sizeof name) == 1;
            else if (i % 4 == 1) done += sendmsg(plain, &many[0].msg_hdr, 0) == 1;
            else if (i % 4 == 2) done += sendmmsg(plain, many, 4, 0) > 0;
            else {
                int fd = socket(AF_INET, SOCK_DGRAM, 0);
                done += !connect(fd, (void *)&name, sizeof name) && send(fd, "x", 1, 0) == 1;
                close(fd);
            }
        }
        race_over = 1;
        pthread_join(thread, NULL);
        close(plain);
        printf("%s=%d\n", stream ? "connected" : "sent", done);
        done = 0;
    }
    printf("refused=%d\n", refused);
    return LOST;
}
"""


class Service:
    """A TCP and a UDP socket of the host's, and whether anything came."""

    def __init__(self) -> None:
        self.tcp = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.udp = socket.socket(type=socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", 0))
        self.ports = [each.getsockname()[1] for each in (self.tcp, self.udp)]
        self.tcp.setblocking(False)
        self.udp.setblocking(False)

    def came(self) -> list[bool]:
        return [_comes(lambda: self.tcp.accept()[0].close()), _comes(lambda: self.udp.recv(9))]

    def close(self) -> None:
        self.tcp.close()
        self.udp.close()


def _comes(take: object) -> bool:
    try:
        take()  # type: ignore[operator]
    except BlockingIOError:
        return False
    return True


@pytest.fixture
def services(request: pytest.FixtureRequest) -> tuple[Service, Service]:
    pair = Service(), Service()
    for service in pair:
        request.addfinalizer(service.close)
    return pair


@ordinary
@every_wall
def test_what_was_judged_is_used(services: tuple[Service, Service], walls: str) -> None:
    good, denied = services
    rules = [Allow(f"tcp://127.0.0.1:{good.ports[0]}"), Allow(f"udp://127.0.0.1:{good.ports[1]}")]
    outcome = inside(build(ATTACK), *good.ports, *denied.ports, 4000, walls=walls, network=rules)
    assert all(outcome.told[each] for each in ("connected", "sent", "refused")), outcome
    assert denied.came() == [False, False] and good.came() == [True, True]


def test_the_naive_way_is_deceived(services: tuple[Service, Service]) -> None:
    good, denied = services
    for _ in range(20):
        native(build(ATTACK), *good.ports, *denied.ports, 4000, "naive")
        if all(denied.came()):
            return
    pytest.fail("no swap in time")
