"""The resolver towards its guest: what is answered, what is never asked upstream, which names stand for an address."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import ip_address
from typing import Any, Optional

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.query
import dns.rcode
import dns.rdata
import dns.rdatatype
import dns.resolver
import dns.reversename
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sandbox import Allow, Deny, Hosts
from sandbox._loop import READABLE
from sandbox._rules import Rules
from sandbox.services import names
from sandbox.services.names import FORWARDED, NAMES_PER_ADDRESS, NameLimits
from sandbox.services.names_messages import LARGEST_QUERY, parsed, read_query
from tests.test_names_upstream import LOOP, PATIENT, Guest, NameServer, code, no_child_is_left, on_loop, server, texts

__all__ = ["no_child_is_left", "server"]

A, B, A6 = "93.184.216.34", "93.184.216.35", "2606:2800:220::1"

# ---- addresses and aliases ----------------------------------------------------------------------------------------


def test_addresses(server: NameServer) -> None:
    """A and AAAA of an allowed name come with their time to live, and the name stands for them."""
    server.load(f"a.com 300 A {A}\na.com 300 A {B}\na.com 17 AAAA {A6}")
    guest = Guest([Allow("a.com:443")], server)
    assert texts(guest.ask("a.com")) == [f"a.com. 300 IN A {A}", f"a.com. 300 IN A {B}"]
    reply = guest.ask("a.com", "AAAA")
    assert texts(reply) == [f"a.com. 17 IN AAAA {A6}"]
    assert reply.flags == dns.flags.QR | dns.flags.RD | dns.flags.RA
    assert guest.names_of(A) == guest.names_of(B) == guest.names_of(A6) == guest.names_of(f"::ffff:{A}") == ["a.com"]
    assert guest.names_of("93.184.216.36") == [] and on_loop(lambda: guest.resolver.names_of(b"no")) == []
    assert guest.decisions == [("a.com", "A", True, "allow a.com:443", ""), ("a.com", "AAAA", True, "allow a.com:443", "")]


CHAIN = f"""
a.com 300 CNAME b.net
b.net 200 CNAME c.org
c.org 100 A {A}
"""
CHAINED = [f"c.org. 100 IN A {A}", "a.com. 300 IN CNAME b.net.", "b.net. 200 IN CNAME c.org."]


@pytest.mark.parametrize(
    ("network", "names"),
    [
        ([Allow("a.com")], ["a.com"]),
        ([Allow("a.com"), Allow("*.org")], ["a.com", "c.org"]),
        ([Allow("*")], ["a.com", "b.net", "c.org"]),
        (["host", Deny("b.net:80")], ["a.com", "b.net", "c.org"]),
    ],
)
def test_aliases(server: NameServer, network: Any, names: list[str]) -> None:
    """A chain of aliases is told in full. The name asked for stands for the address, an alias's target only where the
    rules allow that name by itself."""
    server.load(CHAIN)
    guest = Guest(network, server)
    assert texts(guest.ask("a.com")) == sorted(CHAINED)
    assert guest.names_of(A) == names
    assert server.names == ["a.com"]


@pytest.mark.parametrize("network", [[Allow("*"), Deny("c.org")], [Allow("a.com"), Deny("b.net")]])
def test_alias_to_a_denied_name(server: NameServer, network: Any) -> None:
    """Where a Deny of a target is no weaker than the rule that allows the name, the name leads nowhere."""
    server.load(CHAIN)
    guest = Guest(network, server)
    reply = guest.ask("a.com")
    assert (code(reply), texts(reply), guest.names_of(A)) == ("NOERROR", [], [])
    assert guest.decisions[-1] == ("a.com", "A", False, str(network[1]), A)


def test_alias_to_nowhere(server: NameServer) -> None:
    """The aliases of a name that does not exist are told with NXDOMAIN, and an alias is told when it is asked for."""
    server.load("a.com 300 CNAME b.net")
    guest = Guest([Allow("a.com")], server)
    reply = guest.ask("a.com")
    assert (code(reply), texts(reply)) == ("NXDOMAIN", ["a.com. 300 IN CNAME b.net."])
    assert texts(guest.ask("a.com", "CNAME")) == ["a.com. 300 IN CNAME b.net."]


def test_aliases_that_turn(server: NameServer) -> None:
    """A chain without an end fails."""

    def say(seen: Any) -> dns.message.Message:
        answer = dns.message.make_response(seen.query)
        answer.answer = [
            dns.rrset.from_text("a.com.", 300, "IN", "CNAME", "b.com."),
            dns.rrset.from_text("b.com.", 300, "IN", "CNAME", "a.com."),
        ]
        return answer

    server.say = say
    assert code(Guest([Allow("*")], server).ask("a.com")) == "SERVFAIL"


# ---- what is no business of upstream ------------------------------------------------------------------------------


def test_hosts(server: NameServer) -> None:
    """Names of Hosts are answered first, whatever the rules and upstream say, and stand for their addresses unasked:
    the guest may have read them from its /etc/hosts."""
    server.load(f"db.internal 300 A {A}\nlocalhost 300 A {A}")
    hosts = Hosts({"db.internal": ["10.0.0.5", "fd00::5"], "localhost": "10.0.0.6", "other": "10.0.0.5"})
    guest = Guest([Allow("*"), Deny("db.internal"), hosts], server)
    assert guest.names_of("10.0.0.5") == ["db.internal", "other"]
    reply = guest.ask("DB.Internal")
    assert texts(reply) == ["DB.Internal. 60 IN A 10.0.0.5"]
    assert texts(guest.ask("db.internal", "AAAA")) == ["db.internal. 60 IN AAAA fd00::5"]
    assert texts(guest.ask("localhost")) == ["localhost. 60 IN A 10.0.0.6"]
    nothing = [guest.ask("db.internal", rdtype) for rdtype in ("MX", "ANY", "HTTPS", "CNAME")]
    assert {(code(each), len(each.answer)) for each in nothing} == {("NOERROR", 0)}
    assert guest.names_of("10.0.0.5") == ["db.internal", "other"] and server.seen == []
    assert guest.decisions[0] == ("db.internal", "A", True, "hosts db.internal = 10.0.0.5 fd00::5", "")
    guest.rules = Rules.compile([Allow("*")])
    assert guest.names_of("10.0.0.5") == []


@pytest.mark.parametrize("name", ["localhost", "LocalHost", "a.b.localhost"])
def test_localhost(server: NameServer, name: str) -> None:
    """localhost and names below it are the loopback, under any rules."""
    guest = Guest("loopback", server)
    assert texts(guest.ask(name)) == [f"{name}. 60 IN A 127.0.0.1"]
    assert texts(guest.ask(name, "AAAA")) == [f"{name}. 60 IN AAAA ::1"]
    reply = guest.ask(name, "MX")
    assert (code(reply), texts(reply), server.seen) == ("NOERROR", [], [])
    assert guest.names_of("127.0.0.1") == []


def ptr(guest: Guest, address: str) -> tuple[str, list[str]]:
    reply = guest.ask(dns.reversename.from_address(address).to_text(), "PTR")
    return code(reply), sorted(str(record.target) for rrset in reply.answer for record in rrset)


@pytest.mark.parametrize("network", [[Allow("*")], [Allow("*.arpa"), Allow("*.com")], ["host"]])
def test_names_of_addresses(server: NameServer, network: Any) -> None:
    """PTR knows the loopback, Hosts and what the guest was told, while it stands; it never goes upstream."""
    server.load(f"a.com 60 A {A}\nb.com 600 A {A}\na.com 60 AAAA {A6}\n34.216.184.93.in-addr.arpa 60 PTR wrong.com.")
    guest = Guest([*network, Hosts({"db": "10.0.0.5"})], server)
    assert ptr(guest, A) == ("NXDOMAIN", [])
    for name, rdtype in (("a.com", "A"), ("b.com", "A"), ("a.com", "AAAA")):
        guest.ask(name, rdtype)
    assert ptr(guest, A) == ("NOERROR", ["a.com.", "b.com."])
    assert ptr(guest, A6) == ("NOERROR", ["a.com."])
    assert ptr(guest, "10.0.0.5") == ("NOERROR", ["db."])
    assert ptr(guest, "127.0.0.1") == ptr(guest, "::1") == ("NOERROR", ["localhost."])
    assert ptr(guest, "127.0.0.2") == ptr(guest, "8.8.8.8") == ptr(guest, "2606::8") == ("NXDOMAIN", [])
    guest.clock.now += 60
    assert ptr(guest, A) == ("NOERROR", ["b.com."])
    for half in ("1.10.in-addr.arpa", "in-addr.arpa", "x.ip6.arpa", "300.1.1.1.in-addr.arpa", "a.com"):
        assert guest.ask(half, "PTR").answer == []
    assert server.names == ["a.com", "b.com", "a.com"]


SECRET = "c2VjcmV0" * 7
TUNNELS = [
    f"{SECRET}.evil.com",
    ".".join([SECRET] * 4),
    f"{SECRET}.a.com",
    "xa.com",
    "a.com.evil.com",
    "com",
    "b.a.com",
    f"a.com\\000.{SECRET}",
    f"{SECRET}\\.b.com",
    "a\\.b.com",
    "93.184.216.34",
    "0x5db8d822",
    "2130706433",
    f"1.{SECRET}.in-addr.arpa",
    "*.b.com",
    "\\*.b.com",
    "a b.b.com",
    "\\195\\188.b.com",
    ".",
]


@pytest.mark.parametrize("rdtype", ["A", "AAAA", "TXT", "CNAME", "MX", "SRV", "NULL", "PTR", "HTTPS", "ANY", "TYPE65280", "AXFR"])
def test_names_carry_nothing_out(server: NameServer, rdtype: str) -> None:
    """Names that no rule allows do not exist, with no SOA, and upstream sees nothing of them."""
    guest = Guest([Allow("a.com"), Allow("*.b.com:443"), Deny("*.c.b.com"), Allow("10.0.0.0/8")], server)
    for name in [*TUNNELS, f"{SECRET}.c.b.com"]:
        reply = guest.ask(name, rdtype)
        assert (code(reply), reply.answer, reply.authority, reply.additional) == ("NXDOMAIN", [], [], [])
    assert server.seen == []
    assert {decision.allowed for decision in guest.decisions} == {False}
    assert guest.decisions[0] == (f"{SECRET}.evil.com".lower(), rdtype, False, "default", "")
    assert guest.decisions[-1] == (f"{SECRET}.c.b.com".lower(), rdtype, False, "deny *.c.b.com", "")


def test_options_carry_nothing_out(server: NameServer) -> None:
    """Of a question with EDNS upstream sees the name and the type; case, number, flags and options stay here."""
    server.load(f"a.com 300 A {A}")
    guest = Guest([Allow("a.com")], server)
    options = [dns.edns.ECSOption("10.9.8.7"), dns.edns.GenericOption(65001, SECRET.encode())]
    query = dns.message.make_query("A.CoM", "A", use_edns=0, options=options, ednsflags=dns.flags.DO | 0x1234, payload=4321)
    guest.send(query).get(timeout=10)
    plain = dns.message.make_query("a.com", "A", use_edns=0, payload=1232, id=server.seen[0].query.id)
    assert server.seen[0].query.to_wire() == plain.to_wire()


# ---- types --------------------------------------------------------------------------------------------------------

OFFERED = """
a.com 300 MX 10 a.com.
a.com 300 TXT "mongodb"
a.com 300 SRV 0 0 443 a.com.
a.com 300 HTTPS 1 . ipv4hint=6.6.6.6
a.com 300 SVCB 1 . ipv4hint=6.6.6.6
a.com 300 CAA 0 issue "ca.com"
a.com 300 NS a.com.
a.com 300 SOA a.com. a.com. 1 2 3 4 5
a.com 300 NAPTR 1 1 "" "" "" a.com.
a.com 300 DNSKEY 256 3 8 AAAA
a.com 300 TYPE65280 \\# 1 00
"""


@pytest.mark.parametrize("rdtype", ["MX", "TXT", "SRV", "HTTPS", "SVCB", "CAA", "NS", "SOA", "NAPTR", "DNSKEY", "TYPE65280", "ANY", "PTR", "IXFR"])
def test_types(server: NameServer, rdtype: str) -> None:
    """Some types of an allowed name are asked for; the others are not there. None but A and AAAA gives addresses."""
    server.load(OFFERED)
    guest = Guest([Allow("a.com")], server)
    reply = guest.ask("a.com", rdtype)
    forwarded = dns.rdatatype.from_text(rdtype) in FORWARDED
    assert (code(reply), len(reply.answer), server.names) == ("NOERROR", forwarded, ["a.com"] * forwarded)
    assert guest.decisions == [("a.com", rdtype, forwarded, "allow a.com" if forwarded else "default: type", "")]
    assert guest.names_of("6.6.6.6") == guest.names_of(A) == []


# ---- addresses that are not told ----------------------------------------------------------------------------------

PRIVATE = Allow("a.com", private=True)
REBINDING: list[tuple[Any, str, Optional[str]]] = [
    # network, address, the rule where it is not told
    ([Allow("a.com")], "10.0.0.5", "default: private"),
    ([Allow("a.com")], "127.0.0.1", "default: loopback"),
    ([Allow("a.com")], "0.0.0.0", "default: unspecified"),
    ([Allow("a.com")], "169.254.169.254", "default: metadata"),
    ([Allow("a.com")], "::ffff:10.0.0.5", "default: private"),
    ([Allow("a.com")], "64:ff9b::a00:5", "default: private"),
    ([Allow("a.com")], "fd00::1", "default: private"),
    ([Allow("a.com")], "::1", "default: loopback"),
    ([Allow("a.com")], "fe80::1", "default: link-local"),
    ([Allow("a.com")], "224.0.0.1", "default: multicast"),
    ([Allow("a.com:443")], "10.0.0.5", "default: private"),
    ([Allow("a.com")], A, None),
    ([Allow("a.com:443")], A, None),
    ([Allow("udp://a.com:53")], A, None),
    ([PRIVATE], "10.0.0.5", None),
    ([PRIVATE], "127.0.0.1", None),
    ([PRIVATE], "169.254.169.254", "default: metadata"),
    ([PRIVATE, Allow("169.254.169.254")], "169.254.169.254", None),
    ([PRIVATE, Deny("10.0.0.0/8")], "10.0.0.5", "deny 10.0.0.0/8"),
    ([Allow("a.com:80"), Allow("10.0.0.0/8:5432")], "10.0.0.5", None),
    ([Allow("a.com:80"), Deny(f"{A}:80")], A, f"deny {A}:80"),
    ([Allow("a.com:80,443"), Deny(f"{A}:80")], A, None),
    ([Allow("tcp://a.com:80"), Deny(f"tcp://{A}:80"), Allow("b.com")], A, f"deny tcp://{A}:80"),
    ([Allow("a.com"), Deny(f"{A}:1-65534")], A, None),
    ([Allow("a.com"), Deny(f"{A}:2-65535")], A, None),
    ([Allow("a.com"), Deny(A)], A, f"deny {A}"),
    (["host"], "10.0.0.5", None),
    (["host"], "169.254.169.254", "default: metadata"),
    (["host", Deny("10.0.0.0/8")], "10.0.0.5", "deny 10.0.0.0/8"),
]


@pytest.mark.parametrize(("network", "address", "rule"), REBINDING)
def test_rebinding(server: NameServer, network: Any, address: str, rule: Optional[str]) -> None:
    """An address that the guest may reach at no port by this name is not told, and does not stand for the name."""
    rdtype = "AAAA" if ":" in address else "A"
    server.load(f"a.com 300 {rdtype} {address}")
    guest = Guest(network, server)
    reply = guest.ask("a.com", rdtype)
    told = rule is None
    assert (code(reply), len(texts(reply)), guest.names_of(address)) == ("NOERROR", told, ["a.com"] * told)
    assert guest.decisions[1:] == ([] if told else [("a.com", rdtype, False, rule, str(ip_address(address)))])


def test_what_may_be_told_is(server: NameServer) -> None:
    """Of several addresses those that the guest may reach are left, behind an alias, too."""
    server.load(f"a.com 300 CNAME b.net\nb.net 300 A 10.0.0.5\nb.net 300 A {A}\nb.net 300 A 169.254.169.254")
    guest = Guest([Allow("a.com")], server)
    assert texts(guest.ask("a.com")) == ["a.com. 300 IN CNAME b.net.", f"b.net. 300 IN A {A}"]
    assert guest.names_of("10.0.0.5") == guest.names_of("169.254.169.254") == []


def test_rules_of_an_aliass_target(server: NameServer) -> None:
    """A private address behind an alias is told where the target's own rule has private=True."""
    server.load("a.com 300 CNAME b.net\nb.net 300 A 10.0.0.5")
    guest = Guest([Allow("a.com"), Allow("b.net", private=True)], server)
    assert len(texts(guest.ask("a.com"))) == 2 and guest.names_of("10.0.0.5") == ["a.com", "b.net"]


