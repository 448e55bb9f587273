"""Strangers' datagrams at a published port of UDP: a guest sends to somebody whom it has not heard, to another port or address of
one whom it has, after two minutes, from another socket, to one who is not in `sources`; and the port that it leaves is
taken by a service of the host's at every address, which would be heard and would answer in its place; and strangers come from more
ports than can be held."""

from __future__ import annotations

import ast
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from ipaddress import IPv4Address
from subprocess import PIPE
from types import SimpleNamespace
from typing import Any

import pytest

import sandbox
from sandbox import Limits, Publish
from sandbox.services import _visitors
from sandbox.services._home import Home
from sandbox.services._inners import Inners
from sandbox.services._names_of_sockets import Name
from sandbox.services._sockets import name_of
from sandbox.services._visitors import Visitors
from tests.escape.attack import WALLS, assert_neighbour_is_served, box, ordinary
from tests.helpers import free_port

pytestmark = ordinary
guarded = pytest.mark.parametrize("guard", [True, False], ids=["guarded", "unguarded"])
ACTOR = """
import errno, socket, sys
def plain(port=0):
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.settimeout(30)
    made.bind(("0.0.0.0", port))
    return made
for line in sys.stdin:
    told = None
    try:
        if " = " in line: exec(line)
        else: told = eval(line)
    except OSError as e: told = errno.errorcode.get(e.errno, str(e))
    print(repr(told), flush=True)
"""
PORT, BESIDE = 5300, 5301
HERE = "127.0.0.1"


class Guest:
    """Does what it is told; its socket is `s`, and `beside` another, which is published, too."""

    def __init__(self, made: sandbox.Sandbox, beside: tuple[str, int]) -> None:
        self.net = made._guest.parts.net
        self._beside = beside
        self._process = made.popen([sys.executable, "-c", ACTOR], stdin=PIPE, stdout=PIPE, text=True)
        assert self.does(f"s = plain({PORT})") is None and self.does(f"beside = plain({BESIDE})") is None

    def does(self, text: str) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(text + "\n")
        self._process.stdin.flush()
        return ast.literal_eval(self._process.stdout.readline())

    def hears(self, who: socket.socket, host: tuple[str, int], by: str = "s") -> None:
        who.sendto(b"hello", host)
        assert self.does(f"{by}.recvfrom(99)") == (b"hello", who.getsockname())

    def has_had_a_turn(self, who: socket.socket) -> None:
        """Whatever came before this: the loop takes one after the other."""
        self.hears(who, self._beside, "beside")

    def end(self) -> None:
        self._process.communicate()


def stranger(stack: ExitStack, address: str = HERE, port: int = 0) -> socket.socket:
    made = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    made.bind((address, port))
    made.settimeout(30)
    return made


@contextmanager
def publishing(walls: str = "every wall", sources: tuple[str, ...] = (), **options: Any) -> Iterator[tuple[Guest, tuple[str, int]]]:
    """A guest that hears at its port, and where that is on the host."""
    ports = {PORT: free_port(kind=socket.SOCK_DGRAM), BESIDE: free_port(kind=socket.SOCK_DGRAM)}
    rules = [Publish(guest, f"udp://{HERE}:{host}", sources) for guest, host in ports.items()]
    with box(walls, network=rules, **options) as made:
        guest = Guest(made, (HERE, ports[BESIDE]))
        yield guest, (HERE, ports[PORT])
        guest.end()


def first_heard(guest: Guest, who: socket.socket, host: tuple[str, int]) -> bytes:
    """What this one hears first, which is b"good" at the latest: when it has spoken and is answered."""
    guest.hears(who, host)
    assert guest.does(f"s.sendto(b'good', {who.getsockname()})") == 4
    return who.recv(99)


def to_whom_it_likes(visitors: Visitors, sock: socket.socket, peer: Name) -> tuple[Name, str]:
    """The naive way: whoever is named is somebody to answer to, from any socket."""
    rule, listener = visitors._listeners[0]
    visitors._end((rule, peer))
    find, visitors._find = visitors._find, lambda *_: name_of(sock)
    visit = visitors._visit((rule, peer), listener, (str(peer.address), peer.port), IPv4Address(HERE))
    visitors._find = find
    assert visit is not None
    return visit.name, str(rule)


# ---- out ------------------------------------------------------------------------------------------------------------

LIMITS = {"native": None, "counted": Limits(bytes_sent=1 << 40)}
TARGETS = ["nobody that it has heard", "another port", "another address", "another socket"]


def attacked(guest: Guest, host: tuple[str, int], target: str) -> bytes:
    """What is heard first where the guest has sent b"bad". To its own loopback, as it believes: so no error tells it."""
    with ExitStack() as stack:
        friend = other = stranger(stack)
        assert first_heard(guest, friend, host) == b"good"
        if target == "another address":
            other = stranger(stack, "127.0.0.9", friend.getsockname()[1])
        elif target != "another socket":
            other = stranger(stack)
        sock = f"plain({BESIDE + 1})" if target == "another socket" else "s"
        assert guest.does(f"{sock}.sendto(b'bad', {other.getsockname()})") == 3
        return first_heard(guest, other, host)


