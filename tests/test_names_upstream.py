"""The resolver towards its servers: whom it believes, whom it asks next, what it asks once."""

from __future__ import annotations

import os
import queue
import selectors
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Optional, TypeVar, Union

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdata
import dns.rdatatype
import dns.rrset
import pytest

from sandbox import PolicyError
from sandbox._loop import Loop
from sandbox._network import Allow
from sandbox._rules import Rules
from sandbox.services.names import NameDecision, NameLimits, Resolver
from sandbox.services.names_messages import MOST_RECORDS
from sandbox.services.names_upstream import LARGEST_ANSWER, host_servers

T = TypeVar("T")
Said = Union[dns.message.Message, bytes, None]
LOOP = Loop("test-names")
PATIENT = NameLimits(timeout=30.0, rounds=1)
HASTY = NameLimits(timeout=0.1, rounds=1)


def on_loop(act: Callable[[], T]) -> T:
    """Do it on the loop's thread."""
    done: queue.SimpleQueue[tuple[Any, Optional[BaseException]]] = queue.SimpleQueue()

    def run() -> None:
        try:
            done.put((act(), None))
        except BaseException as error:
            done.put((None, error))

    LOOP.call_at(0.0, run)
    value, error = done.get(timeout=10)
    if error is not None:
        raise error
    return value


# ---- a name server ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """A question that came to the server."""

    query: dns.message.Message
    stream: bool
    peer: tuple[str, int]

    @property
    def name(self) -> str:
        return self.query.question[0].name.to_text(omit_final_dot=True)


class NameServer:
    """A name server on the loopback, by UDP and TCP. It says what `say` makes, or what it finds in its zone: lines of
    NAME TTL TYPE DATA, aliases followed as a recursive server does."""

    def __init__(self, *, tcp: bool = True) -> None:
        self.zone: list[dns.rrset.RRset] = []
        self.piece = 65536  # bytes written to a stream at once
        self.say: Callable[[Seen], Union[Said, Sequence[Said]]] = lambda seen: self.found(seen.query)
        self.seen: list[Seen] = []
        self.udp, self.tcp = _bound()
        if not tcp:
            self.tcp.close()
        self._woken, self._wake = os.pipe()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    @property
    def address(self) -> tuple[str, int]:
        return self.udp.getsockname()

    @property
    def names(self) -> list[str]:
        return [seen.name for seen in self.seen]

    def load(self, zone: str) -> None:
        for line in filter(None, map(str.strip, zone.splitlines())):
            name, ttl, rdtype, data = line.split(None, 3)
            record = dns.rdata.from_text("IN", rdtype, data, origin=dns.name.root, relativize=False)
            new = dns.rrset.from_rdata(name + ".", int(ttl), record)
            old = [rrset for rrset in self.zone if rrset.match(new.name, new.rdclass, new.rdtype, new.covers)]
            self.zone.append(new)
            if old:
                self.zone.remove(new)
                old[0].update(new)

    def found(self, query: dns.message.Message) -> dns.message.Message:
        answer = dns.message.make_response(query, recursion_available=True)
        name, rdtype = query.question[0].name, query.question[0].rdtype
        while True:
            here = [rrset for rrset in self.zone if rrset.name == name]
            answer.answer += [rrset for rrset in here if rrset.rdtype == rdtype]
            alias = [rrset for rrset in here if rrset.rdtype == dns.rdatatype.CNAME != rdtype]
            if not alias:
                answer.set_rcode(dns.rcode.NOERROR if here else dns.rcode.NXDOMAIN)
                return answer
            answer.answer += alias
            name = alias[0][0].target

    def close(self) -> None:
        os.write(self._wake, b"x")
        self._thread.join()
        for fd in (self._woken, self._wake):
            os.close(fd)
        self.udp.close()
        self.tcp.close()

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            for source in (self.udp, self._woken, *([self.tcp] if self.tcp.fileno() >= 0 else [])):
                selector.register(source, selectors.EVENT_READ)
            while True:
                ready = [key.fileobj for key, _ in selector.select()]
                if self._woken in ready:
                    return
                if self.udp in ready:
                    self._datagram()
                if self.tcp in ready:
                    self._stream()

    def _datagram(self) -> None:
        wire, peer = self.udp.recvfrom(65535)
        for said in self._said(wire, False, peer):
            self.udp.sendto(said, peer)

    def _stream(self) -> None:
        connection, peer = self.tcp.accept()
        with connection, suppress(OSError):
            connection.settimeout(20)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            length = int.from_bytes(connection.recv(2, socket.MSG_WAITALL), "big")
            for said in self._said(connection.recv(length, socket.MSG_WAITALL), True, peer):
                framed = len(said).to_bytes(2, "big") + said
                for at in range(0, len(framed), self.piece):
                    connection.sendall(framed[at : at + self.piece])

    def _said(self, wire: bytes, stream: bool, peer: tuple[str, int]) -> Iterator[bytes]:
        seen = Seen(dns.message.from_wire(wire), stream, peer)
        self.seen.append(seen)
        said = self.say(seen)
        for each in said if isinstance(said, (list, tuple)) else [said]:
            if isinstance(each, dns.message.Message):
                yield each.to_wire(max_size=65535 if stream else each.request_payload or 512, prefer_truncation=True)
            elif each is not None:
                yield each


