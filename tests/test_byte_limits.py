"""Limits on bytes: counted exactly, kept by every way in and out, and nobody else's time."""

from __future__ import annotations

import errno
import os
import resource
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import sandbox
from sandbox import Allow, Limits, Publish, Sandbox
from tests.escape.attack import WALLS, ordinary, standing
from tests.helpers import free_port
from tests.test_internet import python, udp

__all__ = ["udp"]
WIDE = 1 << 40
COUNTED = Limits(bytes_sent=WIDE)


class Sink:
    """A service of the host that reads to the end, notes how much that was, and answers with `reply` bytes."""

    def __init__(self, server: socket.socket, reply: int) -> None:
        self.server, self.reply = server, reply
        self.port: int = server.getsockname()[1]
        self.seen: list[int] = []
        self.errors: list[int | None] = []
        self.noted = threading.Condition()

    def serve(self) -> None:
        while True:
            try:
                peer = self.server.accept()[0]
            except OSError:
                return
            threading.Thread(target=self.read, args=(peer,), daemon=True).start()

    def read(self, peer: socket.socket) -> None:
        got, error = 0, None
        with peer:
            try:
                while data := peer.recv(1 << 16):
                    got += len(data)
                peer.sendall(bytes(self.reply))
            except OSError as failed:
                error = failed.errno
        with self.noted:
            self.seen.append(got)
            self.errors.append(error)
            self.noted.notify_all()

    def wait(self, count: int) -> None:
        with self.noted:
            assert self.noted.wait_for(lambda: len(self.seen) >= count, 30)

    @property
    def rule(self) -> Allow:
        return Allow(f"tcp://127.0.0.1:{self.port}")


@contextmanager
def sink(reply: int = 0) -> Iterator[Sink]:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        made = Sink(server, reply)
        thread = threading.Thread(target=made.serve)
        thread.start()
        try:
            yield made
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


SEND = """
import os, socket, sys
port, size, times = map(int, sys.argv[1:])
def once():
    got = 0
    try:
        with socket.create_connection(("127.0.0.1", port)) as s:
            s.sendall(bytes(size)); s.shutdown(socket.SHUT_WR)
            while data := s.recv(1 << 16): got += len(data)
        return f"got {got}"
    except OSError as e: return e.strerror
for _ in range(times): print(once(), flush=True)
"""


@ordinary
@pytest.mark.parametrize("walls", WALLS)
def test_counts_are_what_the_other_end_saw(walls: str) -> None:
    with standing(walls), sink(reply=4321) as there:
        done = sandbox.run(python(SEND, there.port, 1234567, 3), network=[there.rule], limits=COUNTED, text=True)
        there.wait(3)
    assert done.stdout == "got 4321\n" * 3
    used = done.usage.network
    assert used is not None and (used.sent, used.received) == (sum(there.seen), 3 * 4321) == (3 * 1234567, 3 * 4321)
    assert used.carried == {str(there.rule): (used.sent, used.received)}
    assert done.exceeded is None


LEAVE = """
import socket, sys
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
s.sendall(bytes(int(sys.argv[2])))
"""


def test_what_a_guest_has_sent_when_it_ends_arrives() -> None:
    """As it does from a process that exits at once after its last send."""
    with sink() as there:
        for _ in range(5):
            done = sandbox.run(python(LEAVE, there.port, 2000000), network=[there.rule], limits=COUNTED)
            assert done.usage.network is not None and done.usage.network.sent == 2000000
        there.wait(5)
        assert there.seen == [2000000] * 5 and there.errors == [None] * 5


@pytest.mark.parametrize("limit", ["bytes_sent", "bytes_received"])
def test_in_total(limit: str) -> None:
    """The connection that goes on is reset, and no other is made."""
    with sink(reply=1 << 20) as there:
        limits = Limits(**{limit: 300000})  # type: ignore[arg-type]
        done = sandbox.run(python(SEND, there.port, 200000, 4), network=[there.rule], limits=limits, text=True)
        used = done.usage.network
        assert used is not None and used.rules[f"limit: {limit}"] >= 1 and done.exceeded is None
        moved = used.sent if limit == "bytes_sent" else used.received
        assert moved == 300000
        lines = done.stdout.split()
        assert done.stdout.splitlines()[0] == ("got 1048576" if limit == "bytes_sent" else "Connection reset by peer")
        assert done.stdout.splitlines()[-1] == "Permission denied", lines
        there.wait(2 if limit == "bytes_sent" else 1)
        assert sum(there.seen) <= used.sent  # type: ignore[operator]


