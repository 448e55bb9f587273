"""Ports of a guest on the host: who reaches them, what the guest sees of it, and that nobody else's are touched."""

from __future__ import annotations

import errno
import json
import os
import select
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path

import pytest

import sandbox
from sandbox import PolicyError, Publish, Sandbox, SandboxError
from sandbox._audit.join import load
from sandbox.services._ingress import attach
from tests.escape.attack import WALLS, ordinary, standing
from tests.helpers import free_port

SERVER = """
import json, socket, sys
family, address, port = getattr(socket, sys.argv[1]), sys.argv[2], int(sys.argv[3])
server = socket.socket(family)
server.bind((address, port))
server.listen()
print(json.dumps(server.getsockname()), flush=True)
while True:
    peer, name = server.accept()
    with peer:
        peer.sendall(json.dumps([name, peer.getsockname()]).encode())
"""
CLIENT = """
import json, socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as s:
    print(json.dumps([s.getpeername(), s.getsockname(), json.loads(s.recv(999))]))
"""


def knocked(port: int) -> None:
    """Return when a connection of IPv4 is being made to this port: /proc/net/tcp, state SYN_SENT."""
    for _ in range(3000):
        with open("/proc/net/tcp") as listing:
            rows = [line.split() for line in listing.readlines()[1:]]
        if any(row[2].endswith(f":{port:04X}") and row[3] == "02" for row in rows):
            return
        select.select([], [], [], 0.01)
    raise AssertionError("nobody knocks")


