"""What was allowed once is tried again when it is not any more: after the rule was taken back, after a Deny came, and when the name by
which it was allowed no longer stands for the address; by connects and addressed datagrams, whose verdicts are remembered."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from sandbox import Allow, Deny, Hosts, Sandbox
from sandbox._rules import Rules
from sandbox._verdicts import Verdict
from tests.escape.attack import box, ordinary

TRY = """
import socket, sys
there = "127.0.0.1", int(sys.argv[1])
for turn in range(3):
    socket.socket().connect_ex(there)
    sock = socket.socket(type=socket.SOCK_DGRAM)
    for _ in range(2):
        try: sock.sendto(b"x", there)
        except OSError: pass
"""
CHANGES: dict[str, tuple[list[Allow | Hosts], Callable[[Sandbox, int], None]]] = {
    "revoked": ([Allow("127.0.0.1")], lambda guest, _: guest.network.revoke("127.0.0.1")),
    "denied": ([Allow("127.0.0.0/8")], lambda guest, port: guest.network.deny(Deny(f"127.0.0.1:{port}"))),
    "of a name that is gone": (
        [Allow("here.test", private=True), Hosts({"here.test": ["127.0.0.1"]})],
        lambda guest, _: guest.network.revoke(Hosts({"here.test": ["127.0.0.1"]})),
    ),
}
Services = tuple[socket.socket, socket.socket]


@pytest.fixture
def services() -> Iterator[Services]:
    """Of the host's, by TCP and UDP at one port."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        udp.bind(tcp.getsockname())
        for each in (tcp, udp):
            each.setblocking(False)
        yield tcp, udp


def came(guest: Sandbox, services: Services) -> list[int]:
    """How many connections and datagrams of one command."""
    tcp, udp = services
    guest.run([sys.executable, "-c", TRY, str(tcp.getsockname()[1])], check=True, timeout=100)
    counts = [0, 0]
    with suppress(BlockingIOError):
        while tcp.accept()[0].close() is None:
            counts[0] += 1
    with suppress(BlockingIOError):
        while udp.recv(9):
            counts[1] += 1
    return counts


@ordinary
@pytest.mark.parametrize("change", CHANGES)
def test_what_is_remembered_is_of_the_rules_and_names_of_now(services: Services, change: str) -> None:
    rules, act = CHANGES[change]
    with box(network=rules) as guest:
        assert came(guest, services) == [3, 6]
        act(guest, services[0].getsockname()[1])
        assert came(guest, services) == [0, 0]


@pytest.mark.parametrize("change", CHANGES)
def test_verdicts_that_outlive_them_let_it_through(
    monkeypatch: pytest.MonkeyPatch, services: Services, change: str
) -> None:
    """Where what is remembered is found by address, port and protocol alone."""
    anew = Rules._judge_anew
    kept: dict[object, Verdict] = {}

    def remember(rules: Rules) -> object:
        return lambda *asked: kept.setdefault(asked[:3], anew(rules, *asked))

    monkeypatch.setattr(Rules, "_judged", property(remember))
    rules, act = CHANGES[change]
    with box(network=rules) as guest:
        assert came(guest, services) == [3, 6]
        act(guest, services[0].getsockname()[1])
        assert came(guest, services) == [3, 6]