MANY = """
import os, socket, sys
port = int(sys.argv[1])
for n in range(8):
    if os.fork() == 0:
        try:
            with socket.create_connection(("127.0.0.1", port)) as s:
                while True: s.sendall(bytes(10000))
        except OSError as e: os._exit(7)
ends = [os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(8)]
print(ends)
"""


def test_children_and_connections_share_the_limit() -> None:
    with sink() as there:
        done = sandbox.run(python(MANY, there.port), network=[there.rule], limits=Limits(bytes_sent=500000), text=True)
        assert done.stdout == f"{[7] * 8}\n"
        assert done.usage.network is not None and done.usage.network.sent == 500000
        assert sum(there.seen) <= 500000


@pytest.mark.parametrize("way", ["sent", "received"])
def test_by_the_second(way: str) -> None:
    """One second's worth at once, then as it comes; nothing is lost, whoever shares it."""
    with sink(reply=300000) as there:
        limits = Limits(**{f"bytes_{way}_per_second": 200000})  # type: ignore[arg-type]
        begun = time.monotonic()
        done = sandbox.run(python(SEND, there.port, 300000, 2), network=[there.rule], limits=limits, text=True)
        took = time.monotonic() - begun
    assert done.stdout == "got 300000\n" * 2
    used = done.usage.network
    assert used is not None and (used.sent, used.received) == (600000, 600000)
    assert took >= 1.9  # 600000 of which 200000 go at once


HEAR = """
import socket, sys
s = socket.create_server(("0.0.0.0", int(sys.argv[2]))); print("up", flush=True)
for n in range(int(sys.argv[1])):
    peer, name = s.accept(); got = 0
    print(*name, *peer.getpeername(), peer.getsockname()[1], flush=True)
    try:
        while data := peer.recv(1 << 16): got += len(data)
        peer.sendall(bytes(got))
    except OSError as e: got = e.strerror
    peer.close()
    print(got, flush=True)
"""


def ask(port: int, size: int) -> int | str | None:
    with socket.create_connection(("127.0.0.1", port)) as sock:
        got = 0
        try:
            sock.sendall(bytes(size))
            sock.shutdown(socket.SHUT_WR)
            while data := sock.recv(1 << 16):
                got += len(data)
        except OSError as error:
            # Reset, which a shutdown that comes behind it calls ENOTCONN.
            return os.strerror(errno.ECONNRESET) if error.errno == errno.ENOTCONN else error.strerror
        return got


@ordinary
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "0.0.0.0 at the guest's own"])
@pytest.mark.parametrize("walls", WALLS)
def test_published(walls: str, host: str) -> None:
    """The guest sees who it is, and both ways count."""
    port = free_port()
    inner = port if "own" in host else 8080
    rule = Publish(inner, f"{host.partition(' ')[0]}:{port}")
    with standing(walls), Sandbox(network=[rule], limits=COUNTED) as box:
        process = box.popen(python(HEAR, 3, inner), stdout=-1, text=True)
        out = process.stdout
        assert out is not None and out.readline() == "up\n"
        with socket.create_connection(("127.0.0.1", port)) as sock:
            mine = " ".join(map(str, sock.getsockname()))
            assert out.readline() == f"{mine} {mine} {inner}\n"
            sock.sendall(bytes(5000))
            sock.shutdown(socket.SHUT_WR)
            assert len(sock.makefile("rb").read()) == 5000
        assert out.readline() == "5000\n"
        inside = box.run(python(f"import socket; s = socket.create_connection(('127.0.0.1', {inner})); print(s.getpeername()); s.sendall(b'abc'); s.shutdown(1); print(len(s.makefile('rb').read()))"), text=True)
        assert inside.stdout == f"('127.0.0.1', {inner})\n3\n"
        assert ask(port, 70000) == 70000
        assert process.wait(10) == 0
        used = box.network.usage
        assert (used.sent, used.received, used.accepted) == (75000, 75000, 2)
        assert used.carried == {str(rule): (75000, 75000)}


