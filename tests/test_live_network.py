"""Rules that change while a guest runs: what is allowed then is reached, what is taken back is cut."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

import sandbox
from sandbox import Allow, Deny, GuestFault, Hosts, PolicyError, Publish, Sandbox, SandboxError
from tests.escape.attack import WALLS, ordinary, standing
from tests.helpers import free_port
from tests.test_internet import tcp, udp

__all__ = ["tcp", "udp"]
TCP = "import socket, sys\ntry:\n with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=10) as s: print(s.recv(99).decode())\nexcept OSError as e: print(e.strerror or e)"


def reach(box: Sandbox, host: str, port: int) -> str:
    return str(box.run([sys.executable, "-c", TCP, host, str(port)], text=True).stdout).strip()


@contextmanager
def serving(talk: Callable[[socket.socket], object], family: int = socket.AF_INET) -> Iterator[int]:
    """A service of the host; what `talk` raises is no matter."""
    address = "127.0.0.1" if family == socket.AF_INET else "::1"
    with socket.create_server((address, 0), family=family, backlog=64) as server:

        def one(peer: socket.socket) -> None:
            with peer:
                try:
                    talk(peer)
                except OSError:
                    pass

        def serve() -> None:
            while True:
                try:
                    peer = server.accept()[0]
                except OSError:
                    return
                threads.append(threading.Thread(target=one, args=(peer,)))
                threads[-1].start()

        threads = [threading.Thread(target=serve)]
        threads[0].start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join(30)


@pytest.fixture
def echo() -> Iterator[int]:
    """A service that sends back what it gets, to many at once."""

    def talk(peer: socket.socket) -> None:
        while data := peer.recv(99):
            peer.sendall(data)

    with serving(talk) as port:
        yield port


def test_allow_and_revoke(tcp: int) -> None:
    target = f"127.0.0.1:{tcp}"
    with Sandbox(network=[Hosts({"x": "192.0.2.1"})]) as box:
        assert reach(box, "127.0.0.1", tcp) == "Connection refused"
        box.network.allow(target)
        assert reach(box, "127.0.0.1", tcp) == "hello"
        assert box.network.rules[-1] == Allow(target)
        box.network.revoke(target)
        assert reach(box, "127.0.0.1", tcp) == "Connection refused"
        box.network.allow(Allow(target))
        box.network.deny(target, "192.0.2.0/24")
        assert reach(box, "127.0.0.1", tcp) == "Connection refused"
        box.network.revoke(Deny(target))
        assert reach(box, "127.0.0.1", tcp) == "hello"


LINES = """
import os, socket, sys
sock = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
exec(sys.argv[2])
for line in sys.stdin:
    try:
        sock.sendall(line.encode())
        print(repr(sock.recv(99)), flush=True)
    except OSError as e:
        print(e.strerror, flush=True)
