"""Netlink: every protocol of it but the list of interfaces; and by that one, changes of links, addresses, routes, rules and
neighbours, groups that tell of changes, other processes, other namespaces, and what the host has. Changes by ioctl, and packets of
one's own on an interface."""

from __future__ import annotations

import errno
from typing import Union

import pytest

from sandbox import Allow
from tests.escape.attack import LOST, WON, build, every_wall, in_a_world_of_its_own, inside, ordinary

ATTACK = r"""
#include <linux/fib_rules.h>
#include <linux/neighbour.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/route.h>
#include <netinet/in.h>
/* Says of each protocol and each change what was answered; "won" are those that should be refused and were not. */
static int fd, won, number;
static char answer[1 << 16];
struct question { struct nlmsghdr head; char body[256]; };
static struct question question(int type, int flags, const void *body, size_t size) {
    struct question made = {.head = {.nlmsg_len = NLMSG_LENGTH(size), .nlmsg_type = type, .nlmsg_flags = NLM_F_REQUEST | flags, .nlmsg_seq = ++number}};
    memcpy(made.body, body, size);
    return made;
}
static void add(struct question *to, int type, const void *data, size_t size) {
    struct rtattr *at = (void *)((char *)to + NLMSG_ALIGN(to->head.nlmsg_len));
    *at = (struct rtattr){RTA_LENGTH(size), type};
    memcpy(RTA_DATA(at), data, size);
    to->head.nlmsg_len = NLMSG_ALIGN(to->head.nlmsg_len) + RTA_LENGTH(size);
}
/* The errno of the answer; 0: done. */
static int ask(const struct question *asked) {
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    if (sendto(fd, asked, asked->head.nlmsg_len, 0, (void *)&kernel, sizeof kernel) < 0) return errno;
    for (;;) {
        if (recv(fd, answer, sizeof answer, 0) < 0) return errno;
        struct nlmsghdr *head = (void *)answer;
        if (head->nlmsg_seq != asked->head.nlmsg_seq) continue;
        if (head->nlmsg_type == NLMSG_ERROR) return -((struct nlmsgerr *)NLMSG_DATA(head))->error;
    }
}
static void changes(const char *name, struct question asked) {
    int error = ask(&asked);
    printf("%s=%d\n", name, error);
    won += error == 0;
}
/* By a socket of any family that there is, local ones too. */
static void by_ioctl(const char *name, unsigned long request, void *argument) {
    static const int kinds[][2] = {{AF_INET, SOCK_DGRAM}, {AF_INET6, SOCK_DGRAM}, {AF_UNIX, SOCK_STREAM}, {AF_NETLINK, SOCK_RAW}};
    int error = 0, done = 0;
    for (int i = 0; i < 4; i++) {
        int any = socket(kinds[i][0], kinds[i][1], 0);
        if (any < 0) continue;
        if (ioctl(any, request, argument) == 0) done++;
        else error = errno;
        close(any);
    }
    printf("%s=%d\n", name, done ? 0 : error);
    won += done > 0;
}
static void ioctls(const char *link) {
    struct ifreq ask;
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x0a090807)};
    struct rtentry route = {.rt_flags = RTF_UP, .rt_dev = (char *)link};
#define FRESH(...) (memset(&ask, 0, sizeof ask), strcpy(ask.ifr_name, link), __VA_ARGS__)
    memcpy(&route.rt_dst, &four, sizeof four), four.sin_addr.s_addr = -1, memcpy(&route.rt_genmask, &four, sizeof four);
    four.sin_addr.s_addr = htonl(0x7f090807);
    FRESH(ask.ifr_flags = IFF_UP | IFF_PROMISC), by_ioctl("ioctl flags", SIOCSIFFLAGS, &ask);
    FRESH(memcpy(&ask.ifr_addr, &four, sizeof four)), strcat(ask.ifr_name, ":9"), by_ioctl("ioctl address", SIOCSIFADDR, &ask);
    by_ioctl("ioctl route", SIOCADDRT, &route);
    FRESH(ask.ifr_mtu = 2000), by_ioctl("ioctl mtu", SIOCSIFMTU, &ask);
}
static void packets(int index) {
    struct sockaddr_ll at = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = index, .sll_halen = 6};
    int raw = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
    int error = raw < 0 || bind(raw, (void *)&at, sizeof at) < 0 || send(raw, answer, 64, 0) < 0 ? errno : 0;
    printf("packets=%d\n", error);
    won += error == 0;
    if (raw >= 0) close(raw);
}
/* Interfaces but the loopback and eth0, and addresses that are of none of both. */
static int strangers(int type) {
    struct question asked = question(type, NLM_F_DUMP, (char[sizeof(struct ifinfomsg)]){0}, type == RTM_GETLINK ? sizeof(struct ifinfomsg) : sizeof(struct ifaddrmsg));
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    int found = 0, own = 0;
    if (sendto(fd, &asked, asked.head.nlmsg_len, 0, (void *)&kernel, sizeof kernel) < 0) return -1;
    for (;;) {
        int size = recv(fd, answer, sizeof answer, 0);
        for (struct nlmsghdr *head = (void *)answer; NLMSG_OK(head, size); head = NLMSG_NEXT(head, size)) {
            if (head->nlmsg_type == NLMSG_DONE) return printf("own %d=%d\n", type, own), found;
            int index = type == RTM_GETLINK ? ((struct ifinfomsg *)NLMSG_DATA(head))->ifi_index : ((struct ifaddrmsg *)NLMSG_DATA(head))->ifa_index;
            if (index == 1 || index == (int)if_nametoindex("eth0")) own++;
            else found++;
        }
    }
}
int main(void) {
    for (int protocol = 1; protocol < 40; protocol++)
        for (int type = 1; type < 6; type++) {
            int made = CALL(SYS_socket, AF_NETLINK, type, protocol);
            if (made < 0) continue;
            printf("protocol %d=0\n", protocol), won++;
            close(made);
        }
    for (int high = 0; high < 3; high++) { /* the kernel reads an int: bits above it are not there */
        int made = CALL(SYS_socket, AF_NETLINK | (high == 1) * (1L << 32), SOCK_RAW, NETLINK_SOCK_DIAG | (high == 2) * (1L << 32));
        if (made >= 0) printf("high %d=0\n", high), won++;
    }
    fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (told("interfaces", fd)) return won ? WON : LOST;
    struct sockaddr_nl all = {.nl_family = AF_NETLINK, .nl_groups = 1}, other = {.nl_family = AF_NETLINK, .nl_pid = 1};
    won += told("groups", bind(fd, (void *)&all, sizeof all)) == 0;
    won += told("member", setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &(int){1}, sizeof(int))) == 0;
    won += told("every namespace", setsockopt(fd, SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, &(int){1}, sizeof(int))) == 0;
    int eth0 = if_nametoindex("eth0"), index = eth0 ? eth0 : 1;
    ioctls(eth0 ? "eth0" : "lo");
    packets(index);
    struct ifinfomsg link = {.ifi_index = index, .ifi_change = IFF_UP}, any = {0};
    struct ifaddrmsg address = {.ifa_family = AF_INET, .ifa_prefixlen = 32, .ifa_index = index};
    struct rtmsg route = {.rtm_family = AF_INET, .rtm_dst_len = 8, .rtm_table = RT_TABLE_MAIN, .rtm_type = RTN_BLACKHOLE, .rtm_scope = RT_SCOPE_UNIVERSE};
    struct fib_rule_hdr rule = {.family = AF_INET, .table = RT_TABLE_MAIN, .action = FR_ACT_BLACKHOLE};
    unsigned char ten[4] = {10, 9, 8, 7};
    int create = NLM_F_ACK | NLM_F_CREATE;
    struct question asked = question(RTM_NEWADDR, create, &address, sizeof address);
    add(&asked, IFA_LOCAL, ten, 4), changes("new address", asked);
    asked = question(RTM_NEWROUTE, create, &route, sizeof route), add(&asked, RTA_DST, (char[]){10, 0, 0, 0}, 4), changes("new route", asked);
    changes("new rule", question(RTM_NEWRULE, create, &rule, sizeof rule));
    changes("link down", question(RTM_NEWLINK, NLM_F_ACK, &link, sizeof link));
    asked = question(RTM_SETLINK, NLM_F_ACK, &link, sizeof link), add(&asked, IFLA_MTU, &(int){1500}, 4), changes("link", asked);
    asked = question(RTM_DELADDR, NLM_F_ACK, &address, sizeof address), add(&asked, IFA_LOCAL, (char[]){127, 0, 0, 2}, 4), changes("delete", asked);
    int refused = 0, kinds = 0;
    for (int type = RTM_BASE; type <= RTM_MAX; type++) {
        if ((type & 3) == 2) continue; /* asks */
        asked = question(type, NLM_F_ACK, (char[64]){0}, 64);
        kinds++, refused += ask(&asked) == EPERM;
    }
    printf("not refused=%d\n", kinds - refused);
    asked = question(RTM_GETLINK, NLM_F_ACK, &any, sizeof any), add(&asked, 46 /* IFLA_TARGET_NETNSID */, &(int){0}, 4), changes("another namespace", asked);
    told("another process", sendto(fd, &asked, asked.head.nlmsg_len, 0, (void *)&other, sizeof other));
    told("a group", sendto(fd, &asked, asked.head.nlmsg_len, 0, (void *)&all, sizeof all));
    int links = strangers(RTM_GETLINK), addresses = strangers(RTM_GETADDR);
    printf("strangers=%d\n", links + addresses);
    return won || links || addresses ? WON : LOST;
}
"""
REFUSED = {
    **dict.fromkeys(("groups", "new address", "new route", "new rule", "link down", "link", "delete"), errno.EPERM),
    **dict.fromkeys(("another process", "a group"), errno.EPERM),
    **dict.fromkeys(("member", "every namespace"), errno.ENOPROTOOPT),
    **dict.fromkeys(("ioctl address", "ioctl route", "ioctl mtu", "ioctl flags"), errno.ENOTTY),
    "packets": errno.EAFNOSUPPORT,
    **dict.fromkeys(("interfaces", "not refused", "strangers"), 0),
}
Network = Union[str, list[Allow]]


