"""Rules at work: what a guest reaches outside, and what reaches it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import IPv4Address
from pathlib import Path

import pytest

import sandbox
from sandbox import Allow, Deny, Limits, Sandbox
from tests.escape.attack import WALLS, ordinary, standing

TCP = "import socket, sys\ntry:\n with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=10) as s: print(s.recv(99).decode(), s.getpeername()[0])\nexcept OSError as e: print(e.strerror or e)"
UDP = "import socket, sys\ns = socket.socket(type=socket.SOCK_DGRAM); s.settimeout(float(sys.argv[3]))\ntry: s.sendto(b'ask', (sys.argv[1], int(sys.argv[2]))); print(*s.recvfrom(99))\nexcept OSError as e: print(e.strerror or e)"


def python(source: str, *args: object) -> list[str]:
    return [sys.executable, "-c", source, *map(str, args)]


def run(source: str, *args: object, **options: object) -> str:
    return str(sandbox.run(python(source, *args), text=True, **options).stdout).strip()  # type: ignore[arg-type]


@pytest.fixture
def tcp() -> Iterator[int]:
    """A service of the host on its loopback, which says hello to everybody."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    with server.accept()[0] as peer:
                        peer.sendall(b"hello")
                except OSError:
                    return

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.fixture
def udp() -> Iterator[int]:
    with socket.socket(type=socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]

        def serve() -> None:
            while (got := server.recvfrom(99))[0] != b"end":
                server.sendto(got[0].upper(), got[1])

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield port
        finally:
            with socket.socket(type=socket.SOCK_DGRAM) as last:
                last.sendto(b"end", ("127.0.0.1", port))
            thread.join()


@ordinary
@pytest.mark.parametrize("walls", WALLS)
def test_what_a_rule_allows_is_reached(tcp: int, udp: int, walls: str) -> None:
    """With namespaces or without: data comes straight from the service."""
    rules = [Allow(f"tcp://127.0.0.1:{tcp}"), Allow(f"udp://127.0.0.1:{udp}")]
    with standing(walls):
        assert run(TCP, "127.0.0.1", tcp, network=rules) == "hello 127.0.0.1"
        assert run(UDP, "127.0.0.1", udp, 10, network=rules) == f"b'ASK' ('127.0.0.1', {udp})"


@pytest.mark.parametrize(
    "rules", [[Allow("192.0.2.1")], [Allow("127.0.0.1:1")], ["host", Deny("127.0.0.0/8")]], ids=repr
)
def test_what_no_rule_allows_is_not(tcp: int, udp: int, rules: list[object]) -> None:
    """At its own loopback a guest finds nobody; elsewhere it is told that it may not."""
    assert run(TCP, "127.0.0.1", tcp, network=rules) == "Connection refused"
    assert run(UDP, "127.0.0.1", udp, 0.3, network=rules) == "timed out"


def test_a_refusal_is_recorded(tmp_path: Path) -> None:
    trail = tmp_path / "trail"
    assert (
        run(TCP, "198.51.100.7", 443, network=[Allow("192.0.2.1"), Deny("198.51.100.0/24")], audit=trail)
        == "Permission denied"
    )
    (event,) = [event for event in sandbox._audit.load(trail) if "198.51.100.7:443" in event.paths]
    assert (event.call, event.verdict) == ("connect", "denied")
    assert event.service is not None and event.trusted
    assert (event.served, event.rule) == ("net/connect 198.51.100.7:443", "deny 198.51.100.0/24")


def test_host_is_every_address_but_some(tcp: int) -> None:
    assert run(TCP, "127.0.0.1", tcp, network="host") == "hello 127.0.0.1"
    assert run(TCP, "169.254.169.254", 80, network="host") == "Permission denied"


def test_a_server_of_the_guest_comes_before_the_hosts(tcp: int) -> None:
    """Its own loopback is its own, even where the host's is allowed."""
    serve = "import socket\ns = socket.create_server(('127.0.0.1', 0))\nprint(s.getsockname()[1], flush=True)\nwhile True: s.accept()[0].sendall(b'mine')"
    with Sandbox(network="host") as box:
        server = box.popen(python(serve), stdout=subprocess.PIPE)
        assert server.stdout is not None
        port = int(server.stdout.readline())
        assert box.run(python(TCP, "127.0.0.1", port), text=True).stdout == "mine 127.0.0.1\n"
        assert box.run(python(TCP, "127.0.0.1", tcp), text=True).stdout == "hello 127.0.0.1\n"


