"""Sockets of another guest, or of the caller, in the hands of a guest that may not reach what they reach: handed over by
SCM_RIGHTS or by inheritance, fresh, connected once, refused, or listening, and used by both at once."""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from subprocess import PIPE
from typing import Any

import pytest

from sandbox import Allow, Publish
from tests.escape.attack import LOST, WALLS, box, build, native, ordinary
from tests.helpers import free_port
from tests.test_internet import python

GIVE = r"""
#include <netinet/in.h>
/* The neighbour: sends sockets over standard input, one at a time: fresh, and such as have spoken with what it may reach.
 * argv[1], argv[2]: ports of the loopback that it may speak to, by TCP and UDP; argv[3], argv[4]: such that it may not, by which
 * some have been refused; at last one that listens. Says at which port that is. */
static void give(int fd) {
    union { struct cmsghdr header; char space[CMSG_SPACE(sizeof(int))]; } rights = {.header = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
    struct iovec part = {"x", 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &rights, .msg_controllen = sizeof rights};
    memcpy(CMSG_DATA(&rights.header), &fd, sizeof fd);
    if (sendmsg(0, &message, 0) != 1) exit(unfit("sendmsg"));
}
int main(int argc, char **argv) {
    struct sockaddr_in stream = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}, plain = stream, any = {.sin_family = AF_INET};
    struct sockaddr nobody = {.sa_family = AF_UNSPEC};
    plain.sin_port = htons(atoi(argv[2]));
    socklen_t size = sizeof any;
    for (int kind = 0; kind < 11; kind++) {
        int is_plain = kind & 1, fd = socket(AF_INET, is_plain ? SOCK_DGRAM : SOCK_STREAM, 0);
        struct sockaddr_in *to = is_plain ? &plain : &stream, denied = *to;
        denied.sin_port = htons(atoi(argv[3 + is_plain]));
        if (kind / 2 == 1) bind(fd, (void *)&any, sizeof any);
        if (kind / 2 == 2 || kind / 2 == 3) connect(fd, (void *)to, sizeof *to);
        if (kind / 2 == 3) connect(fd, &nobody, sizeof nobody);
        if (kind / 2 == 4) connect(fd, (void *)&denied, sizeof denied), sendto(fd, "x", 1, MSG_NOSIGNAL, (void *)&denied, sizeof denied);
        if (kind / 2 == 5 && (listen(fd, 5) || getsockname(fd, (void *)&any, &size))) return unfit("listen");
        give(fd);
    }
    printf("port=%d\n", ntohs(any.sin_port));
    fflush(stdout);
    char byte;
    return read(0, &byte, 1) < 0 ? UNFIT : LOST;
}
"""
TAKE = r"""
#include <netinet/in.h>
/* argv[1], argv[2]: ports of the loopback that nobody here may speak to. Tries every way on each socket that comes over standard
 * input, while a thread does the same on the same one; argv[3]: how many come. */
static struct sockaddr_in stream = {.sin_family = AF_INET}, plain;
static volatile int current = -1;
static void use(int fd) {
    struct iovec part = {"x", 1};
    struct sockaddr nobody = {.sa_family = AF_UNSPEC};
    for (int i = 0; i < 2; i++) {
        struct sockaddr_in *to = i ? &plain : &stream;
        struct mmsghdr message = {.msg_hdr = {.msg_name = to, .msg_namelen = sizeof *to, .msg_iov = &part, .msg_iovlen = 1}};
        sendto(fd, "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT, (void *)to, sizeof *to);
        sendmsg(fd, &message.msg_hdr, MSG_NOSIGNAL | MSG_DONTWAIT);
        sendmmsg(fd, &message, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
        fcntl(fd, F_SETFL, O_NONBLOCK);
        connect(fd, (void *)to, sizeof *to);
        connect(fd, &nobody, sizeof nobody);
        connect(fd, (void *)to, sizeof *to);
        send(fd, "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
        connect(fd, &nobody, sizeof nobody);
        listen(fd, 5);
    }
}
static void *also(void *_) {
    while (!race_over) if (current >= 0) use(current);
    return NULL;
}
int main(int argc, char **argv) {
    stream.sin_port = htons(atoi(argv[1])), stream.sin_addr.s_addr = htonl(INADDR_LOOPBACK), plain = stream, plain.sin_port = htons(atoi(argv[2]));
    pthread_t thread = race(also);
    int taken = 0;
    for (; taken < atoi(argv[3]); taken++) {
        char byte;
        union { struct cmsghdr header; char space[CMSG_SPACE(sizeof(int))]; } rights = {0};
        struct iovec part = {&byte, 1};
        struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &rights, .msg_controllen = sizeof rights};
        if (recvmsg(0, &message, 0) != 1 || message.msg_controllen < CMSG_LEN(sizeof(int))) return unfit("recvmsg");
        memcpy((int *)&current, CMSG_DATA(&rights.header), sizeof current);
        for (int i = 0; i < 20; i++) use(current);
    }
    race_over = 1;
    pthread_join(thread, NULL);
    printf("taken=%d\n", taken);
    return LOST;
}
"""
RECEIVERS: dict[str, tuple[str, Any]] = {
    "none": ("every wall", "none"),
    "loopback": ("every wall", "loopback"),
    **{f"served, {walls}": (walls, [Allow("192.0.2.1:1")]) for walls in WALLS},
    **{f"none, {walls}": (walls, "none") for walls in ("no Landlock", "no wall")},
}


