"""Connections that are relayed, of a guest whose bytes are limited: targets that answer late, how each end ends, rules that change.
Each script runs natively, too, and both say the same."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

import sandbox
from sandbox import Allow, Sandbox
from tests.escape.attack import WALLS, ordinary, sentry_of, standing
from tests.test_connect import BEGIN, COUNTED, SAME, natively, tcp
from tests.test_internet import python, udp
from tests.test_live_network import Talk, echo, serving
from tests.test_publish import knocked

__all__ = ["echo", "tcp", "udp"]


def inside(script: str, *args: object) -> str:
    done = sandbox.run(python(BEGIN + script, *args), network="host", limits=COUNTED, text=True, stderr=-1)
    assert done.stderr == ""
    return str(done.stdout)


@ordinary
@pytest.mark.parametrize("walls", WALLS)
def test_with_these_walls(tcp: int, walls: str) -> None:
    with standing(walls):
        assert inside(SAME["watched before"], tcp) == natively(SAME["watched before"], tcp)


@contextmanager
def full() -> Iterator[socket.socket]:
    """A listener whose queue is full: the kernel answers nobody until it accepts or is closed."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server, socket.create_connection(server.getsockname()):
        yield server


WAIT = """
s = socket.socket(); s.setblocking(False)
e = select.epoll(); e.register(s, select.EPOLLOUT | select.EPOLLIN)
print(name(s.connect_ex(there)), name(s.connect_ex(there)), e.poll(0), attempt(s.getpeername), attempt(s.send, b"x"), flush=True)
if sys.argv[2] == "closed": s = s.close() or socket.socket()
else: print(e.poll(30)[0][1], error_of(s), attempt(s.getpeername) == there, flush=True)
input()
"""


def waiting(where: str, box: Sandbox, server: socket.socket) -> Any:
    """A program that watches a connect of which nothing is known yet."""
    command = python(BEGIN + WAIT, server.getsockname()[1], "open")
    process = (subprocess.Popen if where == "natively" else box.popen)(command, stdin=-1, stdout=-1, text=True)  # type: ignore[operator]
    assert process.stdout.readline() == "EINPROGRESS EALREADY [] ENOTCONN EAGAIN\n"
    return process


@pytest.mark.parametrize("where", ["natively", "inside"])
def test_a_target_that_answers_late(where: str) -> None:
    with full() as server, Sandbox(network="host", limits=COUNTED) as box:
        process = waiting(where, box, server)
        server.accept()[0].close()
        assert process.stdout.readline() == "4 0 True\n"
        process.communicate("\n")


@pytest.mark.parametrize("where", ["natively", "inside"])
def test_a_target_that_refuses_late(where: str) -> None:
    """Inside it may be reset for a moment, to one who waits for it on another processor."""
    with full() as server, Sandbox(network="host", limits=COUNTED) as box:
        process = waiting(where, box, server)
        server.close()
        events, error, named = process.stdout.readline().split()
        assert int(events) & (8 | 16) and named == "False"
        assert error in (("ECONNREFUSED",) if where == "natively" else ("ECONNREFUSED", "ECONNRESET"))
        process.communicate("\n")


@pytest.mark.parametrize("where", ["natively", "inside"])
def test_one_who_waits_in_connect_is_refused_late(where: str) -> None:
    with full() as server, Sandbox(network="host", limits=COUNTED) as box:
        command = python(BEGIN + "print('now', flush=True); print(attempt(socket.socket().connect, there))", server.getsockname()[1])
        popen = subprocess.Popen if where == "natively" else box.popen
        process = popen(command, stdout=-1, text=True)  # type: ignore[operator]
        assert process.stdout.readline() == "now\n"
        timer = threading.Timer(0.3, server.close)
        timer.start()
        assert process.communicate()[0] == "ECONNREFUSED\n"
        timer.join()


@ordinary
def test_a_target_that_accepts_late_and_resets() -> None:
    """Where nobody relays: as Linux says of a connection that stood for a moment. The sentry looks when it is over."""
    script = BEGIN + "s = socket.socket(); print('connects', flush=True); print(attempt(s.connect, there))"
    with full() as server, Sandbox(network=[Allow(f"tcp://127.0.0.1:{server.getsockname()[1]}")]) as box:
        process = box.popen(python(script, server.getsockname()[1]), stdout=-1, text=True)
        assert process.stdout is not None and process.stdout.readline() == "connects\n"
        sentry = sentry_of(box)
        knocked(server.getsockname()[1])
        os.kill(sentry, signal.SIGSTOP)
        try:
            server.accept()[0].close()  # what filled the queue
            peer = server.accept()[0]
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.close()
        finally:
            os.kill(sentry, signal.SIGCONT)
        assert process.stdout.read() == "ECONNRESET\n"
        assert process.wait(30) == 0