def test_it_works_with_capabilities() -> None:
    outcome = in_a_world_of_its_own(build(ATTACK))
    told = outcome.told
    assert outcome.status == WON and told["new address"] == told["link"] == told["groups"] == 0, outcome
    assert {told[name] for name in REFUSED if name.startswith("ioctl")} == {told["packets"]} == {0}, outcome
    assert told["not refused"] > 0 and told["protocol 12"] == told["protocol 4"] == told["protocol 15"] == 0, outcome


@ordinary
@every_wall
def test_with_rules(walls: str) -> None:
    """Where no network namespace stands there is no netlink at all: the host's interfaces would be listed."""
    outcome = inside(build(ATTACK), walls=walls, network=[Allow("192.0.2.1:1")])
    assert outcome.status == LOST, outcome
    if walls in ("every wall", "no Landlock"):
        assert {name: number for name, number in outcome.told.items() if name in REFUSED} == REFUSED, outcome
    else:
        assert outcome.told == {"interfaces": 97}, outcome


@ordinary
@pytest.mark.parametrize("network", ["loopback", None, "host"])
def test_with_a_network_or_none(network: Network | None) -> None:
    outcome = inside(build(ATTACK), network=network)
    assert outcome.status == LOST and outcome.told["interfaces"] == (0 if network else 97), outcome