"""


class Talk:
    """A program in a guest that holds a connection to the service."""

    def __init__(self, box: Sandbox, port: int, first: str = "pass") -> None:
        self.process = box.popen([sys.executable, "-c", LINES, str(port), first], stdin=-1, stdout=-1, text=True)

    def say(self, text: str) -> str:
        into, out = self.process.stdin, self.process.stdout
        assert isinstance(into, IO) or into is not None
        assert out is not None
        into.write(text + "\n")
        into.flush()
        return out.readline().strip()


@ordinary
@pytest.mark.parametrize("walls", WALLS)
@pytest.mark.parametrize("first", ["pass", "os.fork() and os._exit(0)", "sock = sock.dup()"], ids=["", "forked", "dup"])
def test_revoke_cuts(echo: int, walls: str, first: str) -> None:
    """A connection that stands is reset, whichever process of the guest holds it; others are not touched."""
    target = f"127.0.0.1:{echo}"
    with standing(walls), Sandbox(network=[Allow(target)]) as box, Sandbox(network=[Allow(target)]) as other:
        talk, neighbour = Talk(box, echo, first), Talk(other, echo)
        assert talk.say("a") == r"b'a\n'" == neighbour.say("a")
        box.network.allow("192.0.2.1")
        box.network.revoke("192.0.2.1")
        assert talk.say("b") == r"b'b\n'"
        box.network.revoke(target)
        assert talk.say("c") != r"b'c\n'"
        assert neighbour.say("c") == r"b'c\n'"


WAITS = """
import socket, sys
sock = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
print("waits", flush=True)
try: print(sock.recv(1))
except OSError as e: print(e.strerror)
"""


def test_who_waits_wakes(echo: int) -> None:
    target = f"127.0.0.1:{echo}"
    with Sandbox(network=[Allow(target)]) as box:
        process = box.popen([sys.executable, "-c", WAITS, str(echo)], stdout=-1, text=True)
        assert process.stdout and process.stdout.readline() == "waits\n"
        box.network.revoke(target)
        assert process.communicate(timeout=60)[0] in ("b''\n", "Connection reset by peer\n", "Broken pipe\n")


UDP = """
import socket, sys
sock = socket.socket(type=socket.SOCK_DGRAM)
to = ("127.0.0.1", int(sys.argv[1]))
if sys.argv[2] == "connected": sock.connect(to)
sock.settimeout(float(0.5))
for line in sys.stdin:
    try:
        sock.send(line.encode()) if sys.argv[2] == "connected" else sock.sendto(line.encode(), to)
        print(sock.recv(99), flush=True)
    except OSError as e:
        print(e.strerror or e, flush=True)
"""


@pytest.mark.parametrize("how", ["connected", "addressed"])
def test_datagrams(udp: int, how: str) -> None:
    """Neither sent nor heard any more."""
    target = f"udp://127.0.0.1:{udp}"
    with Sandbox(network=[Allow(target)]) as box:
        process = box.popen([sys.executable, "-c", UDP, str(udp), how], stdin=-1, stdout=-1, text=True)
        assert process.stdin and process.stdout
        for text, wanted in (("a", True), ("b", False)):
            process.stdin.write(text + "\n")
            process.stdin.flush()
            assert process.stdout.readline().startswith("b'") == wanted
            box.network.revoke(target) if wanted else None


HIDDEN = {
    "in flight": "a, b = socket.socketpair(); socket.send_fds(a, [b'x'], [sock.fileno()]); sock.close()",
    "undumpable": "import ctypes; ctypes.CDLL(None).prctl(4, 0)",
}


@pytest.mark.parametrize("where", HIDDEN)
def test_hidden_connection(echo: int, where: str) -> None:
    """A descriptor that nobody can reach keeps no connection: the guest is ended where it cannot be cut."""
    if where == "in flight" and sys.version_info < (3, 9):
        pytest.skip("socket.send_fds is of Python 3.9")
    target = f"127.0.0.1:{echo}"
    with Sandbox(network=[Allow(target)]) as box:
        process = box.popen([sys.executable, "-c", LINES, str(echo), HIDDEN[where] + "; print('held', flush=True)"], stdin=-1, stdout=-1, text=True)
        assert process.stdout and process.stdout.readline() == "held\n"
        try:
            box.network.revoke(target)
        except GuestFault as error:
            assert "cannot be cut" in str(error)
            with pytest.raises(GuestFault):
                process.wait()
        else:
            assert where == "undumpable"  # root reads it all the same
            process.kill()


PUSHED_OUT = """
import socket, sys
sock = socket.socket(type=socket.SOCK_DGRAM)
sock.connect(("127.0.0.1", int(sys.argv[1])))
for n in range(200):
    sock.sendto(b"x", ("127.1.0.%d" % (n + 1), 9))
