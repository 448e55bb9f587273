"""Who may listen at a port of a guest's own, and who is met there: as on Linux. Each script runs natively at a free port first, then in
guests whose loopback is their own."""

from __future__ import annotations

import functools
import subprocess

import pytest

from sandbox import Sandbox
from tests.escape.attack import WALLS, ordinary, standing
from tests.helpers import free_port
from tests.test_connect import BEGIN
from tests.test_internet import python
from tests.test_loopback import NETWORKS, Network, network, own

__all__ = ["network", "own"]
MORE = """
FOUR, SIX = socket.AF_INET, socket.AF_INET6
def made(family=FOUR, kind=socket.SOCK_STREAM, **options):
    s = socket.socket(family, kind)
    s.settimeout(10)
    for option, value in options.items():
        level = socket.IPPROTO_IPV6 if option.startswith("IPV6") else socket.SOL_SOCKET
        s.setsockopt(level, getattr(socket, option), value)
    return s
def server(family=FOUR, host="127.0.0.1", kind=socket.SOCK_STREAM, at=port, **options):
    s = made(family, kind, **options)
    s.bind((host, at))
    if kind == socket.SOCK_STREAM: s.listen()
    return s
def says(*args, **options):
    done = attempt(lambda: server(*args, **options))
    if isinstance(done, str): return done
    done.close()
    return "there"
def who(servers, family, host):
    "The number of the server that is met there."
    client = made(family)
    error = attempt(client.connect, (host, port))
    if error: return error
    ready = select.select(servers, [], [], 10)[0]
    peer, name = ready[0].accept()
    return servers.index(ready[0]), peer.getsockname()[0], name[0] == client.getsockname()[0]
def hears(servers, family, host):
    client = made(family, socket.SOCK_DGRAM)
    client.sendto(b"x", (host, port))
    ready = select.select(servers, [], [], 10)[0]
    return [servers.index(each) for each in ready], ready[0].recvfrom(9)[0]
PLAIN = socket.SOCK_DGRAM
"""
SAME = {
    "taken at every address": "s = server(host=''); print(says(), says(host=''), says(at=0))",
    "both families by one": "s = [server(SIX, '::')]; print(who(s, SIX, '::1'), who(s, FOUR, '127.0.0.1'), who(s, SIX, '::ffff:127.0.0.1'), says(), says(host=''), says(SIX, '::'))",
    "taken": "s = server(); print(says(), says(SO_REUSEADDR=1), says(SO_REUSEPORT=1)); s.close(); print(says())",
    "two addresses": "a, b = server(), server(host='127.0.0.2'); print(who([a, b], FOUR, '127.0.0.1'), who([a, b], FOUR, '127.0.0.2'))",
    "SO_REUSEADDR of both": "s = server(SO_REUSEADDR=1); print(says(SO_REUSEADDR=1)); s.close(); print(says(SO_REUSEADDR=1))",
    "SO_REUSEADDR before anybody listens": "a = made(SO_REUSEADDR=1); a.bind(('127.0.0.1', port)); b = made(SO_REUSEADDR=1); print(attempt(b.bind, ('127.0.0.1', port)), attempt(b.listen), attempt(a.listen))",
    "SO_REUSEADDR after a connection": "s = server(SO_REUSEADDR=1); c = made(); c.connect(('127.0.0.1', port)); p = s.accept()[0]; p.close(); c.recv(1); c.close(); s.close(); print(says(), says(SO_REUSEADDR=1))",
    "SO_REUSEPORT of all": "s = [server(SO_REUSEPORT=1) for _ in range(3)]; print(says(SO_REUSEPORT=1), says(), says(SO_REUSEADDR=1)); [each.close() for each in s]; print(says())",
    "SO_REUSEPORT shares": "s = [server(SO_REUSEPORT=1) for _ in range(4)]; met = {who(s, FOUR, '127.0.0.1')[0] for _ in range(100)}; print(met == {0, 1, 2, 3})",
    "SO_REUSEPORT of one": "s = server(); print(says(SO_REUSEPORT=1)); s.close(); s = server(SO_REUSEPORT=1); print(says())",
    "IPv6 only beside IPv4": "s = [server(), server(SIX, '::1', IPV6_V6ONLY=1)]; print(who(s, FOUR, '127.0.0.1'), who(s, SIX, '::1'), who(s, SIX, '::ffff:127.0.0.1'))",
    "IPv6 only beside IPv4, everywhere": "s = [server(host=''), server(SIX, '::', IPV6_V6ONLY=1)]; print(who(s, FOUR, '127.0.0.1'), who(s, SIX, '::1'), [each.getsockname()[0] for each in s])",
    "IPv6 only is not met by IPv4": "s = [server(SIX, '::', IPV6_V6ONLY=1)]; print(who(s, SIX, '::1'), who(s, FOUR, '127.0.0.1'), who(s, SIX, '::ffff:127.0.0.1'))",
    "IPv6's loopback is not IPv4's": "s = [server(SIX, '::1')]; print(who(s, SIX, '::1'), who(s, FOUR, '127.0.0.1'), says(), says(SIX, '::1'))",
    "datagrams, taken": "s = server(kind=PLAIN); print(says(kind=PLAIN), says(kind=PLAIN, SO_REUSEADDR=1), says(kind=PLAIN, SO_REUSEPORT=1), says()); s.close(); print(says(kind=PLAIN))",
    "datagrams, SO_REUSEADDR of both": "s = server(kind=PLAIN, SO_REUSEADDR=1); print(says(kind=PLAIN, SO_REUSEADDR=1), says(kind=PLAIN), says(kind=PLAIN, SO_REUSEPORT=1))",
    "datagrams, SO_REUSEPORT of both": "s = server(kind=PLAIN, SO_REUSEPORT=1); print(says(kind=PLAIN, SO_REUSEPORT=1), says(kind=PLAIN), says(kind=PLAIN, SO_REUSEADDR=1))",
    "datagrams, IPv6 only beside IPv4": "s = [server(kind=PLAIN), server(SIX, '::1', PLAIN, IPV6_V6ONLY=1)]; print(hears(s, FOUR, '127.0.0.1'), hears(s, SIX, '::1'))",
}


