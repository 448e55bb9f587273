"""Published ports of UDP: who is heard, what guest and stranger see of each other, and for how long one is answered."""

from __future__ import annotations

import json
import select
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Optional

import pytest

import sandbox
from sandbox import Limits, Publish, Sandbox, SandboxError
from sandbox._audit.join import load
from sandbox.services import _visitors
from tests.escape.attack import WALLS, ordinary, standing
from tests.helpers import free_port

ECHO = """
import json, socket, sys
server = socket.socket(getattr(socket, sys.argv[1]), socket.SOCK_DGRAM)
server.bind((sys.argv[2], int(sys.argv[3])))
print(json.dumps(server.getsockname()), flush=True)
while True:
    data, name = server.recvfrom(65536)
    server.sendto(json.dumps([len(data), name]).encode(), name)
"""
LATE = """
import socket, sys
server = socket.socket(type=socket.SOCK_DGRAM)
server.bind(("", 5353))
print("up", flush=True)
data, name = server.recvfrom(99)
other = socket.socket(type=socket.SOCK_DGRAM)
for attempt in sys.stdin:
    sock, there = eval(attempt)
    try: print(sock.sendto(b"x", there), flush=True)
    except OSError as e: print(e.strerror, flush=True)
"""
CONNECTED = """
import socket
server = socket.socket(type=socket.SOCK_DGRAM)
server.bind(("0.0.0.0", 5353))
print("up", flush=True)
data, name = server.recvfrom(99)
server.connect(name)
server.send(repr([server.getpeername() == name, server.getsockname()]).encode())
server.send(server.recv(99))
"""


@contextmanager
def serving(box: Sandbox, source: str = ECHO, *args: object) -> Iterator[Any]:
    """A server in the guest, which has said one line."""
    command = [sys.executable, "-c", source, *map(str, args)]
    process = box.popen(command, stdin=-1, stdout=-1, stderr=-2, text=True)
    try:
        assert process.stdout is not None
        process.line = process.stdout.readline()  # type: ignore[attr-defined]
        yield process
    finally:
        process.kill()
        process.communicate()


@contextmanager
def stranger(address: str, port: int, source: str = "") -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(10)
        if source:
            sock.bind((source, 0))
        sock.connect((address, port))
        yield sock


def ask(address: str, port: int, data: bytes = b"?", source: str = "", timeout: float = 10) -> Optional[list[Any]]:
    """What the guest's server says; None: nothing. Its answer has to come from where it was asked."""
    with stranger(address, port, source) as sock:
        sock.settimeout(timeout)
        sock.send(data)
        try:
            size, name = json.loads(sock.recv(65536))
        except (TimeoutError, socket.timeout):
            return None
        assert name[1] == sock.getsockname()[1] and str(name[0]).endswith(sock.getsockname()[0])
        return [size, name]


@ordinary
@pytest.mark.parametrize("walls", WALLS)
def test_a_server_answers(walls: str) -> None:
    port = free_port(kind=socket.SOCK_DGRAM)
    with standing(walls), Sandbox(network=[Publish(5353, f"udp://{port}")]) as box, serving(box, ECHO, "AF_INET", "0.0.0.0", 5353) as server:  # fmt: skip
        assert json.loads(server.line) == ["0.0.0.0", 5353]
        for size in (0, 1, 1472, 65507):
            said = ask("127.0.0.1", port, bytes(size))
            assert said is not None and said[0] == size