@contextmanager
def serving(box: Sandbox, family: str = "AF_INET", address: str = "0.0.0.0", port: int = 8080) -> Iterator[list[object]]:
    """A server in the guest, and the name that it believes to have."""
    process = box.popen([sys.executable, "-c", SERVER, family, address, str(port)], stdout=-1, text=True)
    try:
        assert process.stdout
        yield json.loads(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


def ask(address: str, port: int, source: str = "") -> object:
    """What a server of the guest's says to a client of the host's; an errno where it does not."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as sock:
        sock.settimeout(10)
        if source:
            sock.bind((source, 0))
        try:
            sock.connect((address, port))
            return json.loads(sock.recv(999))
        except OSError as error:
            return error.errno


@ordinary
@pytest.mark.parametrize("walls", WALLS)
def test_host_and_guest_reach_it(walls: str) -> None:
    """The host at its port, the guest at its own; both ends have the names that each would expect."""
    port = free_port()
    with standing(walls), Sandbox(network=[Publish(8080, port)]) as box, serving(box) as name:
        assert name == ["0.0.0.0", 8080]
        with socket.create_connection(("127.0.0.1", port)) as sock:
            mine = list(sock.getsockname())
            assert json.loads(sock.recv(999)) == [mine, ["127.0.0.1", 8080]]
        there, here, seen = json.loads(box.run([sys.executable, "-c", CLIENT, "127.0.0.1", "8080"]).stdout)
        assert there == ["127.0.0.1", 8080] and seen == [here, ["127.0.0.1", 8080]]


@pytest.mark.parametrize(
    ("host", "family", "address", "inside"),
    [
        ("127.0.0.1", "AF_INET", "127.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "AF_INET6", "::", "127.0.0.1"),
        ("0.0.0.0", "AF_INET", "0.0.0.0", "127.0.0.1"),
        ("0.0.0.0", "AF_INET", "127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "AF_INET6", "::", "127.0.0.1"),
        ("127.0.0.1", "AF_INET", "10.0.2.15", "10.0.2.15"),
        ("0.0.0.0", "AF_INET", "10.0.2.15", "10.0.2.15"),
        ("0.0.0.0", "AF_INET", "0.0.0.0", "10.0.2.15"),
        ("[::1]", "AF_INET6", "::1", "::1"),
        ("[::]", "AF_INET6", "::", "::1"),
    ],
)
def test_families(host: str, family: str, address: str, inside: str) -> None:
    at = {"0.0.0.0": "127.0.0.1", "[::]": "::1"}.get(host, host.strip("[]"))
    port = free_port(at)
    with Sandbox(network=[Publish(80, f"{host}:{port}")]) as box, serving(box, family, address, 80) as name:
        assert name[:2] == [address, 80]  # as it was bound
        assert isinstance(ask(at, port), list)
        there = json.loads(box.run([sys.executable, "-c", CLIENT, inside, "80"]).stdout)[0]
        assert there[:2] == [inside, 80]


@ordinary
@pytest.mark.parametrize("walls", WALLS)
def test_sources(walls: str) -> None:
    """Who is none of them is not answered; without any everybody is."""
    port = free_port()
    for sources, refused in (([], False), (["127.0.0.9", "10.0.0.0/8"], True)):
        with standing(walls), Sandbox(network=[Publish(8080, port, sources)]) as box, serving(box):
            assert isinstance(ask("127.0.0.1", port, "127.0.0.9"), list)
            assert _is_kept_out(port, "127.0.0.1") == refused
            there = json.loads(box.run([sys.executable, "-c", CLIENT, "127.0.0.1", "8080"]).stdout)[0]
            assert there == ["127.0.0.1", 8080]


def _is_kept_out(port: int, source: str) -> bool:
    """By the kernel, which drops what it sends, or by the sentry, which closes what it has accepted."""
    with socket.socket() as sock:
        sock.bind((source, 0))
        sock.settimeout(1)
        try:
            sock.connect(("127.0.0.1", port))
            return sock.recv(99) == b""
        except (TimeoutError, socket.timeout, ConnectionError):
            return True


@pytest.mark.parametrize("address", ["127.0.0.9", "::1"])
def test_filter_of_blocks(address: str) -> None:
    """The kernel's own judgement, of every block that a rule may have."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    other = "::" if ":" in address else "127.0.0.1"
    blocks = {
        "127.0.0.9": [["127.0.0.9/32"], ["127.0.0.8/31"], ["0.0.0.0/0"], ["::1", "2001:db8::/33", "127.0.0.0/8"]],
        "::1": [["::1"], ["::/127"], ["::/0"], ["127.0.0.0/8", "2001:db8::/33", "::/64"]],
    }[address]
    outside = [["127.0.0.10/31"], ["128.0.0.0/1"], ["::1"]] if family == socket.AF_INET else [["::2/127"], ["8000::/1"]]
    for allowed, given in [*((True, block) for block in blocks), *((False, block) for block in outside)]:
        with socket.socket(family, socket.SOCK_DGRAM) as taker, socket.socket(family, socket.SOCK_DGRAM) as sender:
            attach(taker, 127 << 24 | 200 << 16, map(ip_network, given))
            taker.bind((address if family == socket.AF_INET6 else other, 0))
            taker.setblocking(False)
            sender.bind((address, 0))
            sender.sendto(b"x", taker.getsockname())
            got = True
            try:
                taker.recv(9)
            except BlockingIOError:
                got = False
            assert got == allowed, given


def test_port_is_taken() -> None:
    """By a service of the host, by another guest, or by nobody any more."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(SandboxError, match=f"^publish 127.0.0.1:{port} as 80: .*another program has it"):
            sandbox.run(["true"], network=[Publish(80, port)])
    with Sandbox(network=[Publish(80, port)]) as box:
        for host in ("127.0.0.1", "0.0.0.0"):
            with pytest.raises(SandboxError, match="another guest or rule has it"):
                Sandbox(network=[Publish(81, f"{host}:{port}")])
        with serving(box, port=80):
            assert isinstance(ask("127.0.0.1", port), list)
    with Sandbox(network=[Publish(80, port)]) as box, serving(box, port=80):
        assert isinstance(ask("127.0.0.1", port), list)


def test_nobody_listens() -> None:
    """Before the guest listens, and at its other ports, the host is refused as it is where nobody is."""
    port = free_port()
    with Sandbox(network=[Publish(8080, port)]) as box:
        assert ask("127.0.0.1", port) == errno.ECONNREFUSED
        with serving(box, port=8081):
            assert ask("127.0.0.1", port) == errno.ECONNREFUSED
            assert ask("127.0.0.1", 8081) == errno.ECONNREFUSED
    assert ask("127.0.0.1", port) == errno.ECONNREFUSED


BOTH = """
import socket
def server(**options):
    s = socket.socket()
    for name, value in options.items():
        s.setsockopt(socket.SOL_SOCKET, getattr(socket, name), value)
    s.bind(("127.0.0.1", 8080))
    s.listen()
    return s
def attempt(**options):
    try:
        with server(**options):
            return "listens"
    except OSError as e:
        return e.strerror
first = server()
print(attempt(), attempt(SO_REUSEADDR=1), attempt(SO_REUSEPORT=1))
first.close()
workers = [server(SO_REUSEPORT=1) for _ in range(3)]
print(attempt(SO_REUSEPORT=1), attempt())
"""


def test_one_listener_as_on_linux() -> None:
    """A second one is refused but where both say SO_REUSEPORT."""
    done = sandbox.run([sys.executable, "-c", BOTH], network=[Publish(8080, free_port())], text=True)
    native = "Address already in use"
    assert done.stdout == f"{native} {native} {native}\nlistens {native}\n", done


HOSTILE = """
import socket, struct, sys
s = socket.socket()
s.bind(("0.0.0.0", 8080))
s.setblocking(False)
try: s.connect(("127.0.0.1", 8080))
except OSError as e: print(e.strerror)
import ctypes
print(ctypes.CDLL(None).connect(s.fileno(), struct.pack("H14x", socket.AF_UNSPEC), 16))
try:
    s.listen()
    print("listens at", *s.getsockname())
except OSError as e: print(e.strerror)
sys.stdout.flush()
sys.stdin.read()
"""


def test_dissolved_association_listens_nowhere_else() -> None:
    """A socket that was bound to the published port and then let go of a connection is at that port or at none."""
    port = free_port()
    with Sandbox(network=[Publish(8080, port, ["192.0.2.0/24"])]) as box:
        process = box.popen([sys.executable, "-c", HOSTILE], stdin=-1, stdout=-1, stderr=2, text=True)
        assert process.stdout and process.stdin
        lines = [process.stdout.readline() for _ in range(3)]
        assert lines[2] in ("Invalid argument\n", "listens at 0.0.0.0 8080\n"), lines
        assert _is_kept_out(port, "127.0.0.1")
        process.communicate("")


def test_audit_names_the_rule(tmp_path: Path) -> None:
    port, trail = free_port(), tmp_path / "trail"
    with Sandbox(network=[Publish(8080, port)], audit=trail) as box, serving(box):
        assert isinstance(ask("127.0.0.1", port), list)
    admitted = [event for event in load(trail) if event.served and event.served.startswith("net/admit")]
    assert admitted and {event.rule for event in admitted} == {f"publish 127.0.0.1:{port} as 8080"}


def test_too_many() -> None:
    rules = [Publish(80, 10000 + n) for n in range(65)]
    with pytest.raises(PolicyError, match="65 ports are published, 64 at most"):
        Sandbox(network=rules)


def test_many() -> None:
    """As many as can be; each is held and given back."""
    port = free_port()
    rules = [Publish(80 + n, f"127.0.0.{n + 1}:{port}") for n in range(64)]
    with Sandbox(network=rules) as box, serving(box, port=143):
        assert isinstance(ask("127.0.0.64", port), list)


def test_two_rules_for_one_port() -> None:
    """Of one guest, too: whoever is refused by one would come in by the other."""
    port = free_port()
    with pytest.raises(SandboxError, match="another guest or rule has it"):
        Sandbox(network=[Publish(80, f"0.0.0.0:{port}", ["192.0.2.1"]), Publish(81, f"127.0.0.1:{port}")])
    port = free_port("::")
    with Sandbox(network=[Publish(80, f"0.0.0.0:{port}"), Publish(81, f"[::]:{port}")]):
        pass


def test_what_failed_is_given_back() -> None:
    """A guest that cannot have its port leaves no descriptor, nor does it keep what it had."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        rules = [Publish(80, free_port()), Publish(81, server.getsockname()[1])]
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            with pytest.raises(SandboxError, match="another program has it"):
                Sandbox(network=rules)
        assert len(os.listdir("/proc/self/fd")) == before
    with Sandbox(network=rules[:1]):
        pass


def test_a_start_that_fails_late_gives_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever part of the network cannot be made, the port is there for the next guest."""
    rule = Publish(80, free_port())
    with monkeypatch.context() as patch:
        patch.setattr("sandbox.services.net.Visitors", full)
        with pytest.raises(OSError, match="Too many open files"):
            Sandbox(network=[rule])
    with Sandbox(network=[rule]) as box, serving(box, port=80):
        assert isinstance(ask("127.0.0.1", rule.listening[1]), list)


def full(*_: object) -> None:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


AGAIN = """
import socket, sys
s = socket.socket(); s.bind(("0.0.0.0", 8080)); s.listen(9); print("listens", flush=True); sys.stdin.readline()
s.shutdown(2)
try: s.connect(("127.0.0.9", int(sys.argv[1])))
except OSError as e: print(e.strerror, flush=True)
s.listen(9); print("listens", flush=True); sys.stdin.readline()
"""


@pytest.mark.parametrize("guard", [True, False], ids=["guarded", "unguarded"])
def test_sources_when_it_listens_again(guard: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A listener that was connected meanwhile hears whom `sources` names, as before, and not whom it would have connected to: as far
    as the kernel lets the caller say so, which it tells us first."""
    port, outside = free_port(), free_port()
    rules = [Publish(8080, f"0.0.0.0:{port}", ["127.0.0.77"]), sandbox.Allow(f"127.0.0.9:{outside}")]
    with Sandbox(network=rules) as box:
        process = box.popen([sys.executable, "-c", AGAIN, str(outside)], stdin=-1, stdout=-1, text=True)
        assert process.stdin is not None and process.stdout is not None and process.stdout.readline() == "listens\n"
        before = [_is_met(port, source) for source in ("127.0.0.77", "127.0.0.9")]
        if not guard:
            monkeypatch.setattr("sandbox.services._published.Published.guard", lambda *_: None)
        process.stdin.write("\n")
        process.stdin.flush()
        assert [process.stdout.readline() for _ in range(2)] == ["Connection refused\n", "listens\n"]
        after = [_is_met(port, source) for source in ("127.0.0.77", "127.0.0.9")]
        process.communicate("\n")
    assert before[0] and (after == before) == (guard or before[1])


def _is_met(port: int, source: str) -> bool:
    """Does the kernel connect who comes from there, whatever becomes of it?"""
    with socket.socket() as sock:
        sock.bind((source, 0))
        sock.settimeout(0.5)
        return sock.connect_ex(("127.0.0.1", port)) == 0


def test_ipv6_takes_no_port_of_ipv4() -> None:
    """Though the guest's socket is of both families."""
    port = free_port("::1")
    with Sandbox(network=[Publish(80, f"[::]:{port}")]) as box, serving(box, "AF_INET6", "::", 80):
        assert isinstance(ask("::1", port), list)
        socket.create_server(("127.0.0.1", port)).close()


def test_no_guest_stands_in_anothers_way() -> None:
    """A port that one has published at every address is taken in no other's loopback."""
    port = free_port()
    script = f"import socket\ns = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\ntry: s.bind(('127.0.0.1', {port})); s.listen(); print('listens', flush=True)\nexcept OSError as e: print(e.strerror)"
    with Sandbox(network=[Publish(80, f"0.0.0.0:{port}")]) as box, Sandbox(network=[]) as other, Sandbox(network=[sandbox.Allow("192.0.2.1")]) as served:
        assert served.run([sys.executable, "-c", script], text=True).stdout == "Address already in use\n"
        assert other.run([sys.executable, "-c", script], text=True).stdout == "listens\n"
        with serving(box, port=80):
            assert isinstance(ask("127.0.0.1", port), list)


def test_other_loopback_addresses_are_not_published() -> None:
    port = free_port()
    with Sandbox(network=[Publish(8080, port)]) as box:
        for address in ("127.0.0.2", "127.0.0.3"):
            with serving(box, address=address):
                assert ask("127.0.0.1", port) == errno.ECONNREFUSED


def test_published_port_of_others_is_outside() -> None:
    """A connection to the number of a port that the guest has published at every address is one like any other."""
    port = free_port()
    script = f"import socket\nprint(socket.socket().connect_ex(('127.9.9.9', {port})))"
    rules = [Publish(80, f"0.0.0.0:{port}"), sandbox.Allow("127.9.9.9")]
    done = sandbox.run([sys.executable, "-c", script], network=rules, text=True)
    assert done.stdout == f"{errno.ECONNREFUSED}\n"
    assert done.usage.network is not None and done.usage.network.connections == 1


def test_sources_that_no_filter_holds() -> None:
    with pytest.raises(PolicyError, match="300 sources: 256 at most"):
        Publish(80, 80, [f"10.0.{n // 256}.{n % 256}" for n in range(300)])
    port = free_port()
    many = [f"2001:db8::{n:x}" for n in range(200)] + ["127.0.0.1"]
    with Sandbox(network=[Publish(8080, port, many)]) as box, serving(box):
        assert isinstance(ask("127.0.0.1", port), list)