def test_one_who_gives_up_is_not_connected() -> None:
    """What it had begun ends at its guest's end at the latest, and the target hears of nobody who speaks."""
    with full() as server, Sandbox(network="host", limits=COUNTED) as box:
        process = box.popen(python(BEGIN + WAIT, server.getsockname()[1], "closed"), stdin=-1, stdout=-1, text=True)
        assert process.stdout is not None and "EINPROGRESS" in process.stdout.readline()
        server.accept()[0].close()
        peer = server.accept()[0]
        with peer:
            peer.settimeout(10)
            assert peer.recv(1) == b""
        process.communicate("\n")


def test_as_long_as_it_may_wait() -> None:
    script = "s = socket.socket(); s.settimeout(0.3); print(attempt(s.connect, ('192.0.2.77', 9)))\ns = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack('ll', 0, 300000)); print(attempt(s.connect, ('192.0.2.77', 9)))"
    assert inside(script, 1) == "timed out\nEINPROGRESS\n"


# ---- how it ends --------------------------------------------------------------------------------------------------


def test_reset_by_the_target() -> None:
    def talk(peer: socket.socket) -> None:
        peer.recv(1)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    script = "s = socket.create_connection(there); s.send(b'x'); print(attempt(s.recv, 1), attempt(s.send, b'x'))"
    with serving(talk) as port:
        assert inside(script, port) == natively(script, port) == "ECONNRESET EPIPE\n"


@pytest.mark.parametrize("script", ["s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET); s.close()", "select.select([s], [], []); s.close()"], ids=["linger", "unread"])
def test_reset_by_the_guest(script: str) -> None:
    """Said so by SO_LINGER, or closed before all was read: the target is told."""
    told: list[object] = []
    lock = threading.Semaphore(0)

    def talk(peer: socket.socket) -> None:
        peer.sendall(b"unread")
        try:
            told.append(peer.recv(1))
        except OSError as error:
            told.append(type(error))
        lock.release()

    whole = "s = socket.create_connection(there); s.recv(1)\n" + script
    with serving(talk) as port:
        for run in (natively, inside):
            run(whole, port)
            assert lock.acquire(timeout=10)
    assert told == [ConnectionResetError] * 2


def test_half_closed() -> None:
    """Either end says that it is done, and goes on hearing."""

    def talk(peer: socket.socket) -> None:
        peer.sendall(b"first")
        peer.shutdown(socket.SHUT_WR)
        whole = b""
        while data := peer.recv(99):
            whole += data
        told.append(whole)

    told: list[bytes] = []
    script = "s = socket.create_connection(there); print(s.recv(9), s.recv(9)); s.sendall(b'late'); s.shutdown(socket.SHUT_WR); print(attempt(s.send, b'x'))"
    with serving(talk) as port:
        assert inside(script, port) == natively(script, port) == "b'first' b''\nEPIPE\n"
    assert told == [b"late"] * 2


def test_much_both_ways_at_once() -> None:
    size = 20 << 20

    def talk(peer: socket.socket) -> None:
        while data := peer.recv(1 << 16):
            peer.sendall(data)
        peer.shutdown(socket.SHUT_WR)

    script = f"""
import random
data = random.Random(7).randbytes({size}); s = socket.create_connection(there); got = hashlib.sha256()
threading.Thread(target=lambda: (s.sendall(data), s.shutdown(socket.SHUT_WR))).start()
while piece := s.recv(1 << 16): got.update(piece)
print(got.digest() == hashlib.sha256(data).digest())
"""
    with serving(talk) as port:
        assert inside(script, port) == natively(script, port) == "True\n"


def test_urgent_data_is_not_lost() -> None:
    told: list[bytes] = []
    lock = threading.Semaphore(0)

    def talk(peer: socket.socket) -> None:
        told.append(b"".join(iter(lambda: peer.recv(9), b"")))
        lock.release()

    with serving(talk) as port:
        inside("s = socket.create_connection(there); s.send(b'a'); s.send(b'b', socket.MSG_OOB); s.send(b'c'); s.close()", port)
        assert lock.acquire(timeout=10)
    assert told == [b"abc"]


def test_over_ipv6() -> None:
    script = "s = socket.socket(socket.AF_INET6); s.connect(('::1', port)); print(s.getpeername(), s.getsockname()[0], s.recv(9))"
    with serving(lambda peer: peer.sendall(b"six"), socket.AF_INET6) as port:
        assert inside(script, port) == natively(script, port) == f"('::1', {port}, 0, 0) ::1 b'six'\n"


