"""A published port is flooded from outside, by connections that never say anything: where data moves natively and where it is
relayed, to a guest that takes all of them and to one that takes none. Others and the guest itself go on, and of the
Supervisor's descriptors no more are taken than may be."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from subprocess import PIPE, Popen

import pytest

from sandbox import Limits, Publish, Sandbox
from sandbox.services import _inbound
from sandbox.services._published import Published
from tests.escape.attack import assert_neighbour_is_served, ordinary
from tests.helpers import free_port
from tests.test_internet import python

pytestmark = ordinary
SERVER = """
import socket, sys
s = socket.create_server(("0.0.0.0", 8080), backlog=int(sys.argv[2]))
print("listens", flush=True)
held = []
if sys.argv[1] == "takes all":
    while True:
        held.append(s.accept()[0])
        held[-1].send(b"!")
sys.stdin.read()
"""
FLOOD = """
import socket, sys
held, late = [], 0
while len(held) < int(sys.argv[2]) and late < 4: # so many in a row: there is room for no more
    held.append(socket.socket())
    held[-1].settimeout(0.5)
    late = late + 1 if held[-1].connect_ex(("127.0.0.1", int(sys.argv[1]))) else 0
print(len(held) - late, flush=True)
sys.stdin.read()
"""
OWN = """
import socket
with socket.create_server(("127.0.0.1", 0)) as server:
    for _ in range(20):
        with socket.create_connection(server.getsockname()) as one, server.accept()[0] as other:
            one.sendall(b"x")
            assert other.recv(1) == b"x"
"""
COUNTED = Limits(bytes_sent=1 << 40)
MANY = {"takes all": 100, "takes none": 400}
"""Fewer than a guest's share of descriptors, and more than wait for room."""


@contextmanager
def flooded(how: str, limits: Limits | None, count: int = 0) -> Iterator[tuple[Sandbox, int, int]]:
    """The guest, its port, and how many descriptors we have more."""
    port = free_port()
    with Sandbox(network=[Publish(8080, port)], limits=limits) as box:
        server = box.popen(python(SERVER, how, 200 if how == "takes all" else 4), stdin=PIPE, stdout=PIPE)
        try:
            assert server.stdout is not None and server.stdout.readline() == b"listens\n"
            before = len(os.listdir("/proc/self/fd"))
            with Popen([sys.executable, "-c", FLOOD, str(port), str(count or MANY[how])], stdin=PIPE, stdout=PIPE) as flood:
                assert flood.stdout is not None and int(flood.stdout.readline()) > 4
                yield box, port, len(os.listdir("/proc/self/fd")) - before
                flood.communicate()
        finally:
            server.kill()
            server.communicate()


@pytest.mark.parametrize("limits", [None, COUNTED], ids=["native", "relayed"])
@pytest.mark.parametrize("how", ["takes all", "takes none"])
def test_others_go_on(how: str, limits: Limits | None) -> None:
    with flooded(how, limits) as (box, port, taken):
        most = 0 if limits is None else 2 * MANY[how] if how == "takes all" else 2 * _inbound._MOST
        assert taken <= most + 16
        assert_neighbour_is_served("every wall")
        assert box.run(python(OWN), timeout=60).returncode == 0
        if how == "takes all":
            with socket.create_connection(("127.0.0.1", port), 30) as sock:
                assert sock.recv(1) == b"!"


def test_more_descriptors_are_taken_with_the_guard_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """By connections that the guest has no room for."""
    guard = _inbound._MOST
    monkeypatch.setattr(_inbound, "_MOST", 1 << 20)
    with flooded("takes none", COUNTED) as (_, _, taken):
        assert taken > 2 * guard + 16


def test_others_wait_for_a_supervisor_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The naive way: whoever comes is judged by what he says first."""
    admit = Published.admit

    def patient(published: Published, sock: socket.socket) -> str | None:
        sock.settimeout(1)
        with suppress(OSError):  # or it has gone when its turn comes
            sock.recv(1)
        return admit(published, sock)

    monkeypatch.setattr(Published, "admit", patient)
    with flooded("takes all", None, 8):
        begun = time.monotonic()
        assert_neighbour_is_served("every wall")
        assert time.monotonic() - begun > 3