print("pushed", flush=True)
sys.stdin.readline()
try: print(sock.send(b"leak"))
except OSError as e: print(e.strerror)
"""


def said_after_revoke(script: str, port: int, target: str, ready: str) -> str:
    """What a program says that is waiting when the rule is taken by which it has reached the port."""
    with Sandbox(network=[Allow(target), Allow("127.1.0.0/16")]) as box:
        process = box.popen([sys.executable, "-c", script, str(port)], stdin=-1, stdout=-1, text=True)
        assert process.stdout and process.stdout.readline() == ready
        box.network.revoke(target)
        return str(process.communicate("\n")[0])


def test_many_peers_hide_none(udp: int) -> None:
    """Whom a socket is connected to is not forgotten for the many that it sends to."""
    said = said_after_revoke(PUSHED_OUT, udp, f"udp://127.0.0.1:{udp}", "pushed\n")
    assert said == "Destination address required\n"


RETRIED = """
import socket, sys
sock = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
for n in range(200):
    assert sock.connect_ex(("127.1.0.%d" % (n + 1), 9)) in (0, 106) # 0 once, where it was begun without waiting
print("tried", flush=True)
sys.stdin.readline()
try: sock.sendall(b"leak"); print(sock.recv(9))
except OSError as e: print("cut")
"""


def test_further_connects_hide_none(echo: int) -> None:
    assert said_after_revoke(RETRIED, echo, f"127.0.0.1:{echo}", "tried\n") == "cut\n"


MANY = """
import socket, sys
for n in range(3000):
    socket.create_connection(("127.0.0.1", int(sys.argv[1]))).close()
print("made", flush=True)
"""


def test_what_has_ended_is_forgotten(tcp: int) -> None:
    target = f"127.0.0.1:{tcp}"
    with Sandbox(network=[Allow(target)]) as box:
        assert box.run([sys.executable, "-c", MANY, str(tcp)], text=True).stdout == "made\n"
        assert len(box._guest.parts.net._outward._sockets) < 2000  # type: ignore[union-attr]
        box.network.revoke(target)


def test_what_cannot_change() -> None:
    port = free_port()
    with Sandbox(network=[Publish(80, port)]) as box:
        for rule in (Publish(81, port), "x"):
            with pytest.raises(PolicyError):
                box.network.revoke(rule)
        with pytest.raises(PolicyError, match=f"publish 127.0.0.1:{port} as 80: is for the guest's whole life"):
            box.network.revoke(box.network.rules[0])
        with pytest.raises(PolicyError, match="allow"):
            box.network.allow("a b")
    for network in ("none", "loopback"):
        with Sandbox(network=network) as box, pytest.raises(SandboxError, match="give it rules when it is made"):
            box.network.allow("192.0.2.1")


def test_published_port_stays(tmp_path: Path) -> None:
    """The guest's own connection to its own listener is nobody's rule."""
    script = "import socket, sys\nl = socket.create_server(('127.0.0.1', 8080))\nc = socket.create_connection(('127.0.0.1', 8080))\na, _ = l.accept()\nprint('stands', flush=True)\nsys.stdin.readline()\na.send(b'x'); print(c.recv(1))"
    with sandbox.Sandbox(network=[Publish(8080, free_port()), Allow("192.0.2.1")]) as box:
        process = box.popen([sys.executable, "-c", script], stdin=-1, stdout=-1, text=True)
        assert process.stdout and process.stdout.readline() == "stands\n"
        box.network.revoke("192.0.2.1")
        assert process.communicate("\n")[0] == "b'x'\n"


UNSPECIFIED = LINES.replace('("127.0.0.1", int', '("0.0.0.0", int')


def test_unspecified_address_is_cut(echo: int) -> None:
    """What the kernel takes for its loopback is a connection there."""
    with Sandbox(network=["host"]) as box:
        process = box.popen([sys.executable, "-c", UNSPECIFIED, str(echo), "pass"], stdin=-1, stdout=-1, text=True)
        assert process.stdin and process.stdout
        process.stdin.write("a\n")
        process.stdin.flush()
        assert process.stdout.readline() == r"b'a\n'" + "\n"
        box.network.deny(f"127.0.0.1:{echo}")
        assert process.communicate("b\n")[0] != r"b'b\n'" + "\n"


CHURN = """
import socket, sys
print("churns", flush=True)
while True:
    for s in [socket.socket(type=socket.SOCK_DGRAM) for _ in range(200)]:
        s.close()
