"""A port of the slice that a guest leaves while a relay speaks with it: a service of the host's at every address, which comes
there next, would be met in the guest's place."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from subprocess import PIPE

import pytest

from sandbox import Allow, Limits, Publish, Sandbox
from sandbox._loop import Loop
from sandbox.services import _datagrams, _relay
from sandbox.services._home import Home
from sandbox.services._inbound import Inbound
from sandbox.services._inners import Inners
from sandbox.services._names_of_sockets import Name
from sandbox.services._relay import Relays
from sandbox.services._sockets import name_of
from tests.escape.attack import ordinary
from tests.helpers import free_port
from tests.test_internet import python
from tests.test_publish import knocked

COUNTED = Limits(bytes_sent=1 << 40)
guarded = pytest.mark.parametrize("guard", [True, False], ids=["guarded", "unguarded"])


def hears(met: socket.socket, said: bytes | None) -> None:
    """A host's service that was met hears this; None: it is reset."""
    met.settimeout(30)
    if said is not None:
        assert met.recv(99) == said
        return
    with pytest.raises(ConnectionResetError):
        met.recv(99)


ONCE = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1], flush=True)
s.sendto(b"hello", ("127.0.0.1", int(sys.argv[1]))); s.close(); print("closed", flush=True); input()
"""
FULL = """
import socket, sys
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(("0.0.0.0", int(sys.argv[1]))); s.listen(0)
full = socket.create_connection(("127.0.0.1", int(sys.argv[1]))); print("full", flush=True)
input(); s.close(); full.close(); print("closed", flush=True); input()
"""
AUTOMATIC = """
import errno, socket, sys
there = ("127.0.0.1", int(sys.argv[1]))
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
try: s.send(b"x")
except OSError as e: print(errno.errorcode[e.errno], s.getsockname()[1] > 0)
s.connect(there); s.send(b"one"); print(s.recv(9).decode(), s.getsockname()[0])
"""


def at_every_address(kind: int, port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET, kind)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, kind == socket.SOCK_STREAM)
    made.bind(("0.0.0.0", port))
    return made


def comes(sock: socket.socket, seconds: float) -> bool:
    return bool(select.select([sock], [], [], seconds)[0])


@ordinary
@guarded
def test_an_answer_to_a_datagram(guard: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not guard:
        monkeypatch.setattr(Home, "hears", lambda *_: True)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outside:
        outside.bind(("127.0.0.1", 0))
        outside.settimeout(30)
        there = outside.getsockname()[1]
        with Sandbox(network=[Allow(f"udp://127.0.0.1:{there}")], limits=COUNTED) as box:
            guest = box.popen(python(ONCE, there), stdin=PIPE, stdout=PIPE, text=True)
            assert guest.stdout is not None
            port = int(guest.stdout.readline())
            assert guest.stdout.readline() == "closed\n"
            sent, relay = outside.recvfrom(99)
            assert sent == b"hello"  # though its socket is closed
            with at_every_address(socket.SOCK_DGRAM, port) as service:
                outside.connect(relay)
                outside.send(b"to whom?")
                if guard:
                    with pytest.raises(ConnectionRefusedError):  # the relay is closed
                        for _ in range(3000):
                            select.select([outside], [], [], 0.01)
                            outside.send(b"to whom?")
                assert comes(service, 0 if guard else 30) is not guard
            guest.communicate("\n")


TWO = """
import socket, sys
made = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
for s, port in zip(made, sys.argv[1:]): s.connect(("127.0.0.1", int(port)))
print("connected", flush=True); input()
print(made[0].send(b"bad"), flush=True); input()
"""


@ordinary
@guarded
def test_a_peer_that_was_forgotten(guard: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The guest's socket is still connected to the relay of a peer that gave way to another."""
    monkeypatch.setattr(_datagrams, "_MOST", 1)
    if not guard:
        monkeypatch.setattr(Inners, "take", lambda inners, at: connected(inners._made(), at))
        monkeypatch.setattr(Inners, "give", lambda _, inner: inner.close())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as two:
        for each in (one, two):
            each.bind(("127.0.0.1", 0))
        ports = [each.getsockname()[1] for each in (one, two)]
        lost: list[int] = []
        real = _datagrams.Datagrams._close
        monkeypatch.setattr(_datagrams.Datagrams, "_close", lambda self, key: (lost.append(name_of(self._pairs[key].inner).port), real(self, key)))  # fmt: skip
        rule = f"udp://127.0.0.1:{','.join(map(str, ports))}"
        with Sandbox(network=[Allow(rule)], limits=COUNTED) as box:
            guest = box.popen(python(TWO, *ports), stdin=PIPE, stdout=PIPE, text=True)
            assert guest.stdin is not None and guest.stdout is not None
            assert guest.stdout.readline() == "connected\n" and len(lost) == 1
            if guard:
                with pytest.raises(OSError, match="in use"):
                    at_every_address(socket.SOCK_DGRAM, lost[0])
            else:
                with at_every_address(socket.SOCK_DGRAM, lost[0]) as service:
                    guest.stdin.write("\n")
                    guest.stdin.flush()
                    assert guest.stdout.readline() == "3\n" and service.recv(9) == b"bad"
            guest.communicate("\n\n")