def _bound() -> tuple[socket.socket, socket.socket]:
    while True:
        tcp = socket.create_server(("127.0.0.1", 0))
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            udp.bind(tcp.getsockname())
            return udp, tcp
        except OSError:
            udp.close()
            tcp.close()


@pytest.fixture(autouse=True)
def no_child_is_left() -> None:
    """Nothing here starts a process, and to look for one takes longer than most of these tests."""


@pytest.fixture
def server() -> Iterator[NameServer]:
    made = NameServer()
    yield made
    made.close()


@pytest.fixture
def second() -> Iterator[NameServer]:
    made = NameServer()
    yield made
    made.close()


# ---- a guest ------------------------------------------------------------------------------------------------------


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Guest:
    """A guest's side: a resolver under rules that the test may change, and a clock that it moves."""

    def __init__(self, network: Any, *servers: NameServer, limits: NameLimits = PATIENT) -> None:
        self.rules = Rules.compile(network)
        self.clock = Clock()
        self.decisions: list[NameDecision] = []
        self.resolver = Resolver(
            LOOP,
            lambda: self.rules,
            upstream=[server.address for server in servers],
            limits=limits,
            on_decision=self.decisions.append,
            clock=self.clock,
        )

    def send(self, query: Union[dns.message.Message, bytes], *, stream: bool = False) -> queue.SimpleQueue[bytes]:
        """Ask; the replies come into the queue."""
        replies: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        wire = query if isinstance(query, bytes) else query.to_wire()
        on_loop(lambda: self.resolver.ask(wire, replies.put, stream=stream))
        return replies

    def ask(self, name: str, rdtype: str = "A", *, stream: bool = False, **edns: Any) -> dns.message.Message:
        query = dns.message.make_query(name, rdtype, **edns)
        reply = dns.message.from_wire(self.send(query, stream=stream).get(timeout=10))
        assert query.is_response(reply)
        return reply

    def names_of(self, address: str) -> list[str]:
        return on_loop(lambda: self.resolver.names_of(ip_address(address)))


def texts(reply: dns.message.Message) -> list[str]:
    """Records of an answer: NAME TTL IN TYPE DATA."""
    return sorted(line for rrset in reply.answer for line in rrset.to_text().splitlines())


def code(reply: dns.message.Message) -> str:
    return dns.rcode.to_text(reply.rcode())


ANY = [Allow("*")]
ZONE = "a.com 300 A 93.184.216.34"
TOLD = ["a.com. 300 IN A 93.184.216.34"]

# ---- what is asked ------------------------------------------------------------------------------------------------