def test_so_many_addresses(server: NameServer) -> None:
    """Of one answer, of one guest and of one address so many are remembered; the oldest give way."""
    server.load("\n".join(f"a.com 300 A 1.1.1.{i}" for i in range(100)))
    guest = Guest([Allow("*")], server, limits=NameLimits(timeout=30, answers=8))
    assert len(texts(guest.ask("a.com", stream=True))) == 64
    assert sum(bool(guest.names_of(f"1.1.1.{i}")) for i in range(100)) == 8
    names = [f"h{i}.com" for i in range(NAMES_PER_ADDRESS + 1)]
    server.load("\n".join(f"{name} 300 A {A}" for name in names))
    for name in names:
        guest.ask(name)
    assert guest.names_of(A) == names[1:]
    guest.ask(names[1])
    assert guest.names_of(A) == [*names[2:], names[1]]


# ---- time and change ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ttl", "stands"), [(0, 60), (59, 60), (300, 300), (86400, 86400)])
def test_how_long_an_answer_stands(server: NameServer, ttl: int, stands: int) -> None:
    """A name stands for an address for the time to live of the answer, and for 60 seconds at least."""
    server.load(f"a.com {ttl} A {A}")
    guest = Guest([Allow("a.com")], server)
    assert texts(guest.ask("a.com")) == [f"a.com. {ttl} IN A {A}"]
    guest.clock.now += stands - 0.5
    assert guest.names_of(A) == ["a.com"]
    guest.clock.now += 0.5
    assert guest.names_of(A) == []


