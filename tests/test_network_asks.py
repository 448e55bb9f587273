"""What a broken sentry may ask of the network: any operation, in any order, on any descriptor, with any numbers and bytes. What
must hold: an answer and no exception, at once; the descriptor as it was; and no service that no rule names has heard of it."""

from __future__ import annotations

import errno
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Optional, Union

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox import Allow, AllowHTTP, Deny, Hosts, Limits, Policy, Publish, _core
from sandbox._inbox import parse
from sandbox._loop import Loop
from sandbox._messages import NetAnswer, NetAsk
from sandbox._rules import Rules
from sandbox.services._options import without_network
from sandbox.services.net import Internet
from tests.helpers import free_port

KINDS = ["socket", "bind", "connect", "listen", "send", "option", "admit", "name", "none", ""]
NUMBERS = st.sampled_from([-1, 0, 1, 2, 3, 5, 6, 10, 13, 15, 16, 17, 21, 40, 262, 2048, 1 << 19, (1 << 31) - 1, -(1 << 31)]) | st.integers(-(1 << 31), (1 << 31) - 1)
HOSTS = ["127.0.0.1", "0.0.0.0", "127.0.0.53", "127.0.0.254", "192.0.2.1", "224.0.0.1", "255.255.255.255", "10.0.0.1", "198.51.100.1", "198.51.100.254"]
SIXES = ["::", "::1", "::ffff:127.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "fe80::1", "ff02::1", "2001:db8::1", "::ffff:198.51.100.254"]
HERE = socket.inet_aton("198.51.100.0")[:3]  # of these in an address: the guest's slice of the loopback


@dataclass
class Judge:
    """In a proxy's place: it takes connections, and ends them."""

    stands: bool = True
    taken: int = 0

    def take(self, inner: socket.socket, upstream: socket.socket, port: int, names: Sequence[str]) -> None:
        self.taken += 1
        inner.close()
        upstream.close()

    def close(self, *, forked: bool = False) -> None:
        self.stands = False


@dataclass
class World:
    """A guest's network, and services of the host's that it must not reach; `stranger` has sent it a datagram. `net` is
    None where it has none."""

    loop: Loop
    net: Optional[Internet]
    judge: Judge
    tcp: socket.socket
    udp: socket.socket
    allowed: socket.socket
    stranger: socket.socket
    known: list[int]
    failures: list[object]

    def ask(self, ask: NetAsk) -> Optional[NetAnswer]:
        """As the Supervisor does: in the loop's thread, in which a service's other work is."""
        got: list[Optional[NetAnswer]] = []
        answer = without_network if self.net is None else self.net.handle
        assert self.loop.perform(lambda: got.append(answer(ask)), 60), self.failures
        return got[0]

    def heard(self) -> bool:
        with suppress(BlockingIOError):
            while True:
                self.allowed.accept()[0].close()
        for take in (self.tcp.accept, lambda: self.udp.recv(99)):
            with suppress(BlockingIOError):
                take()
                return True
        return False

    @property
    def ports(self) -> list[int]:
        """Those of interest: whom the guest has heard stands for is one of the last address's."""
        visits = [] if self.net is None else list(self.net._visitors._visits.values())
        return [*self.known, *(visit.name.port for visit in visits[-1:])]

    def fitted(self, address: bytes) -> bytes:
        """255 and an index stand for a port, and HERE for the slice, which are others at each run."""
        if self.net is not None:
            address = address.replace(HERE, self.net.slice.base.to_bytes(4, "big")[:3])
        if len(address) < 4 or address[2] != 255 or address[3] >= len(ports := self.ports):
            return address
        return address[:2] + struct.pack("!H", ports[address[3]]) + address[4:]


WORLDS: dict[str, Optional[Limits]] = {
    "direct": Limits(),
    "relayed": Limits(bytes_sent=1 << 40),
    "judged": Limits(),
    "judged and relayed": Limits(bytes_received=1 << 40),
    "without": None,
}


def _rules(kind: str, allowed: int, tcp: int, udp: int) -> Rules:
    common = [Deny("192.0.2.0/24"), Publish(8080, tcp), Publish(5300, f"udp://{udp}"), Allow(f"udp://127.0.0.1:{allowed}")]
    judged = [AllowHTTP("GET", f"http://api.test:{allowed}/*", private=True), Hosts({"api.test": "127.0.0.1"})]
    mine = judged if kind.startswith("judged") else [Allow(f"tcp://127.0.0.1:{allowed}")]
    return Rules.compile(Policy(network=[*common, *mine]).network)


@pytest.fixture(scope="module", params=WORLDS)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    limits, failures = WORLDS[request.param], []
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patched:
        patched.setattr(threading, "excepthook", failures.append)
        loop, judge = Loop("test-asks"), Judge()
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        allowed = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=200))
        udp, stranger = (stack.enter_context(socket.socket(type=socket.SOCK_DGRAM)) for _ in range(2))
        udp.bind(("127.0.0.1", 0))
        for sock in (tcp, udp, allowed):
            sock.setblocking(False)
        published = free_port(), free_port()
        ports = [0, 1, 53, 8080, 5300, *published, *(sock.getsockname()[1] for sock in (tcp, udp, allowed))]
        net = None
        if limits is not None:
            net = Internet(_rules(request.param, allowed.getsockname()[1], *published), loop, limits, judge)
            stack.callback(net.close)
            ports.append(net.slice.resolver)
        stranger.connect(("127.0.0.1", published[1]))
        yield World(loop, net, judge, tcp, udp, allowed, stranger, ports, failures)
    assert not failures, failures