@pytest.mark.parametrize("limits", LIMITS)
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("walls", WALLS)
def test_it_answers_and_does_no_more(walls: str, target: str, limits: str) -> None:
    """INVARIANT answers-only."""
    with publishing(walls, limits=LIMITS[limits]) as (guest, host):
        assert attacked(guest, host, target) == b"good"
        assert guest.does("s.sendto(b'bad', ('192.0.2.1', 53))") == "EACCES"


@pytest.mark.parametrize("target", TARGETS)
def test_it_does_with_the_guard_left_out(monkeypatch: pytest.MonkeyPatch, target: str) -> None:
    monkeypatch.setattr(Visitors, "way", to_whom_it_likes)
    with publishing() as (guest, host):
        assert attacked(guest, host, target) == b"bad"


@guarded
def test_who_is_not_in_sources(monkeypatch: pytest.MonkeyPatch, guard: bool) -> None:
    """Is not heard, and so not answered."""
    if not guard:
        monkeypatch.setattr(Publish, "admits", lambda *_: True)
        monkeypatch.setattr(_visitors, "attach", lambda *_: None)
    with ExitStack() as stack, publishing(sources=("127.0.0.9",)) as (guest, host):
        friend, other = stranger(stack, "127.0.0.9"), stranger(stack)
        other.sendto(b"knock", host)
        friend.sendto(b"hello", host)
        assert guest.does("s.recvfrom(99)") == ((b"hello", friend.getsockname()) if guard else (b"knock", other.getsockname()))
        for each in (other, friend):
            assert guest.does(f"s.sendto(b'good', {each.getsockname()})") == 4
        assert friend.recv(99) == b"good"
        other.settimeout(0 if guard else 30)
        with pytest.raises(BlockingIOError) if guard else nullcontext():
            assert other.recv(99) == b"good"


@guarded
def test_who_is_not_in_sources_wakes_nobody(monkeypatch: pytest.MonkeyPatch, guard: bool) -> None:
    """What it sends is not looked at in the thread of all guests: the kernel drops it."""
    looked: list[str] = []
    admits = Publish.admits
    monkeypatch.setattr(Publish, "admits", lambda rule, source: (looked.append(str(source)), admits(rule, source))[1])
    if not guard:
        monkeypatch.setattr(_visitors, "attach", lambda *_: None)
    with ExitStack() as stack, publishing(sources=("127.0.0.9",)) as (guest, host):
        friend, other = stranger(stack, "127.0.0.9"), stranger(stack)
        for _ in range(5):
            other.sendto(b"knock", host)
        guest.hears(friend, host)
    assert looked.count(HERE) == (0 if guard else 5) and "127.0.0.9" in looked


# ---- two minutes ----------------------------------------------------------------------------------------------------


@guarded
@pytest.mark.parametrize("connected", [False, True])
def test_after_two_minutes(monkeypatch: pytest.MonkeyPatch, guard: bool, connected: bool) -> None:
    """By an address that is judged, and by a socket that was connected before, by which sends are not."""
    ahead = 0.0
    monkeypatch.setattr(_visitors, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + ahead))
    if not guard:
        monkeypatch.setattr(_visitors, "_ANSWERED", 1e9)
    with ExitStack() as stack, publishing() as (guest, host):
        friend = stranger(stack)
        assert first_heard(guest, friend, host) == b"good"
        if connected:
            assert guest.does(f"s.connect({friend.getsockname()})") is None
        ahead = 119.0
        send = "s.send(b'late')" if connected else f"s.sendto(b'late', {friend.getsockname()})"
        assert guest.does(send) == 4 and friend.recv(99) == b"late"
        ahead = 121.0
        assert guest.does(send) == 4
        if connected:  # is heard again where it is not
            assert guest.does("s.close()") is None and guest.does(f"s = plain({PORT})") is None
        assert first_heard(guest, friend, host) == (b"good" if guard else b"late")


# ---- in -------------------------------------------------------------------------------------------------------------


def at_every_address(stack: ExitStack, port: int) -> socket.socket:
    """A service of the host's."""
    made = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    made.bind(("0.0.0.0", port))
    made.settimeout(30)
    return made


@guarded
@pytest.mark.parametrize("before", [False, True], ids=["never there", "gone"])
def test_a_service_in_the_guests_place_hears_nothing(monkeypatch: pytest.MonkeyPatch, guard: bool, before: bool) -> None:
    """INVARIANT own-slice: who has the guest's port at every address, where the guest has none or has left it."""
    if not guard:
        monkeypatch.setattr(Home, "hears", lambda *_: True)
        monkeypatch.setattr(Home, "hears_at", lambda home, port, _: Name(home._slice.at(1), port))
    with ExitStack() as stack, publishing() as (guest, host):
        friend = stranger(stack)
        if before:
            assert first_heard(guest, friend, host) == b"good"
        assert guest.does("s.close()") is None
        service = at_every_address(stack, PORT)
        friend.sendto(b"for the guest", host)
        if guard:
            guest.has_had_a_turn(friend)
            service.setblocking(False)
        with pytest.raises(BlockingIOError) if guard else nullcontext():
            assert service.recv(99) == b"for the guest"