def test_the_least_of_a_chain_stands(server: NameServer) -> None:
    """The alias that expires first ends it; another answer of longer life is not shortened by it."""
    server.load(f"a.com 100 CNAME b.net\nb.net 500 A {A}")
    guest = Guest([Allow("a.com"), Allow("b.net")], server)
    guest.ask("a.com")
    guest.clock.now += 100
    assert guest.names_of(A) == []
    guest.ask("b.net")
    guest.ask("a.com")
    guest.clock.now += 101
    assert guest.names_of(A) == ["b.net"]


def test_answers_are_kept_for_their_time(server: NameServer) -> None:
    """Within its time to live an answer is told again with what is left of it, and then asked for again."""
    server.load(f"a.com 300 CNAME b.net\nb.net 100 A {A}")
    guest = Guest([Allow("a.com")], server)
    guest.ask("a.com")
    guest.clock.now += 99.5
    assert texts(guest.ask("a.com")) == ["a.com. 201 IN CNAME b.net.", f"b.net. 1 IN A {A}"]
    assert server.names == ["a.com"]
    guest.clock.now += 59
    assert guest.names_of(A) == ["a.com"]
    assert len(texts(guest.ask("a.com"))) == 2 and server.names == ["a.com"] * 2


@pytest.mark.parametrize("zone", [f"a.com 0 A {A}", f"a.com 300 AAAA {A6}", ""])
def test_what_is_not_kept(server: NameServer, zone: str) -> None:
    """An answer that lives for no time, or that there is nothing, is asked for each time."""
    server.load(zone)
    guest = Guest([Allow("a.com")], server)
    assert guest.ask("a.com").answer == guest.ask("a.com").answer
    assert server.names == ["a.com", "a.com"]


