"""What is denied in another writing: the unspecified address, IPv4 in IPv6 in every way that there is, numbers that a
library reads as an address."""

from __future__ import annotations

import errno
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from subprocess import PIPE

import pytest

import sandbox
from sandbox import Allow, Deny
from tests.escape.attack import box, build, every_wall, inside, native, ordinary

ATTACK = r"""
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
/* argv[1], argv[2]: ports of services, by TCP and UDP; the others: addresses. What is sent is the address that it is sent to. */
static int connects(int fd, void *name, socklen_t size) {
    struct pollfd there = {fd, POLLOUT};
    socklen_t room = sizeof errno;
    int got = connect(fd, name, size);
    if (got == 0 || errno != EINPROGRESS) return got;
    if (poll(&there, 1, 300) == 1) getsockopt(fd, SOL_SOCKET, SO_ERROR, &errno, &room);
    return errno ? -1 : 0;
}
int main(int argc, char **argv) {
    int won = 0;
    for (int i = 3; i < argc; i++) {
        struct sockaddr_storage space = {0};
        struct sockaddr_in *four = (void *)&space;
        struct sockaddr_in6 *six = (void *)&space;
        space.ss_family = strchr(argv[i], ':') ? AF_INET6 : AF_INET;
        socklen_t size = space.ss_family == AF_INET ? sizeof *four : sizeof *six;
        if (inet_pton(space.ss_family, argv[i], size == sizeof *four ? (void *)&four->sin_addr : &six->sin6_addr) != 1) return UNFIT;
        for (int plain = 0; plain < 2; plain++) {
            char label[80];
            int fd = socket(space.ss_family, plain ? SOCK_DGRAM : SOCK_STREAM | SOCK_NONBLOCK, 0);
            four->sin_port = htons(atoi(argv[1 + plain]));
            snprintf(label, sizeof label, "%s %s", plain ? "udp" : "tcp", argv[i]);
            if (!plain) won |= !told(label, connects(fd, &space, size));
            else told(label, sendto(fd, label, strlen(label), 0, (void *)&space, size));
            if (plain && !connect(fd, (void *)&space, size)) send(fd, label, strlen(label), 0);
            close(fd);
        }
    }
    return won ? WON : LOST;
}
"""
LOOPBACK = ["127.0.0.1", "0.0.0.0", "::1", "::", "::ffff:127.0.0.1", "::ffff:0.0.0.0", "::127.0.0.1", "::ffff:0:127.0.0.1"]


def carrying(address: str) -> list[str]:
    """IPv6 addresses that stand for an IPv4 one, or are sent to it on the way."""
    four = int(IPv4Address(address))
    high, low = f"{four >> 16:x}", f"{four & 0xFFFF:x}"
    teredo = IPv6Address(0x20010000 << 96 | (four ^ 0xFFFFFFFF))
    fields = (f"::{address}", f"::ffff:0:{address}", f"64:ff9b::{address}", f"64:ff9b:1::{address}")
    return [*fields, f"2002:{high}:{low}::1", f"2001:0:{high}:{low}::1", str(teredo)]


class Services:
    """At both loopbacks of the host, at one port by TCP and at one by UDP; `heard` is what has come by UDP."""

    def __init__(self, stack: ExitStack) -> None:
        four = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=100))
        there = "::1", four.getsockname()[1]
        six = stack.enter_context(socket.create_server(there, family=socket.AF_INET6, backlog=100))
        self._streams = [four, six]
        self._plain = [socket.socket(family, socket.SOCK_DGRAM) for family in (socket.AF_INET, socket.AF_INET6)]
        for each in self._plain:
            stack.enter_context(each)
        for each in (*self._plain, *self._streams):
            each.setblocking(False)
        self._plain[0].bind(("127.0.0.1", 0))
        self._plain[1].bind(("::1", self._plain[0].getsockname()[1]))
        self.ports = [each.getsockname()[1] for each in (four, self._plain[0])]

    @property
    def heard(self) -> set[str]:
        found = set()
        for each in self._plain:
            with suppress(BlockingIOError):
                while True:
                    found.add(each.recv(99).decode())
        return found

    @property
    def said(self) -> set[bytes]:
        """And by TCP, on connections that have ended."""
        found = set()
        for each in self._streams:
            with suppress(BlockingIOError):
                while True:
                    with each.accept()[0] as peer, suppress(ConnectionResetError):
                        peer.settimeout(30)
                        found.add(peer.recv(99))
        return found - {b""}


@pytest.fixture
def services() -> Iterator[Services]:
    with ExitStack() as stack:
        yield Services(stack)


NETWORKS = {
    "denied": ["host", Deny("127.0.0.0/8"), Deny("::1")],
    "not allowed": [Allow("192.0.2.1"), Allow("[2001:db8::1]")],
    "all but the loopback": [Allow("0.0.0.0/0"), Allow("::/0")],
}


@ordinary
@every_wall
@pytest.mark.parametrize("network", NETWORKS)
def test_no_writing_of_the_loopback_reaches_it(services: Services, walls: str, network: str) -> None:
    assert not inside(build(ATTACK), *services.ports, *LOOPBACK, walls=walls, network=NETWORKS[network]).won
    assert services.heard == set()


