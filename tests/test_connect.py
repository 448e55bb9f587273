"""A connect behaves as on Linux, whichever way it goes: to a service of the host's by itself, relayed where bytes are limited, or
to a server of the guest's own."""

from __future__ import annotations

import functools
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address
from typing import Any

import pytest

from sandbox import Allow, Limits, Sandbox
from sandbox.services._ingress import attach
from tests.escape.attack import WALLS, ordinary, standing
from tests.helpers import program
from tests.test_internet import python
from tests.test_live_network import serving
from tests.test_publish import knocked

COUNTED = Limits(bytes_sent=1 << 40)
BEGIN = """
import errno, hashlib, os, select, socket, struct, sys, threading
port = int(sys.argv[1]); there = ("127.0.0.1", port)
def name(error): return errno.errorcode.get(error, error)
def error_of(s): return name(s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
def attempt(call, *args):
    try: return call(*args)
    except OSError as e: return name(e.errno) if e.errno else str(e)
RESET = struct.pack("ii", 1, 0)
"""


@pytest.fixture(scope="module")
def tcp() -> Iterator[int]:
    with serving(lambda peer: peer.sendall(b"hello")) as port:
        yield port


def natively(script: str, *args: object) -> str:
    done = subprocess.run(python(BEGIN + script, *args), capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    return done.stdout


SAME = {
    "a connection": "s = socket.create_connection(there); print(s.getpeername() == there, s.getsockname()[0], s.recv(9), s.recv(9))",
    "connected already": "s = socket.create_connection(there); print(attempt(s.connect, there), s.recv(9))",
    "through IPv6": "s = socket.socket(socket.AF_INET6); s.connect(('::ffff:127.0.0.1', port)); print(s.getpeername()[:2] == ('::ffff:127.0.0.1', port), s.recv(9))",
    "refused": "s = socket.socket(); print(attempt(s.connect, ('127.0.0.1', 1)), attempt(s.connect, there), s.recv(9))",
    "no way there": "s = socket.socket(); print(attempt(s.connect, ('255.255.255.255', port)))",
    "bound before": "s = socket.socket(); s.bind(('127.0.0.1', 0)); a = s.getsockname(); s.connect(there); print(a[0], s.recv(9))",
    "begun without waiting": "s = socket.socket(); s.setblocking(False); print(name(s.connect_ex(there))); select.select([], [s], [], 10); print(error_of(s), name(s.connect_ex(there)), name(s.connect_ex(there))); s.settimeout(10); print(s.recv(9))",
    "watched before": "s = socket.socket(); s.setblocking(False); e = select.epoll(); e.register(s, select.EPOLLOUT); e.poll(0); s.connect_ex(there); print(e.poll(10)[0][1], s.getpeername() == there)",
    "parted and connected anew": "import ctypes\ns = socket.create_connection(there); print(ctypes.CDLL(None).connect(s.fileno(), bytes(16), 16)); s.connect(there); print(s.getpeername() == there, s.recv(9))",
    "closed while it talks": "for _ in range(20): socket.create_connection(there).close()\nprint('done')",
    "a copy": "s = socket.create_connection(there); t = s.dup(); s.close(); print(t.recv(9)); t.close()",
    "a child": "s = socket.create_connection(there)\nif os.fork() == 0: print(s.recv(9), flush=True); os._exit(0)\ns.close(); print(os.wait()[1])",
    "many at once": "made = [socket.create_connection(there) for _ in range(40)]; print([s.recv(9) for s in made])",
    "copied before": "s = socket.socket(); t = s.dup(); s.connect(there); s.close(); print(t.getpeername() == there, t.recv(9), t.recv(9))",
    "connected by a copy": "s = socket.socket(); t = s.dup(); t.connect(there); t.close(); print(s.getpeername() == there, s.recv(9), s.recv(9))",
    "begun by a copy": "s = socket.socket(); s.setblocking(False); t = s.dup(); t.connect_ex(there); t.close(); select.select([], [s], [], 10); print(error_of(s), name(s.connect_ex(there)) in (0, 'EISCONN')); s.settimeout(10); print(s.recv(9))",
    "forked before": "s = socket.socket(); r, w = os.pipe()\nif os.fork() == 0: os.read(r, 1); print(s.getpeername() == there, s.recv(9), flush=True); os._exit(0)\ns.connect(there); os.write(w, b'x'); print(os.wait()[1], s.recv(9))",
    "connected by a child": "s = socket.socket()\nif os.fork() == 0: s.connect(there); os._exit(0)\nprint(os.wait()[1], s.getpeername() == there, s.recv(9), s.recv(9))",
    "watched through a copy": "s = socket.socket(); s.setblocking(False); t = s.dup(); e = select.epoll(); e.register(t, select.EPOLLOUT); e.poll(0); s.connect_ex(there); print(e.poll(10)[0] == (t.fileno(), 4), t.getpeername() == there)",
    "watched by a child": "s = socket.socket(); e = select.epoll(); e.register(s, select.EPOLLIN | select.EPOLLET); e.poll(0)\nif os.fork() == 0: print(e.poll(10)[0][1] & 1, s.recv(9), flush=True); os._exit(0)\nif s.connect(there) is None: print(os.wait()[1])",
    "watched as Go does": "s = socket.socket(); s.setblocking(False); e = select.epoll(); e.register(s, select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET); print(e.poll(0)[0][1]); s.connect_ex(there); print(e.poll(10)[0][1] & ~(select.EPOLLIN | select.EPOLLRDHUP), error_of(s), s.getpeername() == there)",
    "refused to who watches": "s = socket.socket(); s.setblocking(False); e = select.epoll(); e.register(s, select.EPOLLOUT); e.poll(0); print(name(s.connect_ex(('127.0.0.1', 1))) in ('EINPROGRESS', 'ECONNREFUSED'), e.poll(10)[0][1] & ~select.EPOLLERR, attempt(s.getpeername))",
    "port 0": "s = socket.socket(); print(attempt(s.connect, ('127.0.0.1', 0)), attempt(s.connect, there), s.recv(9), attempt(socket.socket(socket.AF_INET6).connect, ('::1', 0)))",
    "port 0 of datagrams": "for family, host in ((socket.AF_INET, '127.0.0.1'), (socket.AF_INET6, '::1')):\n for act in ('connect', 'sendto'): s = socket.socket(family, socket.SOCK_DGRAM); print(attempt(s.connect, (host, 0)) if act == 'connect' else attempt(s.sendto, b'x', (host, 0)))",
}
WAYS: dict[str, tuple[Any, bool, bool]] = {
    "served": ("host", False, False),
    "relayed": ("host", True, False),
    "own, served": ([Allow("255.255.255.255")], False, True),
    "own, relayed": ([Allow("255.255.255.255")], True, True),
    "own namespace": ("loopback", False, True),
}
"""The network, whether bytes are limited, and whether the service is the guest's own."""
every_way = pytest.mark.parametrize("way", WAYS)
SERVICE = """
import socket
server = socket.create_server(("127.0.0.1", 0), backlog=64)
print(server.getsockname()[1], flush=True)
while True:
    with server.accept()[0] as peer:
        try: peer.sendall(b"hello")
        except OSError: pass
"""


@contextmanager
def reaching(way: str, port: int) -> Iterator[tuple[Sandbox, int]]:
    """A guest, and the port of the service that it reaches this way; `port` is the host's."""
    network, counted, own = WAYS[way]
    with Sandbox(network=network, limits=COUNTED if counted else None) as box:
        if not own:
            yield box, port
            return
        server = box.popen(python(SERVICE), stdout=-1)
        assert server.stdout is not None
        try:
            yield box, int(server.stdout.readline())
        finally:
            server.kill()
            server.communicate()


def said(box: Sandbox, script: str, *args: object) -> str:
    done = box.run(python(BEGIN + script, *args), text=True, stderr=subprocess.STDOUT, timeout=60)
    return str(done.stdout)


@functools.cache
def on_linux(port: int) -> dict[str, str]:
    return {what: natively(script, port) for what, script in SAME.items()}


@ordinary
@every_way
def test_as_on_linux(tcp: int, way: str) -> None:
    with reaching(way, tcp) as (box, port):
        assert {what: said(box, script, port) for what, script in SAME.items()} == on_linux(tcp)


@ordinary
@pytest.mark.parametrize("walls", WALLS)
@pytest.mark.parametrize("way", ["served", "own, served"])
def test_with_these_walls(tcp: int, way: str, walls: str) -> None:
    chosen = ("bound before", "connected by a child", "watched through a copy", "watched as Go does")
    with standing(walls), reaching(way, tcp) as (box, port):
        assert {what: said(box, SAME[what], port) for what in chosen} == {what: on_linux(tcp)[what] for what in chosen}


LATE = "late = ('127.0.0.1', int(sys.argv[2])); s = socket.socket(); print(attempt(s.connect, late), attempt(s.connect, there), s.recv(9), flush=True)"


@contextmanager
def refusing_late() -> Iterator[int]:
    """A port whose listener has no room, and is closed when somebody knocks: the kernel knocks again, and is refused."""
    with socket.socket() as listener, ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        while True:
            filler = stack.enter_context(socket.socket())
            filler.settimeout(0.2)
            if filler.connect_ex(("127.0.0.1", port)):
                filler.close()
                break

        def close() -> None:
            knocked(port)
            listener.close()

        closer = threading.Thread(target=close)
        closer.start()
        yield port
        closer.join()


@ordinary
@pytest.mark.parametrize("way", ["served", "relayed"])
def test_refused_late(tcp: int, way: str) -> None:
    """A connect that has waited for its refusal is over: the next begins anew."""
    with refusing_late() as late:
        expected = natively(LATE, tcp, late)
    assert expected == "ECONNREFUSED None b'hello'\n"
    with reaching(way, tcp) as (box, port), refusing_late() as late:
        assert said(box, LATE, port, late) == expected


LISTENER = """
s = socket.socket()
s.bind(("127.0.0.1", 0))
if sys.argv[2] == "after": print(attempt(s.connect, ("127.0.0.1", 1)), end=" ")
s.listen()
if sys.argv[2] == "before": print(attempt(s.connect, there), end=" ")
print(s.getsockname()[1], flush=True)
sys.stdin.read()
"""


def met(address: str, port: int) -> bool:
    """Does the kernel connect a stranger, whatever becomes of it?"""
    with socket.socket() as stranger:
        stranger.settimeout(0.5)
        return stranger.connect_ex((address, port)) == 0


@ordinary
@pytest.mark.parametrize("when", ["before", "after"])
def test_who_listens_hears_nobody_it_would_connect_to(tcp: int, when: str) -> None:
    """A socket hears the service that it connects to, and nobody of that address where it listens: as far as the kernel lets the
    caller say so (the sentry closes whoever comes)."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        attach(server, 127 << 24 | 200 << 16, ())
        filters = not met(*server.getsockname())
    with Sandbox(network="host") as box:
        process = box.popen(python(BEGIN + LISTENER, tcp, when), stdin=-1, stdout=-1, text=True)
        assert process.stdout is not None
        error, port = process.stdout.readline().split()
        assert error == ("EISCONN" if when == "before" else "ECONNREFUSED")
        assert met(str(IPv4Address(box._guest.parts.net.slice.base + 1)), int(port)) != filters  # type: ignore[union-attr]
        process.communicate("")


FAST_OPEN = """
s = socket.socket()
for flag in (socket.MSG_FASTOPEN, 0):
    try:
        print(s.sendto(b"", flag, there) if flag else (s.connect(there), s.send(b""))[1])
        break
    except OSError as e: print(name(e.errno))
print(s.getpeername() == there, s.recv(9))
"""


@ordinary
@every_way
def test_who_would_open_fast_connects(tcp: int, way: str) -> None:
    """Linux does both at once; who is told that it may not falls back, and is connected."""
    assert natively(FAST_OPEN, tcp) == "0\nTrue b'hello'\n"
    with reaching(way, tcp) as (box, port):
        assert said(box, FAST_OPEN, port) == "ENOTSUP\n0\nTrue b'hello'\n"  # Linux has one number for this and EOPNOTSUPP


@ordinary
@pytest.mark.parametrize("way", ["served", "relayed"])
def test_curl_that_would_open_fast(way: str) -> None:
    """By an option of its socket, which there is not."""
    command = [program("curl"), "-sS", "--tcp-fastopen"]

    def talk(peer: socket.socket) -> None:
        peer.recv(999)
        peer.sendall(b"HTTP/1.0 200 OK\r\n\r\nhello")

    with serving(talk) as port, reaching(way, port) as (box, _):
        done = box.run([*command, f"http://127.0.0.1:{port}/"], text=True, timeout=60)
    assert done.stdout == "hello", done