@pytest.mark.parametrize(
    ("host", "family", "address"),
    [
        ("127.0.0.1", "AF_INET", "127.0.0.1"),
        ("127.0.0.1", "AF_INET6", "::"),
        ("0.0.0.0", "AF_INET", "0.0.0.0"),
        ("0.0.0.0", "AF_INET6", "::"),
        ("[::1]", "AF_INET6", "::1"),
        ("[::1]", "AF_INET6", "::"),
        ("[::]", "AF_INET6", "::"),
    ],
)
@pytest.mark.parametrize("limits", [Limits(), Limits(bytes_received=10**6)], ids=["", "relayed"])
def test_families(host: str, family: str, address: str, limits: Limits) -> None:
    """At the very number of the guest's port, too, and from the address that was sent to where there are many."""
    at = {"0.0.0.0": "127.0.0.7", "[::]": "::1"}.get(host, host.strip("[]"))
    port = free_port(kind=socket.SOCK_DGRAM, address="0.0.0.0" if "." in host else "::")
    rule = Publish(port, f"udp://{host}:{port}")
    with Sandbox(network=[rule], limits=limits) as box, serving(box, ECHO, family, address, port) as server:
        assert json.loads(server.line)[:2] == [address, port]
        assert ask(at, port) is not None


def test_ipv6_is_not_for_a_server_of_ipv4() -> None:
    port = free_port(kind=socket.SOCK_DGRAM, address="::1")
    rules = [Publish(5353, f"udp://[::1]:{port}"), Publish(5353, f"udp://{port}")]
    with Sandbox(network=rules) as box, serving(box, ECHO, "AF_INET", "0.0.0.0", 5353):
        assert ask("::1", port, timeout=0.5) is None
        assert ask("127.0.0.1", port) is not None


def test_sources() -> None:
    port = free_port(kind=socket.SOCK_DGRAM)
    with Sandbox(network=[Publish(5353, f"udp://{port}", ["127.0.0.9"])]) as box, serving(box, ECHO, "AF_INET", "", 5353):
        assert ask("127.0.0.1", port, source="127.0.0.8", timeout=0.5) is None
        assert ask("127.0.0.1", port, source="127.0.0.9") is not None


def test_many_strangers_at_once() -> None:
    """Each hears what is for it. Of more than are held the one that was heard longest ago is forgotten, and is new when it
    is heard again."""
    port, most = free_port(kind=socket.SOCK_DGRAM), _visitors._MOST
    with Sandbox(network=[Publish(5353, f"udp://{port}")]) as box, serving(box, ECHO, "AF_INET", "", 5353), ExitStack() as stack:  # fmt: skip
        strangers = [stack.enter_context(stranger("127.0.0.1", port)) for _ in range(most + 20)]
        for sock in [*strangers, strangers[-1], strangers[0]]:
            sock.send(b"?")
            assert json.loads(sock.recv(99))[1] == list(sock.getsockname())
        assert box.network.usage.accepted == most + 20 + 1


def test_a_server_that_connects() -> None:
    """As one for each client does; it sees whom it is connected to, and the address that was sent to as its own."""
    port = free_port(kind=socket.SOCK_DGRAM)
    with Sandbox(network=[Publish(5353, f"udp://{port}")]) as box, serving(box, CONNECTED), stranger("127.0.0.1", port) as sock:  # fmt: skip
        sock.send(b"hello")
        assert sock.recv(99) == repr([True, ("127.0.0.1", 5353)]).encode()
        sock.send(b"again")
        assert sock.recv(99) == b"again"