def test_a_published_listener_comes_and_goes() -> None:
    """Nobody is let in where the guest does not listen, whoever of the host's has the port; it may come again."""
    port = free_port()
    with Sandbox(network=[Publish(8080, port)], limits=COUNTED) as box:
        for _ in range(2):
            with pytest.raises(ConnectionRefusedError):
                ask(port, 1)
            process = box.popen(python(HEAR, 1, 8080), stdout=-1, text=True)
            assert process.stdout is not None and process.stdout.readline() == "up\n"
            assert ask(port, 9) == 9
            assert process.wait(10) == 0
            with pytest.raises(ConnectionRefusedError):  # whoever finds nobody first is reset, and closes it
                while True:
                    assert ask(port, 1) == "Connection reset by peer"


def test_published_at_ipv6() -> None:
    """A listener of IPv4 only is reached, and has no name for who came."""
    port = free_port("::1")
    with Sandbox(network=[Publish(8080, f"[::1]:{port}")], limits=COUNTED) as box:
        process = box.popen(python(HEAR, 1, 8080), stdout=-1, text=True)
        assert process.stdout is not None and process.stdout.readline() == "up\n"
        with socket.create_connection(("::1", port)) as sock:
            sock.sendall(b"abc")
            sock.shutdown(socket.SHUT_WR)
            assert sock.recv(9) == bytes(3)
        assert process.stdout.readline().startswith("127.0.0.254 ")
        assert process.wait(10) == 0


def test_sources_are_judged() -> None:
    port = free_port()
    with Sandbox(network=[Publish(8080, port, ["127.0.0.9"])], limits=COUNTED) as box:
        process = box.popen(python(HEAR, 1, 8080), stdout=-1, text=True)
        assert process.stdout is not None and process.stdout.readline() == "up\n"
        assert ask(port, 1) == "Connection reset by peer"
        with socket.create_connection(("127.0.0.1", port), source_address=("127.0.0.9", 0)) as sock:
            sock.shutdown(socket.SHUT_WR)
            assert sock.recv(1) == b""
        assert process.wait(10) == 0


def test_published_in_total() -> None:
    port = free_port()
    with Sandbox(network=[Publish(8080, port)], limits=Limits(bytes_received=1000)) as box:
        process = box.popen(python(HEAR, 5, 8080), stdout=-1, text=True)
        assert process.stdout is not None and process.stdout.readline() == "up\n"
        assert ask(port, 1000) == 1000
        assert ask(port, 1) == "Connection reset by peer"
        used = box.network.usage
        assert (used.received, used.accepted, used.refused) == (1000, 1, 1)
        process.kill()


DATAGRAMS = """
import socket, sys
port, size, times = map(int, sys.argv[1:4])
s = socket.socket(getattr(socket, sys.argv[4]), socket.SOCK_DGRAM); s.settimeout(float(sys.argv[6]))
there = ("127.0.0.1" if s.family == socket.AF_INET else "::ffff:127.0.0.1", port)
if sys.argv[5] == "connected": s.connect(there)
for _ in range(times):
    try:
        if sys.argv[5] == "connected":
            s.send(b"a" * size); data, name = s.recv(9999), s.getpeername()
        else:
            s.sendto(b"a" * size, there); data, name = s.recvfrom(9999)
        print(len(data), name[:2] == there)
    except OSError as e: print(e.strerror or e)
"""


@ordinary
@pytest.mark.parametrize("how", ["connected", "addressed"])
@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6"])
@pytest.mark.parametrize("walls", ["every wall", "no wall"])
def test_datagrams(udp: int, walls: str, family: str, how: str) -> None:
    rule = Allow(f"udp://127.0.0.1:{udp}")
    with standing(walls):
        done = sandbox.run(python(DATAGRAMS, udp, 50, 3, family, how, 10), network=[rule], limits=COUNTED, text=True)
    assert done.stdout == "50 True\n" * 3
    used = done.usage.network
    assert used is not None and (used.sent, used.received) == (150, 150)
    assert used.carried == {str(rule): (150, 150)}