def test_a_question_is_made_anew(server: NameServer) -> None:
    """Upstream sees the name in lower case, a number and a port of their own, EDNS without options, no flag but RD."""
    server.load(ZONE)
    guest = Guest(ANY, server)
    option = dns.edns.GenericOption(65001, b"carried out")
    queries = [dns.message.make_query("A.cOm", "A", use_edns=0, options=[option]) for _ in range(8)]
    for query in queries:
        query.flags |= dns.flags.CD | dns.flags.AD
        reply = dns.message.from_wire(guest.send(query).get(timeout=10))
        assert reply.question[0].name.to_text() == "A.cOm." and reply.options == () and reply.edns == 0
        guest.clock.now += 300
    assert len(server.seen) == 8
    assert len({seen.peer[1] for seen in server.seen}) > 4
    assert len({seen.query.id for seen in server.seen}) > 4
    assert {seen.query.id for seen in server.seen} != {query.id for query in queries}
    for seen in server.seen:
        assert seen.query.question[0].name.to_text() == "a.com."
        assert seen.query.options == () and seen.query.edns == 0 and seen.query.flags == dns.flags.RD


def test_the_same_question_is_asked_once(server: NameServer) -> None:
    """Whoever asks what is asked already waits with the first, and each gets an answer to its own question."""
    server.load(ZONE)
    hold = threading.Event()
    server.say = lambda seen: server.found(seen.query) if hold.wait(20) else None
    guest = Guest(ANY, server)
    queries = [dns.message.make_query(name, "A") for name in ("a.com", "A.com", "a.COM")]
    replies = [guest.send(query) for query in queries]
    hold.set()
    for query, reply in zip(queries, replies):
        answer = dns.message.from_wire(reply.get(timeout=10))
        assert query.is_response(answer) and answer.question[0].name.labels == query.question[0].name.labels
        assert len(answer.answer) == 1
    assert len(server.seen) == 1