def test_rules_change(server: NameServer) -> None:
    """What is told is judged by the rules of the moment, an answer that was kept and one in flight, too."""
    server.load(f"a.com 300 A {A}\nb.com 300 A {A}")
    guest = Guest([Allow("a.com")], server)
    assert code(guest.ask("b.com")) == "NXDOMAIN"
    guest.rules = guest.rules.with_rules(Allow("b.com"))
    assert code(guest.ask("b.com")) == "NOERROR"
    guest.rules = guest.rules.with_rules(Deny(A))
    assert texts(guest.ask("b.com")) == []
    hold = threading.Event()
    server.say = lambda seen: server.found(seen.query) if hold.wait(20) else None
    waiting = guest.send(dns.message.make_query("a.com", "A"))
    guest.rules = Rules.compile([Allow("b.com")])
    hold.set()
    assert code(dns.message.from_wire(waiting.get(timeout=10))) == "NXDOMAIN"
    assert guest.decisions[-1] == ("a.com", "A", False, "default", "")
    assert code(guest.ask("a.com")) == "NXDOMAIN" and server.names == ["b.com", "a.com"]


@pytest.mark.parametrize("network", [[Allow("a.com")], [Deny("a.com")], [Allow("a.com"), Hosts({"a.com": B})]])
def test_a_question_that_comes_again(server: NameServer, network: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was said is said again without another look, under the new number, for as long as nothing of it is different:
    each is heard of, and stands as long as if it were told anew."""
    server.load(f"a.com 300 A {A}\na.com 300 A 10.0.0.1")
    guest, looks = Guest(network, server), 0

    def read(*args: Any, **kwargs: Any) -> Any:
        nonlocal looks
        looks += 1
        return read_query(*args, **kwargs)

    monkeypatch.setattr(names, "read_query", read)
    first = guest.ask("a.com")
    heard, address = list(guest.decisions), B if len(network) > 1 else A
    guest.clock.now += 0.9
    again = guest.ask("a.com")
    assert looks == 1 and again.id != first.id and texts(again) == texts(first) and code(again) == code(first)
    assert guest.decisions == [*heard, heard[0]]  # what was left out of the answer was told when it was decided
    guest.ask("A.com")
    guest.ask("a.com", stream=True)
    guest.ask("a.com", use_edns=0)
    assert looks == 4
    guest.clock.now += 0.2
    assert texts(guest.ask("a.com")) == [text.replace(" 300 ", " 299 ") for text in texts(first)]
    guest.clock.now += 299.5
    assert guest.names_of(address) == (["a.com"] if texts(first) else [])


def test_so_many_are_said_again(server: NameServer) -> None:
    guest = Guest([Deny("*.com")], server)
    for number in range(names.SAID_AGAIN + 50):
        guest.ask(f"a{number}.com")
    assert len(guest.resolver._said) == names.SAID_AGAIN


# ---- messages -----------------------------------------------------------------------------------------------------


def _query(**changes: Any) -> dns.message.Message:
    query = dns.message.make_query("a.com", "A", id=4660)
    for name, value in changes.items():
        setattr(query, name, value)
    return query


def _opcode(opcode: dns.opcode.Opcode) -> dns.message.Message:
    query = _query()
    query.set_opcode(opcode)
    return query


TWICE = [dns.rrset.from_text(name, 0, "IN", "A") for name in ("a.com.", "b.com.")]
RECORD = [dns.rrset.from_text("a.com.", 0, "IN", "A", A)]
ODD: dict[str, tuple[Any, Optional[str]]] = {
    "empty": (b"", None),
    "short": (_query().to_wire()[:11], None),
    "an answer": (dns.message.make_response(_query()), None),
    "a header": (_query().to_wire()[:12], "FORMERR"),
    "no question": (_query(question=[]), "FORMERR"),
    "two questions": (_query(question=TWICE), "FORMERR"),
    "an answer in it": (_query(answer=RECORD), "FORMERR"),
    "an authority": (_query(authority=RECORD), "FORMERR"),
    "a record beside": (_query(additional=RECORD), "FORMERR"),
    "an unknown record": (_query(additional=[dns.rrset.from_text("a.com.", 0, "CLASS4660", "TYPE65280", "\\# 0")]), "FORMERR"),
    "cut": (_query().to_wire()[:-1], "FORMERR"),
    "more": (_query().to_wire() + b"x", "FORMERR"),
    "a pointer to itself": (_query().to_wire()[:12] + b"\xc0\x0c\0\1\0\1", "FORMERR"),
    "a pointer ahead": (_query().to_wire()[:12] + b"\xc0\x40\0\1\0\1" + bytes(64), "FORMERR"),
    "a long name": (_query().to_wire()[:12] + b"\x3f" * 300, "FORMERR"),
    "too long": (_query().to_wire() + bytes(LARGEST_QUERY), "FORMERR"),
    "notify": (_opcode(dns.opcode.NOTIFY), "NOTIMP"),
    "update": (dns.message.Message.to_wire(_opcode(dns.opcode.UPDATE)), "NOTIMP"),
    "opcode 15": (_query().to_wire()[:2] + b"\x79\0" + _query().to_wire()[4:], "NOTIMP"),
    "chaos": (_query(question=[dns.rrset.from_text("version.bind.", 0, "CH", "TXT")]), "REFUSED"),
    "any class": (_query(question=[dns.rrset.from_text("a.com.", 0, "ANY", "A")]), "REFUSED"),
    "edns 1": (dns.message.make_query("a.com", "A", use_edns=1, id=4660), "BADVERS"),
}


@pytest.mark.parametrize("odd", ODD)
def test_odd_messages(server: NameServer, odd: str) -> None:
    """What is no question in class IN gets the code for it, with its number; what has no header, or answers, nothing."""
    guest = Guest([Allow("*")], server)
    query, expected = ODD[odd]
    replies = guest.send(query)
    if expected is None:
        assert replies.empty()
    else:
        reply = dns.message.from_wire(replies.get_nowait())
        assert (reply.id, code(reply), reply.answer) == (4660, expected, [])
        assert reply.flags & dns.flags.QR
    assert server.seen == [] and guest.decisions == []


@pytest.mark.parametrize(("edns", "room"), [({}, 512), ({"payload": 100}, 512), ({"payload": 1232}, 1232), ({"payload": 4000}, 4000)])
def test_datagrams_are_cut(server: NameServer, edns: dict[str, Any], room: int) -> None:
    """A datagram holds what the guest takes, 512 bytes without EDNS, and says that it was cut; a stream holds it all."""
    server.load("\n".join(f"a.com 300 TXT {'x' * 200}{i}" for i in range(25)) + "\na.com 300 A 1.1.1.1")
    guest = Guest([Allow("a.com")], server)
    query = dns.message.make_query("a.com", "TXT", **edns)
    wire = guest.send(query).get(timeout=10)
    assert len(wire) <= room and dns.message.from_wire(wire).flags & dns.flags.TC
    whole = dns.message.from_wire(guest.send(query, stream=True).get(timeout=10))
    assert len(texts(whole)) == 25 and not whole.flags & dns.flags.TC
    assert not guest.ask("a.com", "A", **edns).flags & dns.flags.TC


def test_edns_is_answered_without_options(server: NameServer) -> None:
    """Who speaks EDNS gets it back, padding and cookies excepted; who does not, does not."""
    guest = Guest("loopback", server)
    options = [dns.edns.GenericOption(dns.edns.OptionType.PADDING, bytes(64)), dns.edns.GenericOption(10, bytes(8))]
    reply = guest.ask("localhost", use_edns=0, options=options)
    assert (reply.edns, reply.payload, reply.options) == (0, 1232, ())
    assert guest.ask("localhost").edns == -1


# ---- hostile bytes ------------------------------------------------------------------------------------------------

HOSTILE = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def silent() -> Iterator[NameServer]:
    made = NameServer()
    made.say = lambda seen: None
    yield made
    made.close()


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A valid query, with bytes of it changed, taken out or put in."""
    name = draw(st.sampled_from(["a.com", "x.b.com", f"{SECRET}.evil.com", "5.0.0.10.in-addr.arpa", "localhost", "db"]))
    rdtype = draw(st.sampled_from(["A", "AAAA", "PTR", "TXT", "ANY", "HTTPS"]))
    wire = bytearray(dns.message.make_query(name, rdtype, use_edns=draw(st.sampled_from([False, 0]))).to_wire())
    for at, new, length in draw(st.lists(st.tuples(st.integers(0, 80), st.binary(max_size=3), st.integers(0, 3)), max_size=4)):
        wire[at : at + length] = new
    return bytes(wire)


def _allowed(rules: Rules, wire: bytes) -> bool:
    query = parsed(wire)
    return query is not None and all(
        rules.judge_name(question.name.to_text()).allowed and question.rdtype in FORWARDED for question in query.question
    )


def _hostile(silent: NameServer, wire: bytes, stream: bool) -> None:
    guest = Guest([Allow("a.com"), Allow("*.b.com"), Hosts({"db": "10.0.0.5"})], silent)
    asked: list[Any] = []
    lookup = guest.resolver._upstream.ask
    guest.resolver._upstream.ask = lambda *question: (asked.append(question), lookup(*question))  # type: ignore[method-assign,assign]
    replies = guest.send(wire, stream=stream)
    on_loop(guest.resolver.close)
    assert not asked or _allowed(guest.rules, wire)
    assert replies.qsize() + len(asked) <= 1
    assert replies.empty() or dns.message.from_wire(replies.get()).id == int.from_bytes(wire[:2], "big")


@HOSTILE
@given(wire=st.binary(max_size=600), stream=st.booleans())
def test_arbitrary_bytes(silent: NameServer, wire: bytes, stream: bool) -> None:
    """Nothing is raised, and nothing goes upstream but a question for an allowed name."""
    _hostile(silent, wire, stream)


@HOSTILE
@given(wire=mutated(), stream=st.booleans())
@example(wire=dns.message.make_query("a.com", "A").to_wire(), stream=False)
def test_mutated_queries(silent: NameServer, wire: bytes, stream: bool) -> None:
    """The same of what is nearly a query."""
    _hostile(silent, wire, stream)


@HOSTILE
@given(tail=st.binary(max_size=600), counts=st.binary(min_size=6, max_size=6))
def test_hostile_answers(tail: bytes, counts: bytes) -> None:
    """Whatever follows the question in an answer, the guest is told an answer of what it may reach, or that there is
    none."""
    from sandbox.services.names_messages import read_answer

    response = dns.message.make_response(dns.message.make_query("a.com", "A", id=1))
    wire = response.to_wire()
    found = parsed(wire[:6] + counts + wire[12:] + tail)
    answer = read_answer(found, 0.0)
    assert answer.ttl >= 0 and len(answer.records(0.0, list(answer.found or ()))) <= 18


def test_the_library_keeps_nothing_of_hostile_queries(server: NameServer) -> None:
    """dnspython remembers each class and type of record that it was shown: a guest's odd ones are not shown to it."""
    guest = Guest([Allow("*")], server)
    guest.ask("localhost", use_edns=0)
    before = len(dns.rdata._rdata_classes)
    wire, odd = _query().to_wire(), bytes.fromhex("00 ff00 1388 00000000 0000")
    for section in (6, 8, 10):
        guest.send(wire[:section] + b"\0\1" + wire[section + 2 :] + odd)
    assert len(dns.rdata._rdata_classes) == before
    parsed(wire[:6] + b"\0\1" + wire[8:] + odd)
    assert len(dns.rdata._rdata_classes) == before + 1


# ---- a real client ------------------------------------------------------------------------------------------------


@pytest.fixture
def front(server: NameServer) -> Iterator[tuple[Guest, int]]:
    """A guest's resolver behind a real socket, as the network service serves it, and its port."""
    server.load(f"{CHAIN}\na.com 300 TXT {'x' * 250}\nb.com 300 A {A}\nb.com 60 AAAA {A6}\n_db._tcp.b.com 300 SRV 0 0 5432 b.com.")
    guest = Guest([Allow("a.com"), Allow("*.com"), Deny("evil.com"), Hosts({"db": "10.0.0.5"})], server, limits=PATIENT)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)

        def ready(events: int) -> None:
            assert events & READABLE
            with suppress(BlockingIOError):
                wire, peer = sock.recvfrom(65535)
                guest.resolver.ask(wire, lambda reply: sock.sendto(reply, peer) and None, stream=False)

        on_loop(lambda: LOOP.watch(sock.fileno(), ready))
        yield guest, sock.getsockname()[1]
        on_loop(lambda: LOOP.forget(sock.fileno()))
        on_loop(guest.resolver.close)