def test_only_who_was_heard_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the socket at the published port, at the port that it sent from, for a while."""
    port = free_port(kind=socket.SOCK_DGRAM)
    with Sandbox(network=[Publish(5353, f"udp://{port}")]) as box, serving(box, LATE) as server, stranger("127.0.0.1", port) as sock, stranger("127.0.0.1", port) as other:  # fmt: skip
        assert server.stdin is not None and server.stdout is not None
        sock.send(b"hello")

        def attempt(source: str, port: int) -> str:
            server.stdin.write(f"{source}, ('127.0.0.1', {port})\n")
            server.stdin.flush()
            return str(server.stdout.readline()).strip()

        heard, silent = sock.getsockname()[1], other.getsockname()[1]
        assert attempt("server", heard) == "1" and sock.recv(9) == b"x"
        # To the guest a port of 127.0.0.1 is one of its own where nobody is.
        assert attempt("server", silent) == "1" and attempt("other", heard) == "1"
        monkeypatch.setattr(_visitors, "_ANSWERED", -1.0)
        sock.send(b"hello")  # now it was heard long ago
        with stranger("127.0.0.1", port) as last:
            last.send(b"hello")
        assert attempt("server", heard) in ("1", "Permission denied")
        for each in (sock, other):
            each.settimeout(0.5)
            with pytest.raises((TimeoutError, socket.timeout)):
                each.recv(9)


def test_nobody_is_there() -> None:
    """What comes before the guest's server is lost, as is what comes after; a server that comes later is found."""
    port = free_port(kind=socket.SOCK_DGRAM)
    with Sandbox(network=[Publish(5353, f"udp://{port}")]) as box:
        assert ask("127.0.0.1", port, timeout=0.2) is None
        for _ in range(2):
            with serving(box, ECHO, "AF_INET", "", 5353), stranger("127.0.0.1", port) as sock:
                sock.send(b"?")
                assert sock.recv(99)
            assert ask("127.0.0.1", port, timeout=0.2) is None


def test_the_same_stranger_and_a_new_server() -> None:
    port = free_port(kind=socket.SOCK_DGRAM)
    with Sandbox(network=[Publish(5353, f"udp://{port}")]) as box, stranger("127.0.0.1", port) as sock:
        for _ in range(3):
            with serving(box, ECHO, "AF_INET", "", 5353):
                sock.send(b"?")
                assert sock.recv(99)


def test_port_is_taken() -> None:
    """By a service of the host, or by another guest; TCP has ports of its own."""
    with socket.socket(type=socket.SOCK_DGRAM) as service:
        service.bind(("127.0.0.1", 0))
        port = service.getsockname()[1]
        with pytest.raises(SandboxError, match=f"^publish udp://127.0.0.1:{port} as 5353: .*another program has it"):
            Sandbox(network=[Publish(5353, f"udp://{port}")])
    with Sandbox(network=[Publish(5353, f"udp://{port}"), Publish(5353, port)]):
        for host in ("127.0.0.1", "0.0.0.0"):
            with pytest.raises(SandboxError, match="another guest or rule has it"):
                Sandbox(network=[Publish(54, f"udp://{host}:{port}")])
    with socket.socket(type=socket.SOCK_DGRAM) as service:
        service.bind(("127.0.0.1", port))


def test_what_was_answered_last_arrives() -> None:
    """Though the guest ends at once."""
    port = free_port(kind=socket.SOCK_DGRAM)
    source = "import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(('', 5353)); print(flush=True)\nname = s.recvfrom(9)[1]\nfor n in range(8): s.sendto(b'%d' % n, name)"
    box = Sandbox(network=[Publish(5353, f"udp://{port}")])
    with serving(box, source) as server, stranger("127.0.0.1", port) as sock:
        sock.send(b"?")
        assert server.wait() == 0
        box.close()
        assert [sock.recv(9) for _ in range(8)] == [b"%d" % n for n in range(8)]


@pytest.mark.parametrize("limits", [Limits(), Limits(bytes_sent=10**6)], ids=["", "relayed"])
def test_bytes_are_counted(limits: Limits, tmp_path: Path) -> None:
    """Of datagrams always, since we move them; in the turn that has moved them. Each call has the rule in its record."""
    rule, trail = Publish(5353, f"udp://{free_port(kind=socket.SOCK_DGRAM)}"), tmp_path / "trail"
    with Sandbox(network=[rule], limits=limits, audit=trail) as box, serving(box, ECHO, "AF_INET", "", 5353):
        with stranger("127.0.0.1", rule.listening[1]) as sock:
            sock.send(bytes(100))
            answered = len(sock.recv(99))
        assert ask("127.0.0.1", rule.listening[1], b"") is not None  # in a later turn
        usage = box.network.usage
    assert usage.sent is not None and usage.sent >= answered and usage.received == 100
    assert usage.carried == {str(rule): (usage.sent, usage.received)}
    assert usage.accepted == 2 and usage.connections == 0
    assert str(rule) in {event.rule for event in load(trail) if event.call == "sendto"}


