"""Options of sockets of the host's network: devices, marks, routes, groups, foreign addresses, repair, headers, and the filter
that lets in the guest's own. Every level and number that there is is tried, on TCP and UDP of both families."""

from __future__ import annotations

import errno
import socket
from subprocess import PIPE, Popen

import pytest

from sandbox import Allow
from tests.escape.attack import LOST, WON, Outcome, box, build, every_wall, in_a_world_of_its_own, inside, ordinary

ATTACK = r"""
#include <net/if.h>
#include <netinet/in.h>
/* Says of each option, as family/type level/number, whether it was set with some value: an int, a device, an address, a route,
 * a membership in each form that there is, segments of IPv6, none. argv[1]: bring up the interface first. */
static const unsigned char zeros[16];
static const struct ip_mreqn four = {.imr_multiaddr.s_addr = 0x090100e0, .imr_ifindex = 1};
static const struct ip_mreq_source four_of = {.imr_multiaddr.s_addr = 0x090100e0, .imr_interface.s_addr = 0x0100007f, .imr_sourceaddr.s_addr = 0x0100007f};
static const struct ipv6_mreq six = {.ipv6mr_multiaddr.s6_addr = {0xff, 2, [15] = 9}, .ipv6mr_interface = 1};
static const unsigned char segments[24] = {0, 2, 4, 0, [23] = 1};
static void tries(const char *kind, int fd, long level, long number) {
    struct group_req group4 = {.gr_interface = 1}, group6 = group4;
    struct group_source_req of4 = {.gsr_interface = 1}, of6 = of4;
    struct sockaddr_in *name4 = (void *)&group4.gr_group, *source4 = (void *)&of4.gsr_source;
    struct sockaddr_in6 *name6 = (void *)&group6.gr_group, *source6 = (void *)&of6.gsr_source;
    *name4 = *source4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = four.imr_multiaddr};
    *name6 = *source6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_addr = six.ipv6mr_multiaddr};
    memcpy(&of4.gsr_group, name4, sizeof *name4), memcpy(&of6.gsr_group, name6, sizeof *name6);
    source4->sin_addr.s_addr = htonl(INADDR_LOOPBACK), source6->sin6_addr = in6addr_loopback;
    const struct { const void *at; size_t size; } values[] = {
        {&(int){1}, 4}, {"lo", 3}, {"\x7f\0\0\x01", 4}, {"\x83\x07\x04\x7f\0\0\x01", 7}, {"\xe0\0\0\x01\0\0\0\0", 8}, {&four, sizeof four},
        {&four_of, sizeof four_of}, {&six, sizeof six}, {&group4, sizeof group4}, {&group6, sizeof group6}, {&of4, sizeof of4}, {&of6, sizeof of6},
        {segments, sizeof segments}, {zeros, 16}, {zeros, 0}};
    int set = 0;
    size_t refused = 0;
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        int got = CALL(SYS_setsockopt, fd, level, number, values[i].at, values[i].size) ? errno : 0;
        set |= got == 0;
        refused += got == ENOPROTOOPT || got == EPERM;
    }
    if (set || refused < sizeof values / sizeof *values) printf("%s %d/%d=%d\n", kind, (int)level, (int)number, !set);
}
int main(int argc, char **argv) {
    static const int levels[] = {SOL_SOCKET, IPPROTO_IP, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_IPV6, IPPROTO_RAW, IPPROTO_ICMPV6, 132, 270 /* SOL_NETLINK */, 284, 285};
    struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    if (argc > 1 && ioctl(socket(AF_INET, SOCK_DGRAM, 0), SIOCSIFFLAGS, &lo)) return unfit("lo");
    for (int six = 0; six < 2; six++)
        for (int plain = 0; plain < 2; plain++) {
            char kind[20];
            snprintf(kind, sizeof kind, "%s%c", plain ? "udp" : "tcp", six ? '6' : '4');
            for (size_t i = 0; i < sizeof levels / sizeof *levels; i++)
                for (long number = 0; number < 130; number++)
                    for (int high = 0; high < 3; high++) { /* the kernel reads an int: bits above it are not there */
                        int fd = socket(six ? AF_INET6 : AF_INET, plain ? SOCK_DGRAM : SOCK_STREAM, 0);
                        if (fd < 0) return UNFIT;
                        tries(kind, fd, levels[i] | (high == 1) * (1L << 32), number | (high == 2) * (-1L << 32));
                        close(fd);
                    }
        }
    return LOST;
}
"""
SOCKET, IP, TCP, SIX = socket.SOL_SOCKET, socket.IPPROTO_IP, socket.IPPROTO_TCP, socket.IPPROTO_IPV6
HARMLESS = {
    # reuse, broadcast, buffers, keepalive, urgent data, linger, port, credentials, low-water, time-outs, stamps, peek
    SOCKET: {2, 6, 7, 8, 9, 10, 13, 15, 16, 18, 20, 21, 29, 42, 66},
    IP: {1, 2, 8, 10, 11, 12, 13, 24, 33, 34},  # TOS, TTL, what is told of a datagram, MTU, late ports, its own groups' reach
    TCP: {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 18, 23, 25},  # how its segments are sent and when it gives up
    SIX: {16, 18, 19, 23, 25, 26, 49, 51, 66, 67},  # the same of IPv6, and IPV6_V6ONLY
}
ONLY_NATIVELY = {(SOCKET, 67)}  # SO_SNDTIMEO by its newer number, where no Supervisor sets it
DANGEROUS = {
    "SO_BINDTODEVICE": (SOCKET, 25),
    "SO_MARK": (SOCKET, 36),
    "SO_PRIORITY": (SOCKET, 12),
    "SO_BINDTOIFINDEX": (SOCKET, 62),
    "IP_OPTIONS": (IP, 4),
    "IP_TRANSPARENT": (IP, 19),
    "IP_FREEBIND": (IP, 15),
    "IP_MULTICAST_IF": (IP, 32),
    "TCP_REPAIR": (TCP, 19),
    "TCP_FASTOPEN_CONNECT": (TCP, 30),
    "IPV6_TRANSPARENT": (SIX, 75),
    "IPV6_FREEBIND": (SIX, 78),
    "IP_ADD_MEMBERSHIP": (IP, 35),
    "IP_ADD_SOURCE_MEMBERSHIP": (IP, 39),
    "MCAST_JOIN_GROUP": (IP, 42),
    "MCAST_JOIN_SOURCE_GROUP": (IP, 46),
    "IPV6_JOIN_GROUP": (SIX, 20),
    "MCAST_JOIN_GROUP of IPv6": (SIX, 42),
    "MCAST_JOIN_SOURCE_GROUP of IPv6": (SIX, 46),
    "IPV6_MULTICAST_IF": (SIX, 17),
    "IPV6_RTHDR": (SIX, 57),
    "IPV6_HOPOPTS": (SIX, 54),
}


