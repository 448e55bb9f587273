"""Messages of a guest to its resolver, and of a name server that answers whatever it likes. What must hold: one reply or none,
which can be read; nothing is asked for that no rule allows; no address of the host's or of a metadata service is told."""

from __future__ import annotations

import struct
from ipaddress import ip_address

import dns.flags
import dns.message
import dns.name
import dns.rdata
import dns.rdatatype
import dns.rrset
from drive import Input, instrumented, run

with instrumented():
    from sandbox import Allow, Deny, Hosts
    from sandbox._loop import Timer
    from sandbox._rules import Rules
    from sandbox.services import names_upstream
    from sandbox.services.names import Resolver

RULES = Rules.compile([Allow("one.test"), Allow("*.open.test"), Deny("closed.open.test"), Deny("203.0.113.0/24"), Hosts({"db.internal": "10.0.0.5"})])
NAMES = ["one.test", "x.open.test", "closed.open.test", "no.test", "db.internal", "localhost", "1.0.0.127.in-addr.arpa", "."]
TYPES = [1, 28, 5, 12, 16, 255]
OWN = {"db.internal", "localhost"}
names_upstream._Exchange.start = lambda _: None  # type: ignore[method-assign]


class Idle:
    """A loop in which nothing comes by itself."""

    def call_at(self, when: float, callback: object) -> Timer:
        return Timer(when, lambda: None)

    def forget(self, fd: int) -> None:
        pass


def name(data: Input) -> str:
    return NAMES[data.number() % len(NAMES)]


def question(data: Input, mode: int) -> bytes:
    if mode & 1:
        return data.rest() if mode & 2 else data.take(data.number())
    asked = dns.message.make_query(name(data), TYPES[data.number() % len(TYPES)], use_edns=0 if mode & 4 else None)
    return asked.to_wire()


def answer(data: Input, query: dns.message.Message) -> bytes:
    """Any bytes, the head of a real answer before any, or one of records that mean something."""
    kind = data.number() % 3
    if kind == 0:
        return data.take(data.number(2) % 600)
    said = dns.message.make_response(query)
    if kind == 1:
        return struct.pack("!H", query.id) + said.to_wire()[2:] + data.take(data.number())
    owner = query.question[0].name
    for _ in range(data.number() % 6):
        type_ = TYPES[data.number() % 3]
        if type_ == 5:
            target = dns.name.from_text(name(data))
            said.answer.append(dns.rrset.from_text(owner, data.number(), "IN", "CNAME", target.to_text()))
            owner = target
        else:
            address = str(ip_address(data.take(4 if type_ == 1 else 16).ljust(4 if type_ == 1 else 16, b"\0")))
            said.answer.append(dns.rrset.from_text(owner, data.number(), "IN", type_, address))
    said.flags |= data.number(2) & dns.flags.TC
    said.set_rcode(data.number() % 6)  # type: ignore[arg-type]
    return said.to_wire(max_size=65535)


def check(wire: bytes) -> None:
    told = dns.message.from_wire(wire)
    assert told.flags & dns.flags.QR
    if not told.question or dns.name.Name.to_text(told.question[0].name, True).lower() in OWN:
        return
    for each in told.answer:
        for record in each if each.rdtype in (1, 28) else ():
            address = ip_address(record.to_text())
            four = getattr(address, "ipv4_mapped", None) or address
            assert not (four.is_loopback or four.is_link_local or four.is_unspecified), four
            assert not str(four).startswith(("10.", "203.0.113.")), four


def test(data: bytes) -> None:
    taken = Input(data)
    mode = taken.number()
    replies: list[bytes] = []
    resolver = Resolver(Idle(), lambda: RULES, upstream=[("192.0.2.53", 53)], clock=lambda: 0.0)  # type: ignore[arg-type]
    resolver.ask(question(taken, mode), replies.append, stream=bool(mode & 8))
    for asked, lookup in list(resolver._upstream._lookups.items()):
        assert RULES.judge_name(asked[0].to_text(omit_final_dot=True)).allowed
        for _ in range(4):
            if resolver._upstream._lookups.get(asked) is lookup:
                lookup._heard(answer(taken, lookup._query))
        if resolver._upstream._lookups.get(asked) is lookup:
            lookup._finish(None)
    assert len(replies) <= 1 and not resolver._upstream._lookups
    for reply in replies:
        check(reply)
    assert not {"one.test", "x.open.test"} & set(resolver.names_of(ip_address("127.0.0.1")))
    resolver.close()


if __name__ == "__main__":
    run("names", test)
