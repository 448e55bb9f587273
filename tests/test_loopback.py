"""A guest's own loopback: TCP and UDP between its processes, and nobody else's. It is that of a network namespace of its own, or,
where a rule reaches outside, a slice of the host's."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE, STDOUT
from typing import Union

import pytest

import sandbox
from sandbox import Allow, Policy, Sandbox, WallMissing
from tests.escape.attack import WALLS, ordinary, standing

Network = Union[str, list[Allow]]
NETWORKS: dict[str, Network] = {"own namespace": "loopback", "slice": "loopback", "rules": [Allow("192.0.2.1:1")]}


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> Iterator[Network]:
    with standing("no namespaces" if request.param == "slice" else None):
        yield NETWORKS[request.param]


@pytest.fixture
def own(network: Network) -> bool:
    """Does it have a namespace of its own?"""
    return "netns" in sandbox.run(["true"], network=network).walls and network == "loopback"


SERVER = """
import socket, sys
with socket.create_server((sys.argv[1], 8080), family=socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET) as server:
    print("listens", flush=True)
    while True:
        with server.accept()[0] as peer: peer.sendall(sys.argv[2].encode())
"""
CLIENT = "import socket, sys; print(socket.create_connection((sys.argv[1], 8080)).recv(100).decode())"


def python(source: str, *args: str) -> list[str]:
    return [sys.executable, "-c", source, *args]


@ordinary
@pytest.mark.parametrize("kind", ["own namespace", "rules"])
@pytest.mark.parametrize("walls", WALLS)
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_two_guests_listen_on_the_same_port(host: str, kind: str, walls: str) -> None:
    """Each is reached by its own processes only; the host has nobody there."""
    with standing(walls), Sandbox(network=NETWORKS[kind]) as one, Sandbox(network=NETWORKS[kind]) as two:
        servers = [box.popen(python(SERVER, host, name), stdout=PIPE) for box, name in ((one, "one"), (two, "two"))]
        for server in servers:
            assert server.stdout is not None and server.stdout.readline() == b"listens\n"
        assert one.run(python(CLIENT, host)).stdout == b"one\n"
        assert two.run(python(CLIENT, host)).stdout == b"two\n"
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, 8080), timeout=5)


def test_nothing_of_the_host_is_reached(network: Network, own: bool) -> None:
    """Not its loopback, not its addresses, not the world."""
    beyond = "Network is unreachable" if own else "Permission denied"
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        script = f"""
import socket
for address in (("127.0.0.1", {port}), ("0.0.0.0", {port}), ("192.0.2.1", 80), ("169.254.169.254", 80)):
    try: print(socket.create_connection(address, timeout=5))
    except OSError as error: print(error.strerror)
with socket.socket(type=socket.SOCK_DGRAM) as plain:
    try: print(plain.sendto(b"x", ("192.0.2.1", 53)))
    except OSError as error: print(error.strerror)
"""
        done = sandbox.run(python(script), network=network, text=True)
    assert done.stdout.splitlines() == ["Connection refused"] * 2 + [beyond] * 3, done


def test_every_call_with_an_address_is_recorded(tmp_path: Path, network: Network) -> None:
    trail = tmp_path / "trail"
    script = "import socket; s = socket.create_server(('127.0.0.1', 5000)); c = socket.create_connection(('127.0.0.1', 5000)); socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 5001))"
    sandbox.run(python(script), network=network, audit=trail, check=True)
    seen = {(event.call, event.verdict, path) for event in sandbox._audit.load(trail) for path in event.paths}
    for call in ("bind", "connect"):
        assert (call, "done", "127.0.0.1:5000") in seen
    assert ("sendto", "done", "127.0.0.1:5001") in seen


def test_any_port_may_be_bound(network: Network, own: bool) -> None:
    """Of a slice those that the caller may bind: the others say so."""
    done = sandbox.run(python("import socket; socket.create_server(('', 80))"), network=network, text=True)
    first = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    if own or os.geteuid() == 0 or first <= 80:
        assert done.returncode == 0, done
    else:
        assert "Permission denied" in done.stderr, done


def test_without_a_network_there_is_none() -> None:
    done = sandbox.run(python("import socket; socket.socket()"), text=True)
    assert done.returncode == 1 and "Address family not supported" in done.stderr


def test_a_network_namespace_can_be_required() -> None:
    """Without one a loopback is a slice of the host's."""
    with standing("no namespaces"):
        assert sandbox.run(["true"], policy=Policy(network="loopback")).returncode == 0
        with pytest.raises(WallMissing, match="netns"):
            sandbox.run(["true"], policy=Policy(network="loopback", require=["netns"]))