class Service:
    """A TCP and a UDP socket of the host's."""

    def __init__(self, stack: ExitStack) -> None:
        self.tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=1000))
        self.udp = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
        self.udp.bind(("127.0.0.1", 0))
        self.tcp.setblocking(False)
        self.udp.setblocking(False)
        self.ports = [each.getsockname()[1] for each in (self.tcp, self.udp)]
        self.rules = [Allow(f"tcp://127.0.0.1:{self.ports[0]}"), Allow(f"udp://127.0.0.1:{self.ports[1]}")]

    @property
    def came(self) -> list[str]:
        found = []
        with suppress(BlockingIOError):
            self.tcp.accept()[0].close()
            found.append("tcp")
        with suppress(BlockingIOError):
            self.udp.recv(9)
            found.append("udp")
        return found


@pytest.fixture
def services() -> Iterator[tuple[Service, Service]]:
    """What the neighbour may reach, and what nobody may."""
    with ExitStack() as stack:
        yield Service(stack), Service(stack)


@ordinary
@pytest.mark.parametrize("receiver", RECEIVERS)
def test_a_neighbours_sockets_reach_no_further(services: tuple[Service, Service], receiver: str) -> None:
    """The rules are those of the guest that makes the call, whoever made the socket."""
    allowed, denied = services
    walls, network = RECEIVERS[receiver]
    ours, theirs = socket.socketpair()
    with ours, theirs, box(walls, build(GIVE), network=allowed.rules) as neighbour, box(walls, build(TAKE), network=network) as guest:
        giver = neighbour.popen(["/attack/attack", *map(str, allowed.ports + denied.ports)], stdin=ours.fileno(), stdout=PIPE)
        taker = guest.popen(["/attack/attack", *map(str, denied.ports), "11"], stdin=theirs.fileno(), stdout=PIPE)
        out, _ = taker.communicate()
        ours.shutdown(socket.SHUT_RDWR)
        assert (taker.returncode, out) == (LOST, b"taken=11\n")
        giver.communicate()
        assert giver.returncode == LOST
    assert denied.came == []


@ordinary
@pytest.mark.parametrize("receiver", RECEIVERS)
def test_nor_do_the_callers(services: tuple[Service, Service], receiver: str) -> None:
    """Sockets that the caller sends, made by no guest."""
    allowed, denied = services
    walls, network = RECEIVERS[receiver]
    ours, theirs = socket.socketpair()
    with ours, theirs, ExitStack() as stack, box(walls, build(TAKE), network=network) as guest:
        taker = guest.popen(["/attack/attack", *map(str, denied.ports), "8"], stdin=theirs.fileno(), stdout=PIPE)
        for kind in range(8):
            made = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM if kind & 1 else socket.SOCK_STREAM))
            if kind >= 4:
                made.connect(("127.0.0.1", allowed.ports[kind & 1]))
            socket.send_fds(ours, [b"x"], [made.fileno()])
        out, _ = taker.communicate()
        assert (taker.returncode, out) == (LOST, b"taken=8\n")
    assert denied.came == []


def test_natively_they_do(services: tuple[Service, Service]) -> None:
    allowed, denied = services
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for kind in range(8):
            with socket.socket(type=socket.SOCK_DGRAM if kind & 1 else socket.SOCK_STREAM) as made:
                socket.send_fds(ours, [b"x"], [made.fileno()])
        assert native(build(TAKE), *denied.ports, 8, stdin=theirs).told == {"taken": 8}
    assert denied.came == ["tcp", "udp"]


LISTENS = """
import signal, socket
s = socket.create_server(("0.0.0.0", 8080))
with socket.socket(fileno=0) as to: socket.send_fds(to, [b"x"], [s.fileno()])
signal.pause()
"""
ACCEPTS = """
import socket
with socket.socket(fileno=0) as to: fd, = socket.recv_fds(to, 1, 1)[1]
with socket.socket(fileno=fd) as s:
    print("has it", flush=True)
    s.settimeout(10)
    while True:
        with s.accept()[0] as peer:
            try: said = peer.recv(9)
            except OSError: continue
            if said: print(said.decode(), flush=True)
            if said == b"friend": break
"""


def kernel_filters() -> bool:
    """Does it let us put a filter on a socket of TCP?"""
    accept_all = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0xFFFFFFFF), 8)
    with socket.socket() as sock:
        try:
            sock.setsockopt(socket.SOL_SOCKET, 26, struct.pack("HxxxxxxQ", 1, ctypes.addressof(accept_all)))  # SO_ATTACH_FILTER
        except PermissionError:
            return False
        return True


@ordinary
@pytest.mark.parametrize("receiver", ["none", "loopback"])
def test_a_listener_that_is_handed_on_lets_in_no_other(receiver: str) -> None:
    """Who is not in `sources` is not heard, where the kernel keeps them: a guest whose network is not served accepts by itself.
    Where it does not, SECURITY.md says that whoever has the listener hears all, as is seen then."""
    port, (walls, network) = free_port(), RECEIVERS[receiver]
    ours, theirs = socket.socketpair()
    with ours, theirs, box(walls, network=[Publish(8080, port, ["127.0.0.9"])]) as neighbour, box(walls, network=network) as guest:
        giver = neighbour.popen(python(LISTENS), stdin=ours.fileno(), stdout=PIPE)
        taker = guest.popen(python(ACCEPTS), stdin=theirs.fileno(), stdout=PIPE, text=True)
        assert taker.stdout is not None and taker.stdout.readline() == "has it\n"
        for source, said in (("127.0.0.1", b"stranger"), ("127.0.0.9", b"friend")):
            with socket.socket() as sock, suppress(OSError):
                sock.bind((source, 0))
                sock.settimeout(1)
                sock.connect(("127.0.0.1", port))
                sock.sendall(said)
                sock.settimeout(5)
                sock.recv(1)
        assert taker.communicate(timeout=60)[0] == ("friend\n" if kernel_filters() else "stranger\nfriend\n")
        giver.kill()
        giver.communicate()
