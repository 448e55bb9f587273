"""The parts of the relay by themselves, on real sockets: what each leaves behind, and whose turn it is."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from typing import TypeVar

import pytest

from sandbox import Limits, Publish
from sandbox._loop import Loop
from sandbox.services import _tcp_ends
from sandbox.services._flow import Flow
from sandbox.services._inbound import Inbound, Listening
from sandbox.services._meter import Meter
from sandbox.services._names_of_sockets import Name
from sandbox.services._pump import Pump
from sandbox.services._relayed import Relayed
from sandbox.services._sockets import cookie_of
from sandbox.services._tcp_ends import Carriage
from tests.helpers import free_port

T = TypeVar("T")
LAST, ONE = IPv4Address("127.78.8.254"), "127.78.8.1"
_loop = Loop("test-parts")


def in_loop(call: Callable[[], T]) -> T:
    made: list[T] = []
    done = threading.Event()

    def run() -> None:
        try:
            made.append(call())
        finally:
            done.set()

    _loop.call_at(0, run)
    assert done.wait(30)
    return made[0]


@pytest.fixture
def connected() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as one:
        one.settimeout(30)
        with server.accept()[0] as other:
            yield one, other


def test_a_local_end_that_has_hung_up(connected: tuple[socket.socket, socket.socket]) -> None:
    """A proxy has answered and closed, and the guest neither speaks nor closes: nobody is left to wait for."""
    guest, inner = connected
    ours, theirs = socket.socketpair()
    ended = threading.Event()
    flows = Flow(_loop, "sent", None, None), Flow(_loop, "received", None, None)
    in_loop(lambda: Pump(_loop, inner, ours, flows, "rule", lambda _: ended.set()).turn())
    theirs.sendall(b"an answer")
    theirs.close()
    assert ended.wait(30)
    assert (guest.recv(99), guest.recv(99)) == (b"an answer", b"")


def test_a_local_end_that_has_said_all(connected: tuple[socket.socket, socket.socket]) -> None:
    """It still hears."""
    guest, inner = connected
    ours, theirs = socket.socketpair()
    flows = Flow(_loop, "sent", None, None), Flow(_loop, "received", None, None)
    with theirs:
        theirs.settimeout(30)
        theirs.shutdown(socket.SHUT_WR)
        in_loop(lambda: Pump(_loop, inner, ours, flows, "rule", lambda _: None).turn())
        assert guest.recv(99) == b""
        guest.sendall(b"and this")
        assert theirs.recv(99) == b"and this"
        guest.shutdown(socket.SHUT_WR)
        assert theirs.recv(99) == b""


def test_turns_while_there_is_room() -> None:
    """Who had none comes before who had one."""
    now = [0.0]
    flow = Flow(_loop, "sent", None, 100, clock=lambda: now[0])
    had: list[int] = []

    def takes(number: int) -> Callable[[], None]:
        def turn() -> None:
            had.append(number)
            flow.moved(flow.room(60), "rule")
            flow.wait(turn)

        return turn

    def begin() -> None:
        flow.moved(100, "rule")
        for number in range(4):
            flow.wait(takes(number))
        for now[0] in (1.0, 2.0):
            flow._again()
        flow.close()

    in_loop(begin)
    assert had == [0, 1, 2, 3]


def test_a_turn_that_fails_loses_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    flow = Flow(_loop, "sent", None, 1000)
    second = threading.Event()

    def fails() -> None:
        raise OSError("of one connection")

    def begin() -> None:
        flow.moved(1000, "rule")
        flow.wait(fails)
        flow.wait(second.set)

    in_loop(begin)
    assert second.wait(30)


def test_a_knock_that_cannot_go_on_leaves_nothing() -> None:
    port = free_port()
    rule = Publish(8080, f"127.0.0.1:{port}")
    elsewhere = IPv4Address("192.0.2.1")  # no address of this machine
    listening = Listening(Name(IPv4Address(ONE), 8080), 1)
    with socket.create_server(("127.0.0.1", port)) as listener:
        inbound = Inbound(_loop, elsewhere, [(rule, listener)], lambda _: listening, lambda *_: None)
        in_loop(lambda: inbound.listen(8080))
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", port)) as stranger:
                stranger.settimeout(30)
                with pytest.raises(ConnectionResetError):
                    stranger.recv(1)
        assert not inbound._knocking
        in_loop(inbound.close)


def relayed(rules: list[tuple[Publish, socket.socket]], find: Listening | None = None) -> Relayed:
    return Relayed(_loop, LAST, Meter(Limits(bytes_sent=1 << 40), _loop), rules, lambda _: find, lambda *_: True)


def test_names_of_ours_are_forgotten() -> None:
    """A port of ours has another connection later: its guest is not shown this one's ends."""
    port = free_port()
    rule = Publish(8080, f"127.0.0.1:{port}")
    with socket.create_server((ONE, 0)) as guest, socket.create_server(("127.0.0.1", port)) as listener:
        made = relayed([(rule, listener)], Listening(Name(IPv4Address(ONE), guest.getsockname()[1]), 1))
        in_loop(lambda: made.listen(8080))
        with socket.create_connection(("127.0.0.1", port)) as stranger:
            inner = guest.accept()[0]
            assert in_loop(lambda: len(made._ends)) == 1
            inner.close()
            stranger.settimeout(30)
            assert stranger.recv(1) == b""
        ended = threading.Event()
        for _ in range(3000):
            if not in_loop(lambda: made.lingers):
                break
            ended.wait(0.01)
        assert in_loop(lambda: len(made._ends)) == 0
        made.close()


def test_a_cut_that_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    made = relayed([])
    with socket.socket(type=socket.SOCK_DGRAM) as guest:
        guest.bind((ONE, 0))
        in_loop(lambda: made.way(guest, Name(IPv4Address("127.0.0.1"), 9), "rule"))

        def judge(*_: object) -> bool:
            raise OSError("which is not known")

        assert made.cut(judge) is False
        assert made.cut(lambda *_: False) is True
        made.close()


def test_nobody_is_woken_while_no_connection_stands(connected: tuple[socket.socket, socket.socket]) -> None:
    """And what one carries that begins after that is told."""
    carriage, (one, other) = Carriage(_loop), connected
    try:
        deadline = time.monotonic() + 30
        while not _tcp_ends._ends._deaf and time.monotonic() < deadline:
            with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
                server.accept()[0].close()
        assert _tcp_ends._ends._deaf
        in_loop(lambda: carriage.begin(cookie_of(one), "rule"))
        one.sendall(b"12345")
        assert other.recv(9) == b"12345"
        one.close()
        other.close()
        assert (carriage.carried() or {})["rule"][0] == 5
        assert not carriage.stands
    finally:
        carriage.close()


def test_a_count_that_is_lost_keeps_nothing() -> None:
    """However many follow."""
    carriage = Carriage(_loop)
    carriage.begin(1 << 62, "rule")
    assert carriage.stands
    carriage.lose()
    for cookie in range(100):
        carriage.begin(1 << 61 | cookie, "rule")
    assert not carriage.stands
    assert carriage.carried() is None
    carriage.close()