def _pair() -> tuple[int, int]:
    one, two = socket.socketpair()
    return one.detach(), two.detach()


def _listening() -> int:
    sock = socket.socket()
    sock.listen()
    return sock.detach()


MADE: dict[str, Callable[[], Union[int, tuple[int, int]]]] = {
    "tcp": lambda: socket.socket().detach(),
    "tcp6": lambda: socket.socket(socket.AF_INET6).detach(),
    "udp": lambda: socket.socket(type=socket.SOCK_DGRAM).detach(),
    "udp6": lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).detach(),
    "listener": _listening,
    "local": lambda: socket.socket(socket.AF_UNIX).detach(),
    "local datagrams": lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).detach(),
    "pair": _pair,
    "netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).detach(),
    "pipe": os.pipe,
    "file": lambda: os.open("/dev/null", os.O_RDWR),
    "path": lambda: os.open("/", os.O_PATH),
    "memory": lambda: os.memfd_create("asked"),
}


@st.composite
def addresses(draw: st.DrawFn) -> bytes:
    """Those that mean something, whole or cut, and any bytes."""
    port = draw(st.sampled_from(range(12)))
    four = st.sampled_from(HOSTS).map(lambda host: struct.pack("=H", socket.AF_INET) + bytes([255, port]) + socket.inet_aton(host) + bytes(8))
    six = st.sampled_from(SIXES).map(lambda host: struct.pack("=H", socket.AF_INET6) + bytes([255, port]) + bytes(4) + socket.inet_pton(socket.AF_INET6, host) + bytes(4))
    some = draw(four | six | st.binary(max_size=28) | st.just(bytes(2)))
    return some[: draw(st.sampled_from([28, 28, 28, 16, 8, 3, 1, 0]))]


Step = tuple[str, int, int, int, bytes]
STEPS = st.lists(st.tuples(st.sampled_from(KINDS), NUMBERS, NUMBERS, NUMBERS, addresses()), min_size=1, max_size=6)