def test_a_socket_that_was_handed_in_reaches_no_address(network: Network, own: bool) -> None:
    """It belongs to the host's network: no address is used with it, or it is the guest's loopback's. (What it is connected to
    may be spoken with: that was granted.)"""
    expected = ["Invalid argument"] * 3 if own else ["Connection refused", "None", "1"]
    script = """
import socket, sys
stream, plain, port = map(int, sys.argv[1:])
stream, plain, there = socket.socket(fileno=stream), socket.socket(fileno=plain), ("127.0.0.1", port)
for attempt in (lambda: stream.connect(there), lambda: stream.bind(there), lambda: plain.sendto(b"x", there)):
    try: print(attempt())
    except OSError as error: print(error.strerror)
"""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as stream, socket.socket(type=socket.SOCK_DGRAM) as plain:  # fmt: skip
        numbers = [stream.fileno(), plain.fileno()]
        command = python(script, *map(str, [*numbers, server.getsockname()[1]]))
        done = sandbox.run(command, network=network, pass_fds=numbers, text=True)
    assert done.stdout.splitlines() == expected, done


OPTIONS = {
    "SO_BINDTODEVICE": "socket.SOL_SOCKET, 25, b'lo'",
    "SO_MARK": "socket.SOL_SOCKET, 36, 1",
    "SO_ATTACH_FILTER": "socket.SOL_SOCKET, 26, b'x' * 16",
    "IP_TRANSPARENT": "socket.IPPROTO_IP, 19, 1",
    "IP_OPTIONS": "socket.IPPROTO_IP, 4, b'\\x83\\x07\\x04\\x7f\\x00\\x00\\x01'",
    "IP_ADD_MEMBERSHIP": "socket.IPPROTO_IP, 35, socket.inet_aton('224.0.0.1') + bytes(4)",
    "TCP_REPAIR": "socket.IPPROTO_TCP, 19, 1",
    "TCP_ULP": "socket.IPPROTO_TCP, 31, b'tls'",
    "TCP_MD5SIG": "socket.IPPROTO_TCP, 14, bytes(216)",
}  # fmt: skip


@pytest.mark.parametrize("name", OPTIONS)
def test_options_that_reach_deep_are_refused(name: str, network: Network) -> None:
    script = f"import socket; socket.socket().setsockopt({OPTIONS[name]})"
    done = sandbox.run(python(script), network=network, text=True)
    assert "Protocol not available" in done.stderr, done


