"""Control data of messages would choose where a datagram comes from or goes through: source addresses, interfaces, source
routes, headers, marks; alone, behind what is harmless, in the wrong family, with lengths that are none."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from sandbox import Allow
from tests.escape.attack import Outcome, build, every_wall, in_a_world_of_its_own, inside, native, ordinary

ATTACK = r"""
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip.h>
/* argv[1]: a port of the loopback, to be spoken to from 127.0.0.1, also in IPv6, and from ::1; 0: of one that is brought up
 * here. argv[2]: a socket to use, which is connected. Says of each kind whether it went; "plain" and "ttl" should. */
static struct sockaddr_in6 name;
static socklen_t size;
static int fd, won;
static void add(struct msghdr *message, int level, int type, const void *data, size_t length) {
    struct cmsghdr *at = (void *)((char *)message->msg_control + message->msg_controllen);
    *at = (struct cmsghdr){CMSG_LEN(length), level, type};
    memcpy(CMSG_DATA(at), data, length);
    message->msg_controllen += CMSG_SPACE(length);
}
static void sends(const char *label, int before, int level, int type, const void *data, size_t length, int cut) {
    static _Alignas(8) char space[1024];
    struct iovec part = {"x", 1};
    struct mmsghdr many = {.msg_hdr = {.msg_name = size ? &name : NULL, .msg_namelen = size, .msg_iov = &part, .msg_iovlen = 1, .msg_control = space}};
    struct msghdr *message = &many.msg_hdr;
    int ttl = 9;
    memset(space, 0, sizeof space);
    if (before) add(message, IPPROTO_IP, IP_TTL, &ttl, sizeof ttl);
    add(message, level, type, data, length);
    message->msg_controllen -= cut;
    char text[80];
    snprintf(text, sizeof text, "%s%s%s", label, before ? " behind" : "", cut ? " cut" : "");
    told(text, sendmsg(fd, message, 0));
    snprintf(text, sizeof text, "%s%s%s, many", label, before ? " behind" : "", cut ? " cut" : "");
    told(text, sendmmsg(fd, &many, 1, 0));
}
static void every(const char *label, int level, int type, const void *data, size_t length) {
    for (int before = 0; before < 2; before++) {
        sends(label, before, level, type, data, length, 0);
        if (CMSG_SPACE(length) > CMSG_LEN(length)) sends(label, before, level, type, data, length, CMSG_SPACE(length) - CMSG_LEN(length));
    }
}
static int hears(void) { /* both loopbacks of a new network; the port */
    struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    struct sockaddr_in6 any = {.sin6_family = AF_INET6};
    socklen_t room = sizeof any;
    int heard = socket(AF_INET6, SOCK_DGRAM, 0);
    if (ioctl(heard, SIOCSIFFLAGS, &lo) || bind(heard, (void *)&any, sizeof any) || getsockname(heard, (void *)&any, &room)) exit(unfit("lo"));
    return ntohs(any.sin6_port);
}
int main(int argc, char **argv) {
    struct sockaddr_in *four = (void *)&name;
    int port = atoi(argv[1]) ? atoi(argv[1]) : hears();
    for (int six = 0; six < 3; six++) {
        if (argc > 2) fd = atoi(argv[2]);
        else fd = socket(six ? AF_INET6 : AF_INET, SOCK_DGRAM, 0), size = six ? sizeof name : sizeof *four;
        if (six) {
            name = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(port)};
            inet_pton(AF_INET6, six == 1 ? "::ffff:127.0.0.1" : "::1", &name.sin6_addr);
        } else *four = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        int ttl = 9, one = 1;
        struct in_pktinfo source = {.ipi_ifindex = 0}, link = {.ipi_ifindex = 1};
        struct in6_pktinfo mapped = {0}, device = {.ipi6_ifindex = 1};
        unsigned char route[] = {0x83, 7, 4, 127, 0, 0, 9, 0}, segments[24] = {0, 2, 2, 1};
        long when = 1;
        inet_pton(AF_INET, "127.0.0.9", &source.ipi_spec_dst);
        inet_pton(AF_INET6, "::ffff:127.0.0.9", &mapped.ipi6_addr);
        inet_pton(AF_INET6, "::1", segments + 8);
        told("plain", sendto(fd, "x", 1, 0, size ? (void *)&name : NULL, size));
        every("ttl", IPPROTO_IP, IP_TTL, &ttl, sizeof ttl);
        every("source", IPPROTO_IP, IP_PKTINFO, &source, sizeof source), every("interface", IPPROTO_IP, IP_PKTINFO, &link, sizeof link);
        every("route", IPPROTO_IP, IP_RETOPTS, route, sizeof route);
        every("protocol", IPPROTO_IP, 52 /* IP_PROTOCOL */, &one, sizeof one);
        every("source 6", IPPROTO_IPV6, IPV6_PKTINFO, &mapped, sizeof mapped), every("interface 6", IPPROTO_IPV6, IPV6_PKTINFO, &device, sizeof device);
        every("old source 6", IPPROTO_IPV6, IPV6_2292PKTINFO, &mapped, sizeof mapped);
        every("route 6", IPPROTO_IPV6, IPV6_RTHDR, segments, sizeof segments), every("old route 6", IPPROTO_IPV6, IPV6_2292RTHDR, segments, sizeof segments);
        every("hops", IPPROTO_IPV6, IPV6_HOPOPTS, segments, 8), every("options", IPPROTO_IPV6, IPV6_DSTOPTS, segments, 8);
        every("flow", IPPROTO_IPV6, 11 /* IPV6_FLOWINFO */, &one, sizeof one), every("fragment", IPPROTO_IPV6, IPV6_DONTFRAG, &one, sizeof one);
        every("mark", SOL_SOCKET, SO_MARK, &one, sizeof one), every("when", SOL_SOCKET, 61 /* SCM_TXTIME */, &when, sizeof when);
        every("stamps", SOL_SOCKET, SO_TIMESTAMPING, &one, sizeof one), every("priority", SOL_SOCKET, SO_PRIORITY, &one, sizeof one);
        if (argc > 2) break;
    }
    return LOST;
}
"""
GOES = {"plain", *(f"ttl{behind}{cut}{many}" for behind in ("", " behind") for cut in ("", " cut") for many in ("", ", many"))}


@pytest.fixture
def service() -> Iterator[Service]:
    with ExitStack() as stack:
        yield Service(stack)


class Service:
    """At both loopbacks, at one port."""

    def __init__(self, stack: ExitStack) -> None:
        self.port = 0
        self._sockets = []
        for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            made = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            made.bind((address, self.port))
            made.setblocking(False)
            self.port = made.getsockname()[1]
            self._sockets.append(made)

    @property
    def sources(self) -> set[str]:
        """Addresses that something came from."""
        found = set()
        for each in self._sockets:
            with suppress(BlockingIOError):
                while True:
                    found.add(each.recvfrom(9)[1][0])
        return found


def went(outcome: Outcome) -> set[str]:
    """Each kind that went by either family."""
    return {line[:-2] for line in outcome.stdout.decode().splitlines() if line.endswith("=0")}


@ordinary
@every_wall
def test_nothing_but_what_is_harmless_goes(service: Service, walls: str) -> None:
    rules = [Allow(f"udp://{host}:{service.port}") for host in ("127.0.0.1", "[::1]")]
    outcome = inside(build(ATTACK), service.port, walls=walls, network=rules)
    assert went(outcome) <= GOES and {"plain", "ttl"} <= went(outcome), outcome
    assert service.sources == {"127.0.0.1", "::1"}


@ordinary
@every_wall
@pytest.mark.parametrize("network", ["none", "loopback", "served"])
def test_nor_with_a_socket_that_is_handed_in(service: Service, walls: str, network: str) -> None:
    """INVARIANT own-network: an address in control data is one, too."""
    if network == "loopback" and walls in ("no namespaces", "no wall"):
        pytest.skip("has no network namespace")
    with socket.socket(type=socket.SOCK_DGRAM) as ours:
        ours.connect(("127.0.0.1", service.port))
        numbers = [ours.fileno()]
        granted = [Allow("192.0.2.1:1")] if network == "served" else network
        outcome = inside(build(ATTACK), service.port, *numbers, walls=walls, network=granted, pass_fds=numbers)
    assert went(outcome) <= GOES and "plain" in went(outcome), outcome
    assert service.sources == {"127.0.0.1"}


def test_natively_another_source_is_seen(service: Service) -> None:
    outcome = native(build(ATTACK), service.port)
    assert {"source", "interface", "source 6"} <= went(outcome), outcome
    assert service.sources == {"127.0.0.1", "127.0.0.9", "::1"}


def test_in_a_network_of_ones_own_they_go() -> None:
    """With every privilege over it, which marks, routes and headers want."""
    outcome = in_a_world_of_its_own(build(ATTACK), 0)
    assert {"route", "route 6", "old route 6", "hops", "options", "mark", "flow", "fragment", "priority"} <= went(outcome), outcome