@pytest.mark.parametrize("how", ["connected", "addressed"])
@pytest.mark.parametrize("way", ["sent", "received"])
def test_datagrams_in_total(udp: int, way: str, how: str) -> None:
    """What is more than the limit is not passed on."""
    limits = Limits(**{f"bytes_{way}": 120})  # type: ignore[arg-type]
    rule = Allow(f"udp://127.0.0.1:{udp}")
    done = sandbox.run(python(DATAGRAMS, udp, 50, 4, "AF_INET", how, 0.3), network=[rule], limits=limits, text=True)
    assert done.stdout == "50 True\n" * 2 + "timed out\n" * 2
    used = done.usage.network
    assert used is not None and (used.sent if way == "sent" else used.received) == 100
    assert used.rules[f"limit: bytes_{way}"] == 2


def test_datagrams_by_the_second(udp: int) -> None:
    limits, rule = Limits(bytes_sent_per_second=100), Allow(f"udp://127.0.0.1:{udp}")
    begun = time.monotonic()
    done = sandbox.run(python(DATAGRAMS, udp, 50, 5, "AF_INET", "addressed", 10), network=[rule], limits=limits, text=True)
    assert done.stdout == "50 True\n" * 5
    assert time.monotonic() - begun >= 0.9


def test_a_slow_reader_stops_nobody() -> None:
    """A guest whose peer reads nothing fills what it may; another's bytes flow."""
    with socket.create_server(("127.0.0.1", 0)) as deaf, sink() as there:
        rule = Allow(f"127.0.0.1:{deaf.getsockname()[1]}")
        with Sandbox(network=[rule], limits=COUNTED) as slow, Sandbox(network=[there.rule], limits=COUNTED) as other:
            process = slow.popen(python(LEAVE, deaf.getsockname()[1], 1 << 28), stdout=-1)
            peer = deaf.accept()[0]
            with peer:
                assert other.run(python(SEND, there.port, 3000000, 2), text=True).stdout == "got 0\n" * 2
                assert process.poll() is None
                process.kill()
                process.wait(10)


def test_nothing_is_left(udp: int) -> None:
    """No descriptor, whatever stood when the guest ended."""
    with sink() as there, socket.create_server(("127.0.0.1", 0)) as deaf:
        at = deaf.getsockname()[1]
        rules = [there.rule, Allow(f"udp://127.0.0.1:{udp}"), Allow(f"127.0.0.1:{at}"), Allow("192.0.2.77:9")]
        hang = f"import socket\nkept = [socket.create_connection(('127.0.0.1', {at})) for _ in range(3)]\ns = socket.socket(); s.setblocking(False); s.connect_ex(('192.0.2.77', 9))\nu = socket.socket(type=socket.SOCK_DGRAM); u.sendto(b'x', ('127.0.0.1', {udp}))"
        sandbox.run(python(hang), network=rules, limits=COUNTED)
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            assert sandbox.run(python(hang), network=rules, limits=COUNTED, text=True, stderr=-1).stderr == ""
        assert len(os.listdir("/proc/self/fd")) == before


CROWD = """
import socket, sys
made = []
try:
    while len(made) < 300: made.append(socket.create_connection(("127.0.0.1", int(sys.argv[1]))))
except OSError as e: print(e.strerror, len(made), flush=True)
input()
"""


def test_connections_leave_descriptors_to_others() -> None:
    """A guest that makes as many as it can is stopped at an eighth, and another's are made."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        _crowd()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _crowd() -> None:
    with sink() as there, Sandbox(network=[there.rule], limits=COUNTED) as box:
        process = box.popen(python(CROWD, there.port), stdin=-1, stdout=-1, text=True)
        assert process.stdout is not None and process.stdout.readline() == "No buffer space available 64\n"
        assert sandbox.run(python(SEND, there.port, 9, 1), network=[there.rule], limits=COUNTED, text=True).stdout == "got 0\n"
        process.communicate("\n")


def test_a_limit_of_the_policy_is_read() -> None:
    names = ("bytes_sent", "bytes_received", "bytes_sent_per_second", "bytes_received_per_second")
    policy = sandbox.Policy.loads("[limits]\n" + "".join(f"{name} = {number}\n" for number, name in enumerate(names, 1)))
    assert [getattr(policy.limits, name) for name in names] == [1, 2, 3, 4]
    assert sandbox.run([sys.executable, "-c", "pass"], limits=COUNTED).usage.network is None


HOLD = """
import array, os, socket
def tell(made):
    try: made.append(socket.socket()); print("made")
    except OSError as e: print(e.strerror)