def test_a_stub_resolver(front: tuple[Guest, int]) -> None:
    """dnspython's own client finds addresses, aliases, services, names of addresses and that there is nothing."""
    guest, port = front
    client = dns.resolver.Resolver(configure=False)
    client.nameservers, client.port, client.lifetime = ["127.0.0.1"], port, 20.0
    assert set(client.resolve_name("b.com.").addresses()) == {A, A6}
    found = client.resolve("a.com.", "A")
    assert (str(found.canonical_name), [each.address for each in found]) == ("c.org.", [A])
    assert [each.port for each in client.resolve("_db._tcp.b.com.", "SRV")] == [5432]
    assert [each.address for each in client.resolve("db.")] == ["10.0.0.5"]
    assert str(client.resolve_address("10.0.0.5")[0]) == "db."
    client.use_edns(0, dns.flags.DO, 4096)
    assert [each.address for each in client.resolve("localhost.")] == ["127.0.0.1"]
    with pytest.raises(dns.resolver.NXDOMAIN):
        client.resolve(f"{SECRET}.org.")
    with pytest.raises(dns.resolver.NXDOMAIN):
        client.resolve("evil.com.")
    with pytest.raises(dns.resolver.NoAnswer):
        client.resolve("b.com.", "HTTPS")
    with pytest.raises(dns.resolver.NoAnswer):
        client.resolve("b.com.", "MX")
    assert guest.names_of(A) == ["b.com", "a.com"]


def test_a_client_that_mixes_the_case(front: tuple[Guest, int]) -> None:
    """Question and owner come back as they were written."""
    _, port = front
    query = dns.message.make_query("B.cOM", "A")
    reply = dns.query.udp(query, "127.0.0.1", port=port, timeout=10)
    assert reply.question[0].name.labels == reply.answer[0].name.labels == query.question[0].name.labels