FAMILIES = {
    "raw": ("socket.AF_INET, socket.SOCK_RAW, 1", "Operation not permitted"),
    "MPTCP": ("socket.AF_INET, socket.SOCK_STREAM, 262", "Protocol not supported"),
    "ICMP": ("socket.AF_INET, socket.SOCK_DGRAM, 1", "Protocol not supported"),
    "packet": ("socket.AF_PACKET, socket.SOCK_RAW, 0", "Address family not supported"),
    "netlink": ("16, socket.SOCK_RAW, 4", "Address family not supported"),
    "vsock": ("40, socket.SOCK_STREAM, 0", "Address family not supported"),
    "algorithms": ("38, socket.SOCK_SEQPACKET, 0", "Address family not supported"),
    "bluetooth": ("31, socket.SOCK_RAW, 0", "Address family not supported"),
    "XDP": ("44, socket.SOCK_RAW, 0", "Address family not supported"),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_other_sockets_are_refused(name: str, network: Network) -> None:
    arguments, expected = FAMILIES[name]
    done = sandbox.run(python(f"import socket; socket.socket({arguments})"), network=network, text=True)
    assert expected in done.stderr, done


def test_a_signal_interrupts_what_waits(network: Network) -> None:
    """accept, recvfrom and connect wait in the sentry; the guest's own alarm ends each."""
    script = """
import signal, socket
class Out(Exception): pass
def ring(*_): raise Out
signal.signal(signal.SIGALRM, ring)
server = socket.create_server(("127.0.0.1", 0), backlog=0)
plain = socket.socket(type=socket.SOCK_DGRAM); plain.bind(("127.0.0.1", 0))
crowd = [socket.socket() for _ in range(3)]
def fill():
    for one in crowd: one.connect(server.getsockname())
for wait in (server.accept, lambda: plain.recvfrom(10), fill):
    if wait is fill: server = socket.create_server(("127.0.0.1", 0), backlog=0)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try: wait()
    except Out: print("out")
"""
    done = sandbox.run(python(script), network=network, text=True, timeout=60)
    assert done.stdout == "out\n" * 3, done


def test_many_wait_beside_each_other(network: Network) -> None:
    script = """
import socket, threading
server = socket.create_server(("127.0.0.1", 0), backlog=200)
def serve():
    peer, address = server.accept()
    with peer: peer.sendall(peer.recv(10))
def ask():
    with socket.create_connection(server.getsockname()) as sock:
        sock.sendall(b"x"); answers.append(sock.recv(10))
answers = []
threads = [threading.Thread(target=serve) for _ in range(100)] + [threading.Thread(target=ask) for _ in range(100)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(answers), set(answers))
"""
    done = sandbox.run(python(script), network=network, text=True, timeout=120)
    assert done.stdout == "100 {b'x'}\n", done


def test_from_many_threads_of_the_caller(network: Network) -> None:
    results: list[bytes] = []

    def work(name: str) -> None:
        with Sandbox(network=network) as box:
            server = box.popen(python(SERVER, "127.0.0.1", name), stdout=PIPE)
            assert server.stdout is not None and server.stdout.readline() == b"listens\n"
            results.append(box.run(python(CLIENT, "127.0.0.1")).stdout)

    threads = [threading.Thread(target=work, args=(f"guest {number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [b"guest %d\n" % number for number in range(4)]


NAMES = "import socket; print(socket.if_nameindex())"


@pytest.mark.parametrize("rules", ["loopback", [Allow("192.0.2.1:1")]])
def test_no_interface_is_listed_where_they_would_be_the_hosts(rules: Network) -> None:
    with standing("no namespaces"):
        done = sandbox.run(python(NAMES), network=rules, text=True)
    assert "Address family not supported" in done.stderr, done


@pytest.mark.parametrize("network", ["own namespace", "rules"], indirect=True)
def test_an_interface_is_not_changed(network: Network) -> None:
    """Nor is anybody told of changes."""
    script = """
import socket, struct
route = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
try: route.bind((0, 1))
except OSError as error: print(error.strerror)
route.bind((0, 0)); print(route.getsockname()[1])
route.send(struct.pack("IHHII", 32, 16, 5, 1, 0) + struct.pack("BxHiII", 0, 0, 1, 0, 1))
print(struct.unpack_from("i", route.recv(4096), 16))
"""
    done = sandbox.run(python(script), network=network, text=True)
    assert done.stdout.split("\n")[:3] == ["Operation not permitted", "0", "(-1,)"], done


WAITS = {
    "recvfrom": "s = socket.socket(type=socket.SOCK_DGRAM); s.bind(('127.0.0.1', 5300)); print('up', flush=True); s.recvfrom(9)",
    "accept": "s = socket.socket(); s.bind(('127.0.0.1', 5300)); s.listen(); print('up', flush=True); s.accept()",
}


@pytest.mark.parametrize("call", WAITS)
def test_the_port_of_a_server_that_was_killed(call: str, network: Network) -> None:
    """It waited in a call that is served: when its end is told, another can have its port."""
    with Sandbox(network=network) as box:
        for _ in range(30):
            server = box.popen(python("import socket; " + WAITS[call]), stdout=PIPE, stderr=STDOUT)
            assert server.stdout is not None and server.stdout.readline() == b"up\n"
            server.kill()
            server.communicate()
