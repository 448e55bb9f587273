"""A guest's resolver, which the Supervisor serves: streams that begin a question and never end it, streams that end at every
byte, and messages that are none, by both transports. Nobody is starved, nothing is raised, nothing is asked upstream."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from subprocess import PIPE
from typing import Any

import pytest

from sandbox import Allow
from tests.escape.attack import box, ordinary
from tests.test_internet_names import upstream
from tests.test_names_upstream import NameServer, server

__all__ = ["server", "upstream"]

ASK = """
import socket, sys
def ask(name, number=7, kind=1):
    labels = b"".join(bytes([len(label)]) + label for label in name.split(b"."))
    return number.to_bytes(2, "big") + b"\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0" + labels + b"\\0" + kind.to_bytes(2, "big") + b"\\0\\1"
def exactly(stream, size):
    got = b""
    while len(got) < size:
        more = stream.recv(size - len(got))
        if not more: raise EOFError
        got += more
    return got
def by_stream(query):
    for _ in range(100):  # whoever holds many streams ends ours now and then
        try:
            with socket.create_connection(("127.0.0.53", 53), timeout=30) as stream:
                stream.sendall(len(query).to_bytes(2, "big") + query)
                return exactly(stream, int.from_bytes(exactly(stream, 2), "big"))
        except (EOFError, ConnectionError): continue
def by_datagram(query):
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.settimeout(30)
        sock.sendto(query, ("127.0.0.53", 53))
        return sock.recv(9999)
"""
CLIENT = f"""{ASK}
for way in (by_stream, by_datagram):
    answer = way(ask(b"web.test"))
    print(answer[3] & 15, answer[-4:] == socket.inet_aton("127.0.0.1"))
"""
ANSWERED = "0 True\n" * 2
HELD = f"""{ASK}
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (800, 800))
query = ask(b"web.test")
framed, held = len(query).to_bytes(2, "big") + query, []
for number in range(600):
    stream = socket.socket()
    stream.settimeout(30)
    stream.connect(("127.0.0.53", 53))
    try: stream.sendall(framed[:number % len(framed)])
    except ConnectionError: pass
    held.append(stream)
print("held", flush=True)
sys.stdin.read(1)
"""
SLOW = f"""{ASK}
import threading
query = ask(b"web.test")
framed = len(query).to_bytes(2, "big") + query
def slowly():
    while not over:
        try:
            with socket.create_connection(("127.0.0.53", 53), timeout=30) as stream:
                for byte in framed: stream.sendall(bytes([byte]))
        except OSError: pass
over = []
threads = [threading.Thread(target=slowly) for _ in range(8)]
for thread in threads: thread.start()
print("held", flush=True)
sys.stdin.read(1)
over.append(1)
for thread in threads: thread.join()
"""
HOSTILE = f"""{ASK}
import random
random.seed(int(sys.argv[1]))
names = [b"web.test", b"other.test", b"secret.data.leaving.example", b"1.0.0.127.in-addr.arpa"]
odd = [b"", b"\\0", b"\\xff" * 12, b"\\0" * 12, b"\\0" * 1024, b"\\xc0\\x0c" * 300]
head = b"\\0\\7\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0"
odd += [head + b"\\xc0\\x0c\\0\\1\\0\\1", head + b"\\xc0\\xff\\0\\1\\0\\1", head + b"\\x3f" + b"x" * 70, head + b"\\1x" * 200 + b"\\0\\0\\1\\0\\1"]
odd += [head[:4] + bytes([0, many]) * 4 + ask(names[1])[12:] * 3 for many in (0, 2, 3, 255)]
odd += [ask(names[1])[:2] + flags + ask(names[1])[4:] for flags in (b"\\x80\\0", b"\\x28\\0", b"\\x79\\xff", b"\\0\\0")]
odd += [ask(name, kind=kind) for name in names[1:] for kind in (1, 28, 5, 12, 16, 33, 252, 255, 65535)]
odd += [ask(names[1]) + bytes(more) for more in (1, 7, 400)]
for _ in range(300):
    query = bytearray(ask(random.choice(names[1:])))
    for _ in range(random.randrange(4)): query[random.randrange(12, len(query))] = random.randrange(256)
    odd.append(bytes(query[:random.randrange(1, len(query) + 1)]))
with socket.socket(type=socket.SOCK_DGRAM) as sock:
    sock.setblocking(False)
    for message in odd: sock.sendto(message, ("127.0.0.53", 53))
for start in range(0, len(odd), 20):
    try:
        with socket.create_connection(("127.0.0.53", 53), timeout=30) as stream:
            for message in odd[start:start + 20]: stream.sendall(random.choice([len(message), len(message), 0, 65535]).to_bytes(2, "big") + message)
    except ConnectionError: pass
print("sent")
"""


def python(source: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", source, *arguments]


def rules() -> list[Any]:
    return [Allow("web.test:80", private=True)]


@ordinary
@pytest.mark.parametrize("attack", [HELD, SLOW], ids=["held", "slow"])
def test_nobody_is_starved(attack: str, upstream: NameServer) -> None:
    """Neither another guest nor the attacker's own other programs; the time-out ends a hang."""
    with box(network=rules()) as guest, box(network=rules()) as other:
        process = guest.popen(python(attack), stdin=PIPE, stdout=PIPE)
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        for made in (other, guest):
            done = made.run(python(CLIENT), text=True, timeout=100)
            assert done.stdout == ANSWERED, done
        process.communicate(b"\n")
    assert set(upstream.names) == {"web.test"}


def held_open() -> int:
    """Descriptors more that the Supervisor has while a guest holds its streams."""
    with box(network=rules()) as guest:
        before = len(os.listdir("/proc/self/fd"))
        process = guest.popen(python(HELD), stdin=PIPE, stdout=PIPE)
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        assert guest.run(python(CLIENT), text=True, timeout=100).stdout == ANSWERED  # all have been accepted
        more = len(os.listdir("/proc/self/fd")) - before
        process.communicate(b"\n")
    return more


@ordinary
@pytest.mark.parametrize("bound", [True, False])
def test_the_supervisor_holds_a_few(bound: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """INVARIANT bounded. Without the bound a guest takes as many descriptors of the Supervisor's as it has itself."""
    if not bound:
        monkeypatch.setattr("sandbox.services._resolving._STREAMS_MAX", 4096)
    more = held_open()
    assert more < 20 if bound else more > 400, more


@ordinary
def test_hostile_messages(upstream: NameServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """They carry nothing out and break nothing."""
    raised: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", raised.append)
    with box(network=rules()) as guest:
        for seed in range(5):
            assert guest.run(python(HOSTILE, str(seed)), text=True, timeout=100).stdout == "sent\n"
        assert guest.run(python(CLIENT), text=True, timeout=100).stdout == ANSWERED
    assert set(upstream.names) == {"web.test"} and raised == []


@ordinary
def test_the_upstream_itself_is_no_way_out(upstream: NameServer) -> None:
    """Nor is the server that the Supervisor asks, by its own address."""
    script = f"""{ASK}
there = "127.0.0.1", {upstream.address[1]}
socket.socket(type=socket.SOCK_DGRAM).sendto(ask(b"secret.example"), there)
try:
    with socket.create_connection(there, timeout=30) as stream: stream.sendall(b"\\0\\x20" + ask(b"secret.example"))
except OSError as error: print(error.errno)
"""
    with box(network=rules()) as guest:
        assert guest.run(python(script), text=True, timeout=100).stdout == "111\n"
    assert upstream.names == []
    upstream.zone.clear()
    subprocess.run(python(script), check=True, timeout=60)
    assert "secret.example" in upstream.names