# ---- rules that change --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["pass", "os.fork() and os._exit(0)"], ids=["", "forked"])
def test_revoke_cuts(echo: int, first: str) -> None:
    target = f"127.0.0.1:{echo}"
    with Sandbox(network=[Allow(target)], limits=COUNTED) as box, Sandbox(network=[Allow(target)], limits=COUNTED) as other:
        talk, neighbour = Talk(box, echo, first), Talk(other, echo)
        assert talk.say("a") == r"b'a\n'" == neighbour.say("a")
        box.network.revoke(target)
        assert talk.say("b") == "Connection reset by peer"
        assert neighbour.say("b") == r"b'b\n'"


def test_revoke_cuts_what_is_being_made() -> None:
    """One that the guest holds, and one that it has closed: neither ends the guest."""
    with full() as server, Sandbox(network=[Allow("127.0.0.1")], limits=COUNTED) as box:
        port = server.getsockname()[1]
        for how in ("open", "closed"):
            process = box.popen(python(BEGIN + WAIT, port, how), stdin=-1, stdout=-1, text=True)
            assert process.stdout is not None and "EINPROGRESS" in process.stdout.readline()
            box.network.revoke("127.0.0.1")
            if how == "open":
                assert process.stdout.readline().split()[2] == "False"
            process.communicate("\n")
            box.network.allow("127.0.0.1")
        assert box.run(["true"]).returncode == 0


@pytest.mark.parametrize("how", ["connected", "addressed"])
def test_revoke_cuts_datagrams(udp: int, how: str) -> None:
    script = f"""
s = socket.socket(type=socket.SOCK_DGRAM); s.settimeout(10)
if "{how}" == "connected": s.connect(there)
def say():
    s.send(b"x") if "{how}" == "connected" else s.sendto(b"x", there)
    return s.recv(9)
print(say(), flush=True); input(); s.settimeout(0.5); print(attempt(say))
"""
    with Sandbox(network=[Allow(f"127.0.0.1:{udp}")], limits=COUNTED) as box:
        process = box.popen(python(BEGIN + script, udp), stdin=-1, stdout=-1, text=True)
        assert process.stdout is not None and process.stdout.readline() == "b'X'\n"
        box.network.revoke(f"127.0.0.1:{udp}")
        assert process.communicate("\n")[0] in ("EDESTADDRREQ\n", "timed out\n")
        assert box.network.usage.sent == 1


def _sockets() -> Iterator[str]:
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            text = os.readlink(f"/proc/self/fd/{name}")
            if text.startswith("socket:"):
                yield text


def test_a_forked_child_holds_nothing(tcp: int) -> None:
    """Of the caller's: the guest's connections end when it does."""
    before = set(_sockets())
    with Sandbox(network="host", limits=COUNTED) as box:
        process = box.popen(python(BEGIN + "s = socket.create_connection(there); s.recv(9); print('up', flush=True); input()", tcp), stdin=-1, stdout=-1, text=True)
        assert process.stdout is not None and process.stdout.readline() == "up\n"
        pid = os.fork()
        if pid == 0:
            os._exit(len(set(_sockets()) - before))
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) <= 1, sys.version  # the service's own
        process.communicate("\n")


CHURN = """
import ctypes, random
libc, chance = ctypes.CDLL(None), random.Random(int(sys.argv[2]))
def one():
    s = socket.socket(); s.setblocking(False)
    if chance.random() < 0.5: s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(("127.0.0.1", 0))
    parting = threading.Thread(target=lambda: libc.connect(s.fileno(), bytes(16), 16)) if chance.random() < 0.5 else None
    if parting: parting.start()
    for _ in range(chance.randrange(1, 4)):
        attempt(s.connect, (chance.choice(["127.0.0.1", "127.0.0.1", "192.0.2.77"]), chance.choice([port, 1])))
        if chance.random() < 0.3: libc.connect(s.fileno(), bytes(16), 16)
        attempt(s.send, b"x"); attempt(s.recv, 9); attempt(s.getpeername)
    if chance.random() < 0.3: attempt(s.listen)
    if chance.random() < 0.3: s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    if parting: parting.join()
    s.close()
threads = [threading.Thread(target=lambda: [one() for _ in range(60)]) for _ in range(4)]
for t in threads: t.start()
for t in threads: t.join()
print("done")
"""


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("seed", range(3))
def test_a_guest_that_changes_its_mind(tcp: int, seed: int) -> None:
    """Sockets that are parted, closed, set to listen or connected elsewhere while they are being connected: nothing is
    left, nothing fails in the Supervisor, and it serves on."""
    assert inside(CHURN, tcp, seed) == "done\n"
    before = len(os.listdir("/proc/self/fd"))
    with Sandbox(network="host", limits=COUNTED) as box:
        for _ in range(2):
            assert box.run(python(BEGIN + CHURN, tcp, seed), text=True).stdout == "done\n"
        assert box.run(python(BEGIN + SAME["a connection"], tcp), text=True).stdout == natively(SAME["a connection"], tcp)
    assert len(os.listdir("/proc/self/fd")) == before