def test_datagrams_come_from_whom_they_were_sent_to(udp: int) -> None:
    """A socket that has asked one service hears no other of the host's."""
    listen = f"import socket\ns = socket.socket(type=socket.SOCK_DGRAM)\ns.sendto(b'ask', ('127.0.0.1', {udp})); print(s.recv(9))\nprint(s.getsockname()[1], flush=True)\ns.settimeout(0.5)\ntry: print(s.recv(9))\nexcept TimeoutError as e: print(e)"
    with Sandbox(network=[Allow(f"udp://192.0.2.1:{udp}"), Allow(f"127.0.0.1:{udp}")]) as box:
        process = box.popen(python(listen), stdout=subprocess.PIPE)
        assert process.stdout is not None and process.stdout.readline() == b"b'ASK'\n"
        port, base = int(process.stdout.readline()), box._guest.parts.net.slice.base  # type: ignore[union-attr]
        with socket.socket(type=socket.SOCK_DGRAM) as stranger:
            stranger.bind(("127.77.0.1", 0))
            for address in ("127.0.0.1", str(IPv4Address(base + 1))):
                stranger.sendto(b"hi", (address, port))
        assert process.stdout.readline() == b"timed out\n"


def _address() -> str:
    """Of the machine, beside its loopback."""
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("the machine has no route but to itself")
        return str(sock.getsockname()[0])


@pytest.mark.parametrize("limits", [sandbox.Limits(), sandbox.Limits(bytes_sent=1 << 20)], ids=["direct", "relayed"])
@pytest.mark.parametrize("kind", ["SOCK_STREAM", "SOCK_DGRAM"])
def test_its_own_end_is_its_own_address(kind: str, limits: sandbox.Limits) -> None:
    """Of what goes outside: the address of its interface. The host's is told to who is asked, not to the guest."""
    ask = f"import socket, sys\ns = socket.socket(type=socket.{kind}); s.connect((sys.argv[1], int(sys.argv[2]))); print(s.getsockname()[0], s.getpeername()[0]); s.send(b'x')"
    address = _address()
    with socket.socket(type=getattr(socket, kind)) as server:
        server.settimeout(30)
        server.bind((address, 0))
        if kind == "SOCK_STREAM":
            server.listen()
        port = server.getsockname()[1]
        assert run(ask, address, port, network=[Allow(f"{address}:{port}")], limits=limits).split() == ["10.0.2.15", address]
        peer = server.accept()[1] if kind == "SOCK_STREAM" else server.recvfrom(9)[1]
        assert peer[0] == address


def test_a_server_at_its_own_address_comes_before_the_hosts() -> None:
    """And a rule says of whom else is there."""
    serve = "import socket\ns = socket.create_server(('10.0.2.15', 0))\nprint(s.getsockname()[1], flush=True)\nwhile True: s.accept()[0].sendall(b'mine')"
    for rules in ([Allow("192.0.2.1")], [Allow("10.0.2.15"), Deny("10.0.2.15:9")]):
        with Sandbox(network=rules) as box:
            server = box.popen(python(serve), stdout=subprocess.PIPE)
            assert server.stdout is not None
            port = int(server.stdout.readline())
            assert box.run(python(TCP, "10.0.2.15", port), text=True).stdout == "mine 10.0.2.15\n"
            assert box.run(python(TCP, "10.0.2.15", 9), text=True).stdout == "Connection refused\n"