"""


def test_sockets_that_come_and_go_meanwhile(echo: int) -> None:
    """Neither lets a connection live on."""
    target = f"127.0.0.1:{echo}"
    with Sandbox(network=[Allow("192.0.2.1")]) as box:
        churning = box.popen([sys.executable, "-c", CHURN], stdout=-1, text=True)
        assert churning.stdout and churning.stdout.readline() == "churns\n"
        for _ in range(10):
            box.network.allow(target)
            talk = Talk(box, echo)
            assert talk.say("a") == r"b'a\n'"
            box.network.revoke(target)
            assert talk.say("b") != r"b'b\n'"
            talk.process.kill()


FORGOTTEN = """
import socket, sys
sock = socket.socket(type=socket.SOCK_DGRAM)
sock.sendto(b"x", ("127.0.0.1", int(sys.argv[1])))
sock.recv(9)
for n in range(70):
    sock.sendto(b"x", ("127.1.0.1", n + 1))
print(*sock.getsockname(), flush=True)
sock.settimeout(float(sys.stdin.readline()))
try: print(sock.recvfrom(99))
except OSError as e: print(e)
"""


def test_forgotten_peer_is_not_heard(udp: int) -> None:
    """One that was pushed out by many others: the filter goes with what is remembered."""
    target = f"udp://127.0.0.1:{udp}"
    with Sandbox(network=[Allow(target), Allow("127.1.0.0/16")]) as box:
        process = box.popen([sys.executable, "-c", FORGOTTEN, str(udp)], stdin=-1, stdout=-1, text=True)
        assert process.stdout
        port = int(process.stdout.readline().split()[1])
        box.network.revoke(target)
        with socket.socket(type=socket.SOCK_DGRAM) as sender:
            sender.bind(("127.0.0.1", 0))
            sender.sendto(b"late", ("127.0.0.1", port))
        assert process.communicate("0.3\n")[0] == "timed out\n"


RESENT = """
import socket, sys
sock = socket.socket(type=socket.SOCK_DGRAM)
for n in range(70):
    sock.sendto(b"x", ("127.0.0.1", int(sys.argv[1])))
    sock.sendto(b"x", ("127.1.0.1", n + 1))
    sock.recv(9)
print("heard")
"""


def test_whom_it_sends_to_again_is_not_forgotten(udp: int) -> None:
    """Beside more others than are remembered it is one peer, and counts as one."""
    with Sandbox(network=[Allow(f"udp://127.0.0.1:{udp}"), Allow("127.1.0.0/16")]) as box:
        done = box.run([sys.executable, "-c", RESENT, str(udp)], text=True)
        assert done.stdout == "heard\n" and done.usage.network is not None and done.usage.network.connections == 71


ALTERNATES = """
import socket
sock = socket.socket(type=socket.SOCK_DGRAM)
for turn in range(1 << 40):
    for n in range(40): sock.sendto(b"x", ("127.1.0.1", n + 1))
    if turn == 0: print("sends", flush=True)
"""


class Watched(dict):  # type: ignore[type-arg]
    """Tells what is taken out of it."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self.taken: list[object] = []

    def pop(self, key: object, *default: object) -> object:
        self.taken.append(key)
        return super().pop(key, *default)

    def __delitem__(self, key: object) -> None:
        self.taken.append(key)
        super().__delitem__(key)


def test_no_peer_is_missing_while_it_is_sent_to_again() -> None:
    """Who revokes looks at them from another thread, without the lock: one that it missed would be cut."""
    with Sandbox(network=[Allow("127.1.0.0/16")]) as box:
        process = box.popen([sys.executable, "-c", ALTERNATES], stdout=-1, text=True)
        assert process.stdout and process.stdout.readline() == "sends\n"
        (outward,) = box._guest.parts.net._outward._sockets.values()  # type: ignore[union-attr]
        watched = outward.peers = Watched(outward.peers)
        deadline = time.monotonic() + 60
        while outward.peers is watched and not watched.taken:
            assert time.monotonic() < deadline
        process.kill()
        assert watched.taken == [] and len(watched) == 40