def passed(outcome: Outcome) -> set[tuple[int, int]]:
    """Level and number of what is not refused at once for any socket."""
    labels = (label.split()[1].split("/") for label in outcome.told)
    return {(int(level), int(number)) for level, number in labels}


@ordinary
@every_wall
@pytest.mark.parametrize("network", ["loopback", "served"])
def test_only_what_is_on_the_list_is_set(walls: str, network: str) -> None:
    if network == "loopback" and walls in ("no namespaces", "no wall"):
        pytest.skip("has no network namespace")
    outcome = inside(build(ATTACK), walls=walls, network=[Allow("192.0.2.1:1")] if network == "served" else network)
    harmless = {(level, number) for level, numbers in HARMLESS.items() for number in numbers}
    assert passed(outcome) <= harmless | (ONLY_NATIVELY if network == "loopback" else set()), outcome
    assert outcome.status == 43 and {(SOCKET, 2), (IP, 2), (TCP, 1)} <= passed(outcome)


def test_the_others_are_set_in_a_world_of_ones_own() -> None:
    outcome = in_a_world_of_its_own(build(ATTACK), "up")
    done = {tuple(map(int, label.split()[1].split("/"))) for label, error in outcome.told.items() if error == 0}
    assert {name for name, option in DANGEROUS.items() if option not in done} == set()


DETACH = r"""
#include <netinet/in.h>
/* a socket that takes its filter off and waits for whoever comes; argv[1]: 1 where it had none and puts one on */
struct row { unsigned short code; unsigned char yes, no; unsigned number; };
int main(int argc, char **argv) {
    struct sockaddr_in name = {.sin_family = AF_INET};
    struct timeval wait = {.tv_usec = 300000};
    struct { unsigned short count; struct row *rows; } none = {1, &(struct row){6, 0, 0, 0}}, all = {1, &(struct row){6, 0, 0, -1}};
    socklen_t size = sizeof name;
    char byte;
    int fd = socket(AF_INET, SOCK_DGRAM, 0), on = 1;
    if (argc > 1) setsockopt(fd, SOL_SOCKET, 26, &none, sizeof none);
    told("detach", setsockopt(fd, SOL_SOCKET, 27, &on, sizeof on));
    told("attach", setsockopt(fd, SOL_SOCKET, 26, &all, sizeof all));
    told("lock", setsockopt(fd, SOL_SOCKET, 44, &on, sizeof on));
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    if (bind(fd, (void *)&name, sizeof name)) return unfit("bind");
    getsockname(fd, (void *)&name, &size);
    printf("port=%d\n", ntohs(name.sin_port));
    fflush(stdout);
    getchar();
    return recv(fd, &byte, 1, 0) == 1 ? WON : LOST;
}
"""


@ordinary
@pytest.mark.parametrize("natively", [False, True])
def test_the_filter_stays_on(natively: bool) -> None:
    """What a stranger of the host's sends to a guest's port is dropped by it."""
    program = build(DETACH)
    with box("every wall", program, network=[Allow("192.0.2.1:1")]) as made:
        command = [str(program), "1"] if natively else ["/attack/attack"]
        start = Popen if natively else made.popen
        with start(command, stdin=PIPE, stdout=PIPE) as process:
            lines = [process.stdout.readline() for _ in range(4)]
            with socket.socket(type=socket.SOCK_DGRAM) as stranger:
                stranger.sendto(b"x", ("127.0.0.1", int(lines[3].partition(b"=")[2])))
            process.communicate(b"\n")
        assert process.returncode == (WON if natively else LOST), lines
        if not natively:
            assert [int(line.partition(b"=")[2]) for line in lines[:3]] == [errno.ENOPROTOOPT] * 3, lines