@guarded
def test_nor_does_it_answer(monkeypatch: pytest.MonkeyPatch, guard: bool) -> None:
    """Though it says that it is at the guest's address, and to whom it speaks is known to it."""
    if not guard:
        monkeypatch.setattr(Visitors, "_is_guests", lambda *_: True)
    with ExitStack() as stack, publishing() as (guest, host):
        friend = stranger(stack)
        assert first_heard(guest, friend, host) == b"good"
        (visit,) = guest.net._visitors._visits.values()
        assert guest.does("s.close()") is None
        service = at_every_address(stack, PORT)
        source = socket.IPPROTO_IP, 8, struct.pack("=i4s4x", 0, visit.at.address.packed)  # IP_PKTINFO
        service.sendmsg([b"bad"], [source], 0, (str(visit.name.address), visit.name.port))
        if guard:
            guest.has_had_a_turn(friend)
            friend.setblocking(False)
        with pytest.raises(BlockingIOError) if guard else nullcontext():
            assert friend.recv(99) == b"bad"


@guarded
def test_a_connection_outlives_a_stranger(monkeypatch: pytest.MonkeyPatch, guard: bool) -> None:
    """The guest is connected to whom it has heard, who is forgotten: a service of the host's that would be there next is not
    reached."""
    if not guard:
        monkeypatch.setattr(Inners, "give", lambda _, inner: inner.close())
    with ExitStack() as stack, publishing() as (guest, host):
        friend = stranger(stack)
        assert first_heard(guest, friend, host) == b"good"
        assert guest.does(f"s.connect({friend.getsockname()})") is None
        (visit,) = guest.net._visitors._visits.values()
        monkeypatch.setattr(_visitors, "_ANSWERED", -1.0)
        guest.hears(friend, host)
        assert guest.does("s.send(b'late')") == 4
        guest.has_had_a_turn(friend)
        assert not guest.net._visitors._visits.get((next(iter(guest.net._visitors._listeners))[0], Name(IPv4Address(HERE), friend.getsockname()[1])))
        if guard:
            with pytest.raises(OSError, match="in use"):
                at_every_address(stack, visit.name.port)
        else:
            service = at_every_address(stack, visit.name.port)
            assert guest.does("s.send(b'bad')") == 3 and service.recv(9) == b"bad"


# ---- many -----------------------------------------------------------------------------------------------------------


def flooded(guest: Guest, host: tuple[str, int], friend: socket.socket) -> int:
    """By 600 strangers, each heard by the guest; how many of them it could answer still."""
    for _ in range(12):
        for _ in range(50):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.sendto(b"flood", host)
        assert guest.does("{s.recv(9) for _ in range(50)}") == {b"flood"}
    guest.has_had_a_turn(friend)
    return len(guest.net._visitors._visits)


@guarded
def test_few_are_new_in_a_turn(monkeypatch: pytest.MonkeyPatch, guard: bool) -> None:
    """Who is new costs the thread of all guests the most: others have their turn in between."""
    if not guard:
        monkeypatch.setattr(_visitors, "_NEW", 1000)
    new: list[int] = []
    turn = Visitors._on_heard

    def counted(visitors: Visitors, *args: Any) -> None:
        before = len(visitors._visits)
        turn(visitors, *args)
        new.append(len(visitors._visits) - before)

    monkeypatch.setattr(Visitors, "_on_heard", counted)
    with ExitStack() as stack, publishing() as (guest, host):
        go_on = threading.Event()
        guest.net._visitors._loop.call_at(time.monotonic(), go_on.wait)
        for _ in range(10):
            stranger(stack).sendto(b"hello", host)
        go_on.set()
        assert guest.does("{s.recv(9) for _ in range(10)}") == {b"hello"}
    assert sum(new) == 10 and max(new) == (2 if guard else 10)


def test_a_flood_is_bounded() -> None:
    """By strangers at their own ports: the last few are held, one who comes again is heard, and others go on."""
    with ExitStack() as stack, publishing() as (guest, host):
        friend = stranger(stack)
        assert first_heard(guest, friend, host) == b"good"
        before = len(os.listdir("/proc/self/fd"))
        assert flooded(guest, host, friend) <= 256
        assert len(os.listdir("/proc/self/fd")) <= before + 256
        assert_neighbour_is_served("every wall")
        assert guest.does(f"s.sendto(b'bad', {friend.getsockname()})") == 3  # who was forgotten for the others
        assert first_heard(guest, friend, host) == b"good"


def test_it_is_not_with_the_guard_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_visitors, "_MOST", 1 << 20)
    monkeypatch.setattr(_visitors, "share", lambda: 1 << 20)
    with ExitStack() as stack, publishing() as (guest, host):
        assert flooded(guest, host, stranger(stack)) > 500