@given(what=st.sampled_from([*MADE]), steps=STEPS)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_ask_is_answered(world: World, what: str, steps: list[Step]) -> None:
    made = MADE[what]()
    fds = made if isinstance(made, tuple) else (made,)
    before = os.fstat(fds[0])
    try:
        for kind, family, type_, protocol, address in steps:
            with suppress(ConnectionRefusedError):
                world.stranger.send(b"hello")
            fd = None if kind == "socket" else fds[0]
            begun = time.monotonic()
            answer = world.ask(NetAsk(1, kind, family, type_, protocol, world.fitted(address), fd))
            assert time.monotonic() - begun < 5
            if answer is None:  # which ends the guest
                assert world.net is None
                continue
            assert isinstance(answer, NetAnswer) and -4096 < answer.value <= 0 and len(answer.address) <= 32
            assert (answer.fd is not None) == (kind == "socket" and answer.value == 0)
            if answer.fd is not None:
                with socket.socket(fileno=answer.fd) as sock:
                    assert sock.family in (socket.AF_INET, socket.AF_INET6) and sock.type in (socket.SOCK_STREAM, socket.SOCK_DGRAM)
            assert os.path.samestat(os.fstat(fds[0]), before)
        assert not world.heard() and not world.failures
    finally:
        for fd in fds:
            os.close(fd)


@given(text=st.binary(max_size=80) | st.binary(min_size=48, max_size=48), count=st.integers(0, 2))
@settings(max_examples=300, deadline=None)
def test_every_message_is_read_or_malformed(text: bytes, count: int) -> None:
    """Before anything is asked by it."""
    fds = [os.open("/dev/null", os.O_RDONLY) for _ in range(count)]
    message = _core.Message(_core.MessageType.SERVE, 1, _core.Serve.NET, 0, text, fds)
    try:
        event = parse(message)
    except _core.Malformed:
        return
    finally:
        for fd in fds:
            with suppress(OSError):
                os.close(fd)
    assert isinstance(event, NetAsk) and (event.fd is None) == (event.kind == "socket")


def _name(sock: socket.socket) -> bytes:
    host, port = sock.getsockname()
    return struct.pack("=H", socket.AF_INET) + struct.pack("!H", port) + socket.inet_aton(host) + bytes(8)


def test_the_services_would_hear(world: World) -> None:
    """As the naive way shows, which connects whatever it is handed."""
    with socket.socket() as sock:
        sock.connect(world.tcp.getsockname())
        assert world.heard()
    with socket.socket() as sock:
        answer = world.ask(NetAsk(1, "connect", 0, 0, 0, _name(world.tcp), sock.fileno()))
        assert answer is None if world.net is None else answer is not None and answer.value == -errno.ECONNREFUSED
        assert not world.heard()


def test_what_is_allowed_is_reached(world: World, request: pytest.FixtureRequest) -> None:
    """In each way that it is named by; and who has sent to a published port is told by name."""
    if world.net is None:
        pytest.skip("nothing is allowed where there is no network")
    before = world.judge.taken
    with socket.socket() as sock:
        answer = world.ask(NetAsk(1, "connect", 0, 0, 0, _name(world.allowed), sock.fileno()))
        relayed = request.node.callspec.params["world"] != "direct"
        assert answer is not None and answer.value in (0, -errno.EINPROGRESS) and bool(answer.address) == relayed
        if world.net.rules.requests:
            sock.settimeout(30)
            assert sock.recv(9) == b"" and world.judge.taken == before + 1  # it is the judge that ends it
        world.allowed.settimeout(30)
        world.allowed.accept()[0].close()
        world.allowed.setblocking(False)
    made = world.ask(NetAsk(1, "socket", socket.AF_INET, socket.SOCK_DGRAM, 0, b"", None))
    assert made is not None and made.fd is not None
    with socket.socket(fileno=made.fd) as sock:
        there = struct.pack("=H", socket.AF_INET) + struct.pack("!H4x8x", 5300)
        assert world.ask(NetAsk(1, "bind", 0, 0, 0, there, sock.fileno())) == NetAnswer()
        world.stranger.send(b"hello")
        sock.settimeout(30)
        data, peer = sock.recvfrom(9)
        shown = struct.pack("=H", socket.AF_INET) + struct.pack("!H", peer[1]) + socket.inet_aton(peer[0]) + bytes(8)
        told = world.ask(NetAsk(1, "name", 0, 0, 0, shown, sock.fileno()))
        assert data == b"hello" and told == NetAnswer(address=_name(world.stranger))