@ordinary
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_one_port_is_denied_in_every_writing(services: Services, protocol: str) -> None:
    """The same of a rule for exactly the address, protocol and port."""
    port = services.ports[protocol == "udp"]
    network = ["host", Deny(f"{protocol}://127.0.0.1:{port}"), Deny(f"{protocol}://[::1]:{port}")]
    told = inside(build(ATTACK), *services.ports, *LOOPBACK, network=network).told
    reached = {label for label, error in told.items() if label.startswith("tcp") and error == 0} | services.heard
    assert {label[:3] for label in reached} == {"tcp", "udp"} - {protocol}, reached


def test_natively_most_reach_it(services: Services) -> None:
    told = native(build(ATTACK), *services.ports, *LOOPBACK).told
    assert [told[f"tcp {address}"] for address in LOOPBACK[:6]] == [0] * 6, told
    assert {f"udp {address}" for address in LOOPBACK[:6]} <= services.heard


HOLD = """
import socket, sys
held = []
for host in sys.argv[3:]:
    for kind, port in ((socket.SOCK_STREAM, sys.argv[1]), (socket.SOCK_DGRAM, sys.argv[2])):
        held.append(socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind))
        held[-1].connect((host, int(port)))
print("held", flush=True)
sys.stdin.readline()
for sock in held:
    try: sock.send(b"late")
    except OSError as error: pass
"""


@ordinary
def test_what_is_denied_later_is_cut_in_every_writing(services: Services) -> None:
    """Connections that stand are known by where they go, not by what was asked for."""
    with box(network="host") as guest:
        command = [sys.executable, "-c", HOLD, *map(str, services.ports), *LOOPBACK[:6]]
        process = guest.popen(command, stdin=PIPE, stdout=PIPE)
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        guest.network.deny("127.0.0.0/8", "::1")
        process.communicate(b"\n")
    assert services.heard == set() and services.said == set()


METADATA = ["169.254.169.254", "::ffff:169.254.169.254", *carrying("169.254.169.254")]


@ordinary
@pytest.mark.parametrize("network", [["host"], [Allow("0.0.0.0/0"), Allow("::/0"), Allow("*", private=True)]], ids=["host", "all"])
def test_no_writing_of_a_metadata_service_is_allowed(network: list[object]) -> None:
    """It is where secrets of the machine are told; whoever translates addresses on the way would send there."""
    told = inside(build(ATTACK), 80, 80, *METADATA, network=network).told
    assert len(told) == 2 * len(METADATA) and set(told.values()) == {errno.EACCES}, told


def test_natively_it_is_tried() -> None:
    assert errno.EACCES not in native(build(ATTACK), 80, 80, *METADATA).told.values()


TRANSLATED = [address for address in METADATA if address.startswith(("64:ff9b:", "2002:", "2001:"))]
IN_A_NETWORK = """
import fcntl, json, socket, struct, sys
import sandbox._rules
from sandbox import Allow
from tests.escape.attack import build, inside
from tests.escape.test_net_disguises import ATTACK, TRANSLATED
with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
    fcntl.ioctl(sock, 0x8914, struct.pack("16sH22x", b"lo", 1)) # SIOCSIFFLAGS, IFF_UP
    for address in TRANSLATED:
        fcntl.ioctl(sock, 0x8916, struct.pack("=16sIi", socket.inet_pton(socket.AF_INET6, address), 128, 1)) # SIOCSIFADDR
if sys.argv[1] == "unguarded":
    sandbox._rules.carried = lambda _: ()
with socket.create_server(("::", 0), family=socket.AF_INET6) as service:
    port = service.getsockname()[1]
    told = inside(build(ATTACK), port, port, *TRANSLATED, network=[Allow("0.0.0.0/0"), Allow("::/0")]).told
print(json.dumps(told))
"""


@pytest.mark.parametrize("guard", [True, False], ids=["guarded", "unguarded"])
def test_who_translates_is_not_reached(guard: bool) -> None:
    """In a network namespace where the addresses of translators are somebody's: with the guard left out he is reached."""
    own = ["unshare", "--user", "--map-root-user", "--net"]
    if subprocess.run([*own, "true"], stdin=subprocess.DEVNULL, capture_output=True).returncode:
        pytest.skip("no user namespaces here")
    command = [*own, sys.executable, "-W", "ignore", "-c", IN_A_NETWORK, "guarded" if guard else "unguarded"]
    done = subprocess.run(command, cwd=Path(__file__).resolve().parents[2], stdin=subprocess.DEVNULL, capture_output=True, timeout=100)
    assert done.returncode == 0, done
    by_tcp = {json.loads(done.stdout)[f"tcp {address}"] for address in TRANSLATED}
    assert by_tcp == {errno.EACCES if guard else 0}, done


NUMBERS = ["127.1", "0177.0.0.1", "0x7f000001", "2130706433", "127.0.1", "0", "0x0", "localhost", "[::1]", "::1%lo"]


@ordinary
def test_numbers_that_a_library_reads(services: Services) -> None:
    """getaddrinfo of the guest's makes addresses of them; what is judged is the address."""
    script = """
import socket, sys
for host in sys.argv[2:]:
    try: print(socket.create_connection((host, int(sys.argv[1])), timeout=20).getpeername())
    except OSError as error: pass
"""
    command = [sys.executable, "-c", script, str(services.ports[0]), *NUMBERS]
    done = sandbox.run(command, network=["host", Deny("127.0.0.0/8"), Deny("::1")], text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, ""), done
    assert len(sandbox.run(command, network="host", text=True, timeout=60).stdout.splitlines()) >= 6