@pytest.mark.parametrize("error", [ZeroDivisionError, BrokenPipeError, BlockingIOError])
def test_a_reply_that_fails_is_its_own(
    server: NameServer, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    """The others who wait for the same answer get it."""
    failed: queue.SimpleQueue[Any] = queue.SimpleQueue()
    monkeypatch.setattr(threading, "excepthook", failed.put)
    hold = threading.Event()
    server.say = lambda seen: server.found(seen.query) if hold.wait(20) else None
    guest = Guest(ANY, server)
    wire = dns.message.make_query("a.com", "A").to_wire()

    def fails(_: bytes) -> None:
        raise error

    on_loop(lambda: guest.resolver.ask(wire, fails, stream=False))
    reply = guest.send(wire)
    hold.set()
    assert reply.get(timeout=10)
    assert failed.get(timeout=10).exc_type is error
    assert code(guest.ask("b.com")) == "NXDOMAIN" and server.names == ["a.com", "b.com"] and failed.empty()


def test_so_many_in_flight(server: NameServer) -> None:
    """64 questions wait at once without holding up anything; the next fails at once; an answer makes room."""
    server.load("\n".join(f"h{i}.com 300 A 93.184.216.{i}" for i in range(66)))
    hold = threading.Event()
    server.say = lambda seen: server.found(seen.query) if hold.wait(20) else None
    guest = Guest(ANY, server)
    waiting = [guest.send(dns.message.make_query(f"h{i}.com", "A")) for i in range(64)]
    assert code(guest.ask("h64.com")) == "SERVFAIL"
    assert guest.decisions[-1] == ("h64.com", "A", False, "limit: in flight", "")
    assert all(reply.empty() for reply in waiting)
    hold.set()
    assert {code(dns.message.from_wire(reply.get(timeout=10))) for reply in waiting} == {"NOERROR"}
    assert code(guest.ask("h65.com")) == "NOERROR"
    assert "h64.com" not in server.names and len(server.names) == 65


def test_closed(server: NameServer) -> None:
    """What is in flight is forgotten, its sockets are closed, and nothing is answered any more."""
    server.say = lambda seen: None
    guest = Guest(ANY, server)
    before = _sockets()
    replies = [guest.send(dns.message.make_query(f"h{i}.com", "A")) for i in range(8)]
    assert len(_sockets() - before) == 8
    on_loop(guest.resolver.close)
    assert _sockets() <= before
    replies.append(guest.send(dns.message.make_query("localhost", "A")))
    assert all(reply.empty() for reply in replies)


def _sockets() -> set[str]:
    links = set()
    for fd in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            links.add(os.readlink(f"/proc/self/fd/{fd}"))
    return {link for link in links if link.startswith("socket:")}


# ---- who is believed ----------------------------------------------------------------------------------------------


def _forged(seen: Seen) -> dns.message.Message:
    answer = dns.message.make_response(seen.query)
    answer.answer = [dns.rrset.from_text(seen.query.question[0].name, 300, "IN", "A", "6.6.6.6")]
    return answer


def _other_question(seen: Seen) -> dns.message.Message:
    answer = _forged(seen)
    answer.question = [dns.rrset.from_text("b.com.", 0, "IN", "A")]
    return answer


def _other_type(seen: Seen) -> dns.message.Message:
    answer = _forged(seen)
    answer.question = [dns.rrset.from_text("a.com.", 0, "IN", "AAAA")]
    return answer


def _more_questions(seen: Seen) -> dns.message.Message:
    answer = _forged(seen)
    answer.question = [*answer.question, dns.rrset.from_text("b.com.", 0, "IN", "A")]
    return answer


def _other_opcode(seen: Seen) -> dns.message.Message:
    answer = _forged(seen)
    answer.set_opcode(dns.opcode.STATUS)
    return answer


def _a_query(seen: Seen) -> dns.message.Message:
    answer = _forged(seen)
    answer.flags &= ~dns.flags.QR
    return answer


def _other_id(seen: Seen) -> list[dns.message.Message]:
    forged = [_forged(seen) for _ in range(20)]
    for i, each in enumerate(forged):
        each.id = (seen.query.id + 1 + i) % 65536
    return forged


FORGERIES: dict[str, Callable[[Seen], Any]] = {
    "number": _other_id,
    "question": _other_question,
    "type": _other_type,
    "questions": _more_questions,
    "opcode": _other_opcode,
    "query": _a_query,
    "no question": lambda seen: b"".join([_forged(seen).to_wire()[:4], bytes(8)]),
    "short": lambda seen: _forged(seen).to_wire()[:11],
    "empty": lambda seen: b"",
    "garbage": lambda seen: b"\xff" * 600,
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_forged_answers_are_not_heard(server: NameServer, forgery: str) -> None:
    """An answer that is not to this very question changes nothing; the true one that follows is told."""
    server.load(ZONE)

    def say(seen: Seen) -> list[Said]:
        forged = FORGERIES[forgery](seen)
        return [*(forged if isinstance(forged, list) else [forged]), server.found(seen.query)]

    server.say = say
    guest = Guest(ANY, server)
    assert texts(guest.ask("a.com")) == TOLD
    assert guest.names_of("6.6.6.6") == [] and len(server.seen) == 1


def test_answers_from_another_address_are_not_heard(server: NameServer) -> None:
    """Number, question and port are right, but it is not the server's socket that sends."""
    server.load(ZONE)

    def say(seen: Seen) -> Said:
        for host in ("127.0.0.1", "127.0.0.2"):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                other.bind((host, 0))
                other.sendto(_forged(seen).to_wire(), seen.peer)
        return server.found(seen.query)

    server.say = say
    assert texts(Guest(ANY, server).ask("a.com")) == TOLD


def test_only_what_answers_is_told(server: NameServer) -> None:
    """Records of other names and types, and the other sections, do not reach the guest."""

    def say(seen: Seen) -> Said:
        answer = server.found(seen.query)
        extra = dns.rrset.from_text("victim.com.", 300, "IN", "A", "6.6.6.6")
        answer.answer = [extra, *answer.answer, dns.rrset.from_text("a.com.", 300, "IN", "TXT", '"x"')]
        answer.authority = [dns.rrset.from_text("com.", 300, "IN", "NS", "ns.com.")]
        answer.additional = [dns.rrset.from_text("ns.com.", 300, "IN", "A", "6.6.6.6")]
        return answer

    server.load(ZONE)
    server.say = say
    guest = Guest(ANY, server)
    reply = guest.ask("a.com")
    assert texts(reply) == TOLD and not reply.authority and not reply.additional
    assert guest.names_of("6.6.6.6") == []
    assert texts(guest.ask("victim.com")) == [] and server.names == ["a.com", "victim.com"]


# ---- who is asked next --------------------------------------------------------------------------------------------

BROKEN: dict[str, Callable[[Seen], Said]] = {
    "silent": lambda seen: None,
    "servfail": lambda seen: _failing(seen, dns.rcode.SERVFAIL),
    "refused": lambda seen: _failing(seen, dns.rcode.REFUSED),
    "formerr": lambda seen: _failing(seen, dns.rcode.FORMERR),
    "cut in a record": lambda seen: _forged(seen).to_wire()[:-1],
}


def _failing(seen: Seen, rcode: dns.rcode.Rcode) -> Said:
    answer = dns.message.make_response(seen.query)
    answer.set_rcode(rcode)
    return answer


@pytest.mark.parametrize("broken", BROKEN)
def test_the_next_server_is_asked(server: NameServer, second: NameServer, broken: str) -> None:
    """A server that says nothing, or nothing of use, is followed by the next; it is still asked first."""
    server.say = BROKEN[broken]
    second.load(ZONE)
    assert texts(Guest(ANY, server, second, limits=HASTY).ask("a.com")) == TOLD
    assert server.names and second.names == ["a.com"]


def test_a_server_that_is_not_there(second: NameServer) -> None:
    """A port where nobody listens is followed by the next server before any time is up."""
    second.load(ZONE)
    guest = Guest(ANY, second)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
        unused.bind(("127.0.0.1", 0))
        nobody = unused.getsockname()
    servers = [nobody, ("255.255.255.255", 53), second.address]
    guest.resolver = Resolver(LOOP, lambda: guest.rules, upstream=servers, limits=PATIENT)
    assert texts(guest.ask("a.com")) == TOLD


def test_nobody_answers(server: NameServer, second: NameServer) -> None:
    """Every server is asked in every round, then it is SERVFAIL; nothing is remembered."""
    server.say = second.say = lambda seen: None
    guest = Guest(ANY, server, second, limits=replace(HASTY, rounds=2))
    assert code(guest.ask("a.com")) == "SERVFAIL"
    assert server.names == second.names == ["a.com", "a.com"]
    assert len({seen.query.id for seen in server.seen + second.seen}) > 1
    assert code(Guest(ANY).ask("a.com")) == "SERVFAIL"


def test_a_server_without_edns(server: NameServer) -> None:
    """Who does not understand EDNS is asked without."""
    server.load(ZONE)
    server.say = lambda seen: _failing(seen, dns.rcode.NOTIMP) if seen.query.edns >= 0 else server.found(seen.query)
    assert texts(Guest(ANY, server).ask("a.com")) == TOLD
    assert [seen.query.edns for seen in server.seen] == [0, -1]


# ---- TCP ----------------------------------------------------------------------------------------------------------


def test_a_cut_answer_is_asked_for_by_tcp(server: NameServer) -> None:
    """TC makes it ask the same server again, by TCP and with another number, whatever the datagram held."""
    server.load("\n".join(f"a.com 300 TXT {'x' * 200}{i}" for i in range(20)))
    reply = Guest(ANY, server).ask("a.com", "TXT", stream=True)
    assert len(texts(reply)) == 20
    assert [seen.stream for seen in server.seen] == [False, True]


def _cut(seen: Seen) -> Said:
    answer = dns.message.make_response(seen.query)
    answer.flags |= dns.flags.TC
    return answer


def _padded(seen: Seen, size: int) -> Said:
    """A right answer, and records beside it until it is at least so long."""
    answer = _forged(seen)
    while len(answer.to_wire(max_size=65535)) < size:
        name = f"x{len(answer.additional)}.com."
        answer.additional.append(dns.rrset.from_text(name, 0, "IN", "TXT", *(["x" * 250] * 8)))
    return answer


def _flood(query: dns.message.Message, count: int) -> bytes:
    """A right answer with so many records of the shortest form; the question is one more."""
    answer = dns.message.make_response(query)
    answer.use_edns(-1)
    wire = bytearray(answer.to_wire() + b"\xc0\x0c\0\x10\0\1\0\0\0\0\0\1\0" * count)
    wire[6:8] = count.to_bytes(2, "big")
    return bytes(wire)


WRONG_STREAMS: dict[str, Callable[[Seen], Said]] = {
    "closes": lambda seen: None,
    "cut again": _cut,
    "wrong question": _other_question,
    "too long": lambda seen: _padded(seen, LARGEST_ANSWER + 1),
    "too many records": lambda seen: _flood(seen.query, MOST_RECORDS),
    "nothing in it": lambda seen: b"",
}


@pytest.mark.parametrize("wrong", WRONG_STREAMS)
def test_tcp_that_goes_wrong(server: NameServer, second: NameServer, wrong: str) -> None:
    """The next server is asked, by UDP."""
    server.say = lambda seen: WRONG_STREAMS[wrong](seen) if seen.stream else _cut(seen)
    second.load(ZONE)
    assert texts(Guest(ANY, server, second).ask("a.com")) == TOLD


def test_tcp_that_nobody_accepts(second: NameServer) -> None:
    """A server without TCP is followed by the next."""
    second.load(ZONE)
    lone = NameServer(tcp=False)
    lone.say = _cut
    assert texts(Guest(ANY, lone, second).ask("a.com")) == TOLD
    lone.close()


@pytest.mark.parametrize("right", [lambda seen: _padded(seen, 6000), lambda seen: _flood(seen.query, MOST_RECORDS - 1)])
def test_tcp_within_its_bounds(server: NameServer, right: Callable[[Seen], Said]) -> None:
    """An answer that is shorter is read."""
    server.say = lambda seen: right(seen) if seen.stream else _cut(seen)
    assert code(Guest(ANY, server).ask("a.com")) == "NOERROR"


def test_an_answer_in_pieces(server: NameServer) -> None:
    """A stream may bring an answer byte by byte."""
    server.load(ZONE)
    server.say = lambda seen: server.found(seen.query) if seen.stream else _cut(seen)
    server.piece = 1
    assert texts(Guest(ANY, server).ask("a.com")) == TOLD


# ---- which servers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "servers"),
    [
        ("nameserver 10.0.0.1\nnameserver ::1\nsearch a.com\noptions edns0\n", [("10.0.0.1", 53), ("::1", 53)]),
        ("# nothing\n", [("127.0.0.1", 53)]),
        ("nameserver fe80::1%gone\nnameserver 10.0.0.1\n", [("10.0.0.1", 53)]),
        ("nameserver no-address\n", [("127.0.0.1", 53)]),
        (None, [("127.0.0.1", 53)]),
    ],
)
def test_servers_of_the_host(tmp_path: Path, text: Optional[str], servers: list[tuple[str, int]]) -> None:
    """Without `upstream` it is who the host asks, from resolv.conf(5)."""
    path = tmp_path / "resolv.conf"
    if text is not None:
        path.write_text(text)
    assert host_servers(str(path)) == servers
    assert Resolver(LOOP, Rules, upstream=None)


@pytest.mark.parametrize("server", [("dns.example", 53), ("", 53), (None, 53), ("::1", 0), ("10.0.0.1", 65536)])
def test_servers_are_numeric(server: Any) -> None:
    """To look up a server's name would wait, and for whom?"""
    with pytest.raises(PolicyError, match="name server"):
        Resolver(LOOP, Rules, upstream=[server])