def test_other_port_of_a_peer_is_still_heard(udp: int) -> None:
    """What is revoked is a port; the address answers at the one that stays."""
    rules = [Allow(f"udp://127.0.0.1:{udp}"), Allow("udp://127.0.0.1:9")]
    script = UDP.replace("for line", "sock.sendto(b'x', ('127.0.0.1', 9))\nfor line")
    with Sandbox(network=rules) as box:
        process = box.popen([sys.executable, "-c", script, str(udp), "addressed"], stdin=-1, stdout=-1, text=True)
        assert process.stdin and process.stdout
        for text in ("a", "b"):
            process.stdin.write(text + "\n")
            process.stdin.flush()
            assert process.stdout.readline().startswith("b'")
            box.network.revoke(rules[1]) if text == "a" else None


def test_changes_at_once() -> None:
    """None is lost."""
    with Sandbox(network=[Allow("192.0.2.1")]) as box:
        threads = [threading.Thread(target=box.network.allow, args=(f"192.0.2.{n}",)) for n in range(2, 42)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(box.network.rules) == 41


# ---- counts and limits --------------------------------------------------------------------------------------------

EIGHT = """
import socket, sys
for n in range(8):
    try:
        socket.create_connection(("127.0.0.1", int(sys.argv[1]))).close()
        print("made")
    except OSError as e:
        print(e.strerror)
"""


def test_usage(tcp: int, udp: int) -> None:
    """What each rule decided, in the result and live."""
    rules = [Allow(f"tcp://127.0.0.1:{tcp}"), Allow(f"udp://127.0.0.1:{udp}"), Deny("192.0.2.0/24")]
    script = EIGHT + f"\nsocket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', {udp}))\ntry: socket.create_connection(('192.0.2.1', 1))\nexcept OSError: pass"
    done = sandbox.run([sys.executable, "-c", script, str(tcp)], network=rules, text=True)
    used = done.usage.network
    assert used is not None and (used.sockets, used.connections, used.refused, used.accepted) == (10, 9, 1, 0)
    assert used.rules == {str(rules[0]): 8, str(rules[1]): 1, str(rules[2]): 1}
    with Sandbox(network=[*rules, Publish(8080, free_port())]) as box:
        box.run([sys.executable, "-c", script, str(tcp)])
        assert box.network.usage.rules == used.rules
    assert sandbox.run(["true"]).usage.network is None


def test_connections_in_total(tcp: int) -> None:
    limits = sandbox.Limits(connections=3)
    done = sandbox.run([sys.executable, "-c", EIGHT, str(tcp)], network=[Allow(f"127.0.0.1:{tcp}")], limits=limits, text=True)
    assert done.stdout.split("\n") == [*["made"] * 3, *["Permission denied"] * 5, ""]
    assert done.usage.network is not None and done.usage.network.rules["limit: connections"] == 5
    assert done.exceeded is None


def test_connections_by_the_second(tcp: int) -> None:
    """One at once, and no other before its time."""
    limits = sandbox.Limits(connections_per_second=0.001)
    done = sandbox.run([sys.executable, "-c", EIGHT, str(tcp)], network=[Allow(f"127.0.0.1:{tcp}")], limits=limits, text=True)
    assert done.stdout.split("\n") == ["made", *["Resource temporarily unavailable"] * 7, ""]


PEERS = """
import socket, sys
s = socket.socket(type=socket.SOCK_DGRAM)
for n in range(6):
    try: print(s.sendto(b"x", ("127.1.0.%d" % (n % 3 + 1), 9)))
    except OSError as e: print(e.strerror)
"""


def test_peers_are_connections() -> None:
    done = sandbox.run([sys.executable, "-c", PEERS], network=[Allow("127.1.0.0/16")], limits=sandbox.Limits(connections=2), text=True)
    assert done.stdout.split("\n") == ["1", "1", "Permission denied"] * 2 + [""]