kept = []
for _ in range(4): tell(kept)
kept[0] = kept[0].dup(); tell(kept)
r, w = os.pipe()
if os.fork() == 0: os.close(w); os.read(r, 1); os._exit(0)
kept.clear(); tell(kept)  # the child has them
os.close(w); os.wait(); tell(kept)
"""
FLY = """
a, b = socket.socketpair()
a.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [s.fileno() for s in kept]))])
kept.clear(); tell(kept)  # in flight
b.close(); a.close(); tell(kept)
"""


def test_sockets_held_at_once() -> None:
    """Whoever holds them: copies, a child, a message on its way. What is closed makes room."""
    limits, full = Limits(sockets=3), "Too many open files\n"
    with Sandbox(network="host", limits=limits) as box:
        assert box.run(python(HOLD), text=True).stdout == "made\n" * 3 + full * 3 + "made\n"
        fly = HOLD.partition("kept[0] =")[0] + FLY
        assert box.run(python(fly), text=True).stdout == "made\n" * 3 + full * 2 + "made\n"
        loop = "import socket\nfor _ in range(500): socket.socket().close(); socket.socket(type=socket.SOCK_DGRAM).close()"
        box.run(python(loop), check=True)


# ---- without a limit ----------------------------------------------------------------------------------------------

TWO = """
import socket, sys
s = socket.create_connection(("127.0.0.1", int(sys.argv[1]))); s.sendall(bytes(7000)); s.shutdown(socket.SHUT_WR)
while s.recv(1 << 16): pass
s = socket.create_connection(("127.0.0.1", int(sys.argv[1]))); s.sendall(bytes(500)); print("up", flush=True); input()
"""


@ordinary
@pytest.mark.parametrize("walls", WALLS)
def test_counts_without_a_limit(walls: str) -> None:
    """Of what has ended and of what stands; a peer that ends the stream counts as one byte more."""
    with standing(walls), sink(reply=600) as there, Sandbox(network=[there.rule]) as box:
        process = box.popen(python(TWO, there.port), stdin=-1, stdout=-1, text=True)
        assert process.stdout is not None and process.stdout.readline() == "up\n"
        used = box.network.usage
        assert (used.sent, used.received) == (7500, 601) and used.carried == {str(there.rule): (7500, 601)}
        process.communicate("\n")
    done = sandbox.run(python(SEND, there.port, 9, 0), network=[there.rule])
    assert done.usage.network is not None and (done.usage.network.sent, done.usage.network.received) == (0, 0)


def test_counts_of_published_ports_without_a_limit() -> None:
    port = free_port()
    with Sandbox(network=[Publish(8080, port)]) as box:
        process = box.popen(python(HEAR, 1, 8080), stdout=-1, text=True)
        assert process.stdout is not None and process.stdout.readline() == "up\n"
        assert ask(port, 800) == 800
        process.wait(10)
        used = box.network.usage
        assert (used.sent, used.received) == (800, 801)


HIDES = {
    "reset": "import struct; s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0)); s.close()",
    "parted": "import ctypes; ctypes.CDLL(None).connect(s.fileno(), bytes(16), 16); s.close()",
    "parted, and another in its place": "import ctypes; ctypes.CDLL(None).connect(s.fileno(), bytes(16), 16); s.connect(there); s.close()",
    "datagrams": "s.close(); socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', there)",
}


@pytest.mark.parametrize("how", HIDES)
def test_a_count_is_right_or_none(how: str) -> None:
    """What the kernel forgets, and a guest can make it, is not counted as nothing."""
    script = f"import socket, sys\nthere = ('127.0.0.1', int(sys.argv[1])); s = socket.create_connection(there); s.sendall(bytes(999))\n{HIDES[how]}"
    with sink() as there:
        done = sandbox.run(python(script, there.port), network=[Allow(f"127.0.0.1:{there.port}")])
    used = done.usage.network
    assert done.returncode == 0 and used is not None and used.connections >= 1
    assert (used.sent, used.received, used.carried) == (None, None, {})