def test_a_slow_connect_stops_nobody(tcp: int) -> None:
    """A thousand that wait for an answer which never comes, in one guest: another's calls are served."""
    wait = """
import resource, socket
resource.setrlimit(resource.RLIMIT_NOFILE, (2000, 2000))
crowd = []
for number in range(1000):
    sock = socket.socket(); sock.setblocking(False); sock.connect_ex(("192.0.2.77", 9)); crowd.append(sock)
print("waiting", flush=True)
input()
"""
    with Sandbox(network=[Allow("192.0.2.77:9")]) as slow, Sandbox(network=[Allow(f"127.0.0.1:{tcp}")]) as other:
        process = slow.popen(python(wait), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdout is not None and process.stdout.readline() == b"waiting\n"
        assert other.run(python(TCP, "127.0.0.1", tcp), text=True).stdout == "hello 127.0.0.1\n"
        process.communicate(b"\n")


SERVER = """
import json, socket, sys
server = socket.create_server(("127.0.0.1", 0), backlog=int(sys.argv[1]))
print(server.getsockname()[1], flush=True)
crowd = [server.accept() for _ in range(int(sys.argv[1]))]
print(json.dumps([name for _, name in crowd]), flush=True)
for peer, _ in crowd: peer.sendall(peer.recv(9))
sys.stdin.read()
"""
CROWD = """
import json, socket, sys
crowd = [socket.create_connection(("127.0.0.1", int(sys.argv[1]))) for _ in range(int(sys.argv[2]))]
print(json.dumps([each.getsockname() for each in crowd]), flush=True)
sys.stdin.readline()
for each in crowd: each.sendall(b"x")
print(b"".join(each.recv(9) for each in crowd).decode(), flush=True)
sys.stdin.read()
"""


@ordinary
@pytest.mark.parametrize("relayed", [False, True])
def test_a_crowd_has_no_threads(relayed: bool) -> None:
    """Nor, without a limit on bytes, a descriptor of the caller's. A guest knows by which name a server knows it."""
    many, limits = 150, Limits(bytes_sent=1 << 30) if relayed else None
    with Sandbox(network="host", limits=limits) as box, subprocess.Popen(python(SERVER, many), stdin=-1, stdout=-1, text=True) as server:
        assert server.stdout is not None and server.stdin is not None
        box.run(python(TCP, "127.0.0.1", 1))  # what is made for the first connection is there
        port = int(server.stdout.readline())
        process = box.popen(python(CROWD, port, many), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None and process.stdin is not None
        before, held = _threads(), _held()
        own, seen = json.loads(process.stdout.readline()), json.loads(server.stdout.readline())
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "x" * many + "\n"
        assert _threads() == before
        assert sorted(own) == sorted(seen)
        assert len(_held() - held) == 2 * many * relayed
        process.communicate("")
        server.communicate()


def _threads() -> tuple[int, int]:
    """As Python counts them, and as the kernel does."""
    return threading.active_count(), len(os.listdir("/proc/self/task"))


def _held() -> set[str]:
    """What this process holds."""
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # that of the listing itself
            found.add(os.readlink(f"/proc/self/fd/{fd}"))
    return found


def test_a_blocking_connect_is_interrupted() -> None:
    script = """
import signal, socket
class Out(Exception): pass
def ring(*_): raise Out
signal.signal(signal.SIGALRM, ring); signal.setitimer(signal.ITIMER_REAL, 0.3)
try: socket.create_connection(("192.0.2.77", 9))
except Out: print("out")
sock = socket.socket(); sock.settimeout(0.3)
try: sock.connect(("192.0.2.77", 9))
except TimeoutError as error: print(error)
"""
    assert run(script, network=[Allow("192.0.2.77:9")]).split("\n") == ["out", "timed out"]


def test_nothing_is_left_in_the_supervisor() -> None:
    sandbox.run(["true"], network="host")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        sandbox.run(
            python("import socket; socket.create_server(('', 0)); socket.socket(type=socket.SOCK_DGRAM)"),
            network="host",
        )
    assert len(os.listdir("/proc/self/fd")) == before


def test_options_of_local_sockets_are_set() -> None:
    """Those that are the Supervisor's to set on a socket of the network are the same on one of AF_UNIX."""
    script = """
import socket, struct
for family in (socket.AF_UNIX, socket.AF_INET):
    sock = socket.socket(family)
    for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT) if family == socket.AF_INET else (socket.SO_REUSEADDR,):
        sock.setsockopt(socket.SOL_SOCKET, option, 1); print(sock.getsockopt(socket.SOL_SOCKET, option))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 2, 0))
    print(struct.unpack("ll", sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, 16)))
"""
    assert run(script, network=[Allow("192.0.2.1:1")]).split("\n") == ["1", "(2, 0)", "1", "1", "(2, 0)"]


MANY = """
import ctypes, errno, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
class Part(ctypes.Structure): _fields_ = [("base", ctypes.c_char_p), ("length", ctypes.c_size_t)]
class Message(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("size", ctypes.c_uint), ("parts", ctypes.POINTER(Part)), ("count", ctypes.c_size_t),
                ("control", ctypes.c_void_p), ("room", ctypes.c_size_t), ("flags", ctypes.c_int), ("sent", ctypes.c_uint)]
def address(host, port): return b"\\x02\\x00" + port.to_bytes(2, "big") + socket.inet_aton(host) + bytes(8)
names = [address("127.0.0.1", int(sys.argv[1])), address("8.8.8.8", 53), address("127.0.0.1", int(sys.argv[1]))]
part = Part(b"ask", 3)
s = socket.socket(type=socket.SOCK_DGRAM)
def send(first, count):
    messages = (Message * count)(*(Message(name, 16, ctypes.pointer(part), 1) for name in names[first:first + count]))
    done = libc.sendmmsg(s.fileno(), messages, count, 0)
    return done if done >= 0 else errno.errorcode[ctypes.get_errno()]
print(send(0, 3), send(1, 2), send(2, 1))
"""


def test_each_address_of_many_messages_has_its_record(udp: int) -> None:
    """As many go as one record tells of: a refused address is not hidden behind one that was allowed."""
    seen: list[sandbox.Event] = []
    done = sandbox.run(python(MANY, udp), network=[Allow(f"udp://127.0.0.1:{udp}")], audit=seen.append, text=True)
    assert done.stdout == "1 EACCES 1\n", done.stderr
    sent = [(event.paths, event.verdict) for event in seen if event.call == "sendmmsg"]
    assert sent == [((f"127.0.0.1:{udp}",), "done"), (("8.8.8.8:53",), "denied"), ((f"127.0.0.1:{udp}",), "done")]