@pytest.mark.parametrize("limit", ["bytes_sent", "bytes_received"])
def test_a_limit_is_kept(limit: str) -> None:
    port = free_port(kind=socket.SOCK_DGRAM)
    with Sandbox(network=[Publish(5353, f"udp://{port}")], limits=Limits(**{limit: 150})) as box:
        with serving(box, ECHO, "AF_INET", "", 5353), stranger("127.0.0.1", port) as sock:
            said = 0
            sock.settimeout(0.5)
            with pytest.raises((TimeoutError, socket.timeout)):
                for _ in range(20):
                    sock.send(bytes(40))
                    sock.recv(99)
                    said += 1
            assert 1 <= said <= 150 // len('[40, ["127.0.0.1", 9999]]')
        assert box.network.usage.rules.get(f"limit: {limit}", 0) >= 1


def test_a_rate_is_kept() -> None:
    """What is too much waits, and what has no room in the queue is lost, as on any slow line."""
    port = free_port(kind=socket.SOCK_DGRAM)
    with Sandbox(network=[Publish(5353, f"udp://{port}")], limits=Limits(bytes_received_per_second=20_000)) as box:
        with serving(box, ECHO, "AF_INET", "", 5353), stranger("127.0.0.1", port) as sock:
            for _ in range(30):
                sock.send(bytes(1000))
            assert all(json.loads(sock.recv(99))[0] == 1000 for _ in range(30))
        usage = box.network.usage
    assert usage.received == 30_000


def test_who_waits_and_is_forgotten() -> None:
    """Answers wait for their turn when the guest's server ends, and their stranger is forgotten: the turn comes, and is
    nobody's. The next server answers all the same."""
    port, limits = free_port(kind=socket.SOCK_DGRAM), Limits(bytes_sent_per_second=100)
    with Sandbox(network=[Publish(5353, f"udp://{port}")], limits=limits) as box, stranger("127.0.0.1", port) as sock:
        net = box._guest.parts.net
        assert net is not None
        with serving(box, ECHO, "AF_INET", "", 5353):
            for _ in range(8):
                sock.send(b"?")
            until(lambda: net._meter.flows[0]._waiting)
        sock.send(b"?")
        until(lambda: not net._visitors._visits and not net._meter.flows[0]._waiting)
        sock.setblocking(False)
        with suppress(BlockingIOError):
            while sock.recv(99):
                continue
        sock.settimeout(10)
        with serving(box, ECHO, "AF_INET", "", 5353):
            sock.send(b"again")
            assert json.loads(sock.recv(99))[0] == 5


def until(true: Callable[[], object]) -> None:
    """What the Supervisor's thread does tells nobody when it is done."""
    for _ in range(3000):
        if true():
            return
        select.select([], [], [], 0.01)
    raise AssertionError("it is not so")


def test_command_line_and_file(tmp_path: Path) -> None:
    port = free_port(kind=socket.SOCK_DGRAM)
    (tmp_path / "policy.toml").write_text(f'[[network]]\npublish = 5353\nhost = "udp://{port}"\n')
    policy = sandbox.Policy.load(tmp_path / "policy.toml")
    assert policy.network == (Publish(5353, f"udp://127.0.0.1:{port}"),)
    (tmp_path / "again.toml").write_text(policy.to_toml())
    assert sandbox.Policy.load(tmp_path / "again.toml") == policy
    with pytest.raises(sandbox.PolicyError, match="unknown scheme sctp://"):
        Publish(5353, "sctp://127.0.0.1:5353")