APART = {
    "every address is one": ("s = server(host=''); print(says(host='127.0.0.3'), who([s], FOUR, '127.0.0.3'))", "EADDRINUSE (0, '127.0.0.3', True)\n", "there ECONNREFUSED\n"),
    "both families by one leave IPv6's": ("s = server(SIX, '::'); print(says(SIX, '::1'), says(SIX, '::', IPV6_V6ONLY=1))", "EADDRINUSE EADDRINUSE\n", "there there\n"),
    "IPv6 only is forgotten": ("s = server(SIX, '::', IPV6_V6ONLY=1); print(s.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY))", "1\n", "0\n"),
}
"""Script, what Linux says, and what is said where the loopback is a slice of the host's (docs/design.md, section 10)."""


def natively(script: str) -> str:
    done = subprocess.run(python(BEGIN + MORE + script, free_port()), capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    return done.stdout


def inside(box: Sandbox, script: str) -> str:
    done = box.run(python(BEGIN + MORE + script, free_port()), text=True, stderr=subprocess.STDOUT, timeout=60)
    return str(done.stdout)


@functools.cache
def on_linux() -> dict[str, str]:
    return {what: natively(script) for what, script in SAME.items()}


@ordinary
def test_as_on_linux(network: Network) -> None:
    with Sandbox(network=network) as box:
        assert {what: inside(box, script) for what, script in SAME.items()} == on_linux()


@ordinary
@pytest.mark.parametrize("walls", WALLS)
def test_with_these_walls(walls: str) -> None:
    chosen = ("SO_REUSEADDR of both", "SO_REUSEPORT of all", "SO_REUSEPORT shares", "IPv6 only beside IPv4")
    with standing(walls), Sandbox(network=NETWORKS["rules"]) as box:
        assert {what: inside(box, SAME[what]) for what in chosen} == {what: on_linux()[what] for what in chosen}


@ordinary
@pytest.mark.parametrize("what", APART)
def test_otherwise_than_on_linux(what: str, network: Network, own: bool) -> None:
    script, native, served = APART[what]
    assert natively(script) == native
    with Sandbox(network=network) as box:
        assert inside(box, script) == (native if own else served)