def connected(inner: socket.socket, at: Name) -> socket.socket:
    inner.connect((str(at.address), at.port))
    return inner


@ordinary
def test_a_port_that_a_send_without_an_address_has_bound() -> None:
    """It comes home, as one that is to be connected within the guest."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outside:
        outside.bind(("127.0.0.1", 0))
        outside.settimeout(30)
        there = outside.getsockname()[1]

        def answer() -> None:
            data, name = outside.recvfrom(99)
            outside.sendto(data.upper(), name)

        thread = threading.Thread(target=answer)
        thread.start()
        with Sandbox(network=[Allow(f"udp://127.0.0.1:{there}")], limits=COUNTED) as box:
            done = box.run(python(AUTOMATIC, there), text=True, stderr=-1)
        thread.join()
    assert (done.stdout, done.stderr) == ("EDESTADDRREQ True\nONE 127.0.0.1\n", "")


@contextmanager
def given_up(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[socket.socket, Relays, Loop]]:
    """A socket of a guest's that gives up at the moment when the relay is about to meet it: when that has made
    the socket that it meets it by."""
    loop = Loop("test")
    relays = Relays(loop, IPv4Address("127.78.9.254"))
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(("127.78.9.1", 0))
    made.setblocking(False)
    share = _relay._share
    meeting: list[int] = []

    def sharing(sock: socket.socket) -> None:
        share(sock)
        meeting.append(sock.fileno())
        if len(meeting) == 2:  # the first is the listener where it waits
            made.shutdown(socket.SHUT_RDWR)

    monkeypatch.setattr(_relay, "_share", sharing)
    with made:
        yield made, relays, loop
        done = threading.Event()
        loop.call_at(0, lambda: (relays.close(), done.set()))
        assert done.wait(30)


@guarded
def test_a_connect_that_is_given_up(guard: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not guard:
        monkeypatch.setattr(_relay._Joining, "met", lambda _: True)
    joined: list[int] = []

    def take(*ends: socket.socket) -> None:
        joined.append(len(ends))
        for end in ends:
            end.close()

    with socket.create_server(("127.0.0.1", 0)) as target, given_up(monkeypatch) as (guest, relays, loop):
        name = Name(IPv4Address("127.0.0.1"), target.getsockname()[1])
        with at_every_address(socket.SOCK_STREAM, guest.getsockname()[1]) as service:
            service.listen(8)
            loop.call_at(0, lambda: relays.begin(guest, name, take))
            assert comes(service, 30)
            with service.accept()[0] as met:
                hears(met, None if guard else b"")
    assert joined == ([] if guard else [2])


@ordinary
@guarded
def test_a_knock_that_waits_for_room(guard: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not guard:
        monkeypatch.setattr(Inbound, "_met", lambda *_: True)
    port, host = free_port(), free_port()
    with Sandbox(network=[Publish(port, f"127.0.0.1:{host}")], limits=COUNTED) as box:
        guest = box.popen(python(FULL, port), stdin=PIPE, stdout=PIPE, text=True)
        assert guest.stdout is not None and guest.stdin is not None and guest.stdout.readline() == "full\n"
        with socket.create_connection(("127.0.0.1", host)) as stranger:
            stranger.sendall(b"from a stranger")
            knocked(port)
            guest.stdin.write("\n")
            guest.stdin.flush()
            assert guest.stdout.readline() == "closed\n"
            with at_every_address(socket.SOCK_STREAM, port) as service:
                service.listen(8)
                assert comes(service, 30)  # TCP has tried again
                with service.accept()[0] as met:
                    hears(met, None if guard else b"from a stranger")
        guest.communicate("\n")
