"""What a broken sentry may ask of the network: any operation, in any order, on any descriptor, with any numbers and bytes. What
must hold: an answer and no exception, at once; the descriptor as it was; and no service that no rule names has heard of it."""

from __future__ import annotations

import errno
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any, Union

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox import Allow, Deny, Limits, Policy, Publish, _core
from sandbox._inbox import parse
from sandbox._loop import Loop
from sandbox._messages import NetAnswer, NetAsk
from sandbox._rules import Rules
from sandbox.services.net import Internet
from tests.programs.outside import free_port

KINDS = ["socket", "bind", "connect", "listen", "send", "option", "admit", "none", ""]
NUMBERS = st.sampled_from([-1, 0, 1, 2, 3, 5, 6, 10, 13, 15, 16, 17, 21, 40, 262, 2048, 1 << 19, (1 << 31) - 1, -(1 << 31)]) | st.integers(-(1 << 31), (1 << 31) - 1)
HOSTS = ["127.0.0.1", "0.0.0.0", "127.0.0.53", "127.0.0.254", "192.0.2.1", "224.0.0.1", "255.255.255.255", "10.0.0.1"]
SIXES = ["::", "::1", "::ffff:127.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "fe80::1", "ff02::1", "2001:db8::1"]


@dataclass
class World:
    """A guest's network, and services of the host's that it must not reach; `ports` are of interest."""

    net: Any
    tcp: socket.socket
    udp: socket.socket
    allowed: socket.socket
    ports: list[int]

    def heard(self) -> bool:
        for take in (self.tcp.accept, lambda: self.udp.recv(99)):
            with suppress(BlockingIOError):
                take()
                return True
        return False


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with ExitStack() as stack:
        loop = Loop("test-asks")
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        allowed = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=200))
        udp = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
        udp.bind(("127.0.0.1", 0))
        for sock in (tcp, udp):
            sock.setblocking(False)
        port = free_port()
        rules = [Allow(f"tcp://127.0.0.1:{allowed.getsockname()[1]}"), Deny("192.0.2.0/24"), Publish(8080, port)]
        net = Internet(Rules.compile(Policy(network=rules).network), loop, Limits())
        stack.callback(net.close)
        ports = [0, 1, 53, 8080, port, *(sock.getsockname()[1] for sock in (tcp, udp, allowed)), net.resolver]
        yield World(net, tcp, udp, allowed, ports)


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
    port = draw(st.sampled_from(range(9)))
    four = st.sampled_from(HOSTS).map(lambda host: struct.pack("=H", socket.AF_INET) + bytes([255, port]) + socket.inet_aton(host) + bytes(8))
    six = st.sampled_from(SIXES).map(lambda host: struct.pack("=H", socket.AF_INET6) + bytes([255, port]) + bytes(4) + socket.inet_pton(socket.AF_INET6, host) + bytes(4))
    some = draw(four | six | st.binary(max_size=28) | st.just(bytes(2)))
    return some[: draw(st.sampled_from([28, 28, 28, 16, 8, 3, 1, 0]))]


def _with_port(address: bytes, ports: list[int]) -> bytes:
    """255 and an index stand for a port, which is another at each run."""
    if len(address) < 4 or address[2] != 255 or address[3] >= len(ports):
        return address
    return address[:2] + struct.pack("!H", ports[address[3]]) + address[4:]


Step = tuple[str, int, int, int, bytes]
STEPS = st.lists(st.tuples(st.sampled_from(KINDS), NUMBERS, NUMBERS, NUMBERS, addresses()), min_size=1, max_size=6)


@given(what=st.sampled_from([*MADE]), steps=STEPS)
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_ask_is_answered(world: World, what: str, steps: list[Step]) -> None:
    made = MADE[what]()
    fds = made if isinstance(made, tuple) else (made,)
    before = os.fstat(fds[0])
    try:
        for kind, family, type_, protocol, address in steps:
            fd = None if kind == "socket" else fds[0]
            begun = time.monotonic()
            answer = world.net.handle(NetAsk(1, kind, family, type_, protocol, _with_port(address, world.ports), fd))
            assert time.monotonic() - begun < 5
            assert isinstance(answer, NetAnswer) and -4096 < answer.value <= 0
            assert (answer.fd is not None) == (kind == "socket" and answer.value == 0)
            if answer.fd is not None:
                with socket.socket(fileno=answer.fd) as sock:
                    assert sock.family in (socket.AF_INET, socket.AF_INET6) and sock.type in (socket.SOCK_STREAM, socket.SOCK_DGRAM)
            assert os.path.samestat(os.fstat(fds[0]), before)
        assert not world.heard()
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


def test_the_services_would_hear(world: World) -> None:
    """As the naive way shows, which connects whatever it is handed."""
    with socket.socket() as sock:
        sock.connect(world.tcp.getsockname())
        assert world.heard()
    with socket.socket() as sock:
        fd = sock.fileno()
        name = struct.pack("=H", socket.AF_INET) + struct.pack("!H", world.tcp.getsockname()[1]) + socket.inet_aton("127.0.0.1") + bytes(8)
        assert world.net.handle(NetAsk(1, "connect", 0, 0, 0, name, fd)).value == -errno.ECONNREFUSED
        assert not world.heard()
