"""What is judged by which rule: the order of rules, kinds and disguises of addresses, names."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox import Allow, Deny
from sandbox._addresses import KINDS
from sandbox._rules import Rules, Verdict
from sandbox._targets import parse_target

# ---- verdicts ---------------------------------------------------------------------------------------------------

A, B = "93.184.216.34", "2606:2800:220::1"


def judge(network: Any, asked: str, *names: str) -> Verdict:
    """`asked` is PROTOCOL ADDRESS PORT."""
    protocol, address, port = asked.split()
    return Rules.compile(network).judge_address(protocol, ip_address(address), int(port), names)


def rules_of(text: str) -> list[Any]:
    """Words and rules as lines: `+a.com` allows, `+!a.com` with private, `-a.com` denies."""
    made = {"+": Allow, "-": Deny, "!": lambda target: Allow(target, private=True)}
    return [made[item[0]](item[1:]) if item[0] in made else item for item in text.split()]


ADDRESSES = [
    # rules, asked, names, rule that decides: allow unless it starts with deny or default
    # -- words
    ("none", f"tcp {A} 443", "", "default"),
    ("loopback", f"tcp {A} 443", "", "default"),
    ("loopback", "tcp 127.0.0.1 80", "", "default"),
    ("host", f"tcp {A} 443", "", "host"),
    ("host", f"udp {B} 53", "", "host"),
    ("host", "tcp 127.0.0.1 5432", "", "host"),
    ("host", "tcp ::1 5432", "", "host"),
    ("host", "tcp 0.0.0.0 5432", "", "host"),
    ("host", "tcp :: 5432", "", "host"),
    ("host", "tcp 10.0.0.1 1", "", "host"),
    ("host", "udp 224.0.0.1 1", "", "host"),
    ("host", "tcp 169.254.1.1 80", "", "default: link-local"),
    ("host", "tcp fe80::1 80", "", "default: link-local"),
    ("host", "tcp 169.254.169.254 80", "", "default: metadata"),
    ("host", "tcp fd00:ec2::254 80", "", "default: metadata"),
    ("host", "tcp 168.63.129.16 80", "a.com", "default: metadata"),
    # -- "host" is below every rule
    ("host -10.0.0.0/8", "tcp 10.1.1.1 80", "", "deny 10.0.0.0/8"),
    ("host -0.0.0.0/0", "tcp 127.0.0.1 80", "", "deny 0.0.0.0/0"),
    ("host -::/0", "tcp ::1 80", "", "deny ::/0"),
    ("host -*.ads.com", f"tcp {A} 80", "x.ads.com", "deny *.ads.com"),
    ("host -*.ads.com", f"tcp {A} 80", "ads.com", "host"),
    ("host +169.254.169.254", "tcp 169.254.169.254 80", "", "allow 169.254.169.254"),
    # -- what a target covers
    ("+a.com", f"tcp {A} 443", "a.com", "allow a.com"),
    ("+a.com", f"tcp {A} 443", "A.com.", "allow a.com"),
    ("+a.com", f"tcp {A} 443", "", "default"),
    ("+a.com", f"tcp {A} 443", "x.a.com", "default"),
    ("+*.a.com", f"tcp {A} 443", "x.y.a.com", "allow *.a.com"),
    ("+*.a.com", f"tcp {A} 443", "a.com", "default"),
    ("+*.a.com", f"tcp {A} 443", "ba.com", "default"),
    ("+*", f"tcp {A} 443", "com", "allow *"),
    ("+*", f"tcp {A} 443", "", "default"),
    ("+*", f"tcp {A} 443", "no..name 1.2.3.4", "default"),
    ("+bücher.de", f"tcp {A} 443", "XN--BCHER-KVA.de", "allow xn--bcher-kva.de"),
    ("+tcp://a.com", f"udp {A} 443", "a.com", "default"),
    ("+a.com:80,443", f"udp {A} 443", "a.com", "allow a.com:80,443"),
    ("+a.com:80,443", f"udp {A} 444", "a.com", "default"),
    ("+a.com:1-79,81-65535", f"tcp {A} 80", "a.com", "default"),
    ("+0.0.0.0/0", f"tcp {A} 0", "", "default"),
    ("+0.0.0.0/0", f"tcp {A} 65536", "", "default"),
    ("+0.0.0.0/0", f"sctp {A} 80", "", "default"),
    ("+0.0.0.0/0", f"tcp {B} 80", "", "default"),
    ("+::/0", f"tcp {A} 80", "", "default"),
    (f"+[{B}]:443", f"tcp {B} 443", "", f"allow [{B}]:443"),
    # -- exact beats longer beats shorter
    ("+a.b.com -*.b.com", f"tcp {A} 1", "a.b.com", "allow a.b.com"),
    ("-a.b.com +*.b.com", f"tcp {A} 1", "a.b.com", "deny a.b.com"),
    ("+*.b.com -*.com", f"tcp {A} 1", "a.b.com", "allow *.b.com"),
    ("-*.b.com +*.com", f"tcp {A} 1", "a.b.com", "deny *.b.com"),
    ("+*.com -*", f"tcp {A} 1", "a.b.com", "allow *.com"),
    (f"+{A} -93.0.0.0/8", f"tcp {A} 1", "", f"allow {A}"),
    (f"-{A} +93.0.0.0/8", f"tcp {A} 1", "", f"deny {A}"),
    ("+93.0.0.0/8 -0.0.0.0/0", f"tcp {A} 1", "", "allow 93.0.0.0/8"),
    ("-93.184.0.0/16 +93.0.0.0/8", f"tcp {A} 1", "", "deny 93.184.0.0/16"),
    ("+a.b.com -tcp://*.b.com:1", f"tcp {A} 1", "a.b.com", "allow a.b.com"),
    ("-*.b.com +tcp://*.com:1", f"tcp {A} 1", "a.b.com", "deny *.b.com"),
    # -- then a named protocol beats none
    ("+tcp://a.com -a.com:1", f"tcp {A} 1", "a.com", "allow tcp://a.com"),
    ("-tcp://a.com +a.com:1", f"tcp {A} 1", "a.com", "deny tcp://a.com"),
    ("-tcp://a.com +a.com:1", f"udp {A} 1", "a.com", "allow a.com:1"),
    (f"+udp://{A} -{A}:1", f"udp {A} 1", "", f"allow udp://{A}"),
    # -- then fewer ports
    ("+a.com:1 -a.com:1-2", f"tcp {A} 1", "a.com", "allow a.com:1"),
    ("-a.com:1,3 +a.com:1-3", f"tcp {A} 1", "a.com", "deny a.com:1,3"),
    ("-a.com +a.com:443", f"tcp {A} 443", "a.com", "allow a.com:443"),
    ("-a.com +a.com:443", f"tcp {A} 80", "a.com", "deny a.com"),
    # -- then Deny
    ("+a.com:1 -a.com:1", f"tcp {A} 1", "a.com", "deny a.com:1"),
    ("+a.com:1 -a.com:2", f"tcp {A} 1", "a.com", "allow a.com:1"),
    (f"+{A} -{A}", f"tcp {A} 1", "", f"deny {A}"),
    ("+*.a.com -*.b.com", f"tcp {A} 1", "x.a.com x.b.com", "deny *.b.com"),
    # -- names and addresses together
    ("+a.com -93.0.0.0/8", f"tcp {A} 1", "a.com", "deny 93.0.0.0/8"),
    ("+a.com:443 -93.0.0.0/8", f"tcp {A} 443", "a.com", "deny 93.0.0.0/8"),
    (f"+a.com -93.0.0.0/8 +{A}", f"tcp {A} 1", "a.com", f"allow {A}"),
    ("+a.com -93.0.0.0/8:2", f"tcp {A} 1", "a.com", "allow a.com"),
    ("-a.com +93.0.0.0/8", f"tcp {A} 1", "a.com", "deny a.com"),
    ("-*.a.com +93.0.0.0/8", f"tcp {A} 1", "x.a.com", "deny *.a.com"),
    (f"-*.a.com +{A}", f"tcp {A} 1", "x.a.com", f"allow {A}"),
    (f"-a.com +{A}", f"tcp {A} 1", "a.com", "deny a.com"),
    (f"-a.com +{A}:1", f"tcp {A} 1", "a.com", f"allow {A}:1"),
    # -- a name reaches public addresses only, without private=True
    *(("+a.com", f"tcp {address} 1", "a.com", f"default: {kind}") for kind, address in (
        ("private", "10.0.0.1"), ("private", "172.16.0.1"), ("private", "192.168.0.1"), ("private", "100.64.0.1"),
        ("private", "fd00::1"), ("loopback", "127.0.0.1"), ("loopback", "::1"), ("unspecified", "0.0.0.0"),
        ("unspecified", "::"), ("link-local", "169.254.9.9"), ("link-local", "fe80::1"), ("multicast", "224.0.0.1"),
        ("multicast", "ff02::1"), ("reserved", "192.0.2.1"), ("reserved", "255.255.255.255"), ("reserved", "2001:db8::1"),
        ("metadata", "169.254.169.254"), ("metadata", "fd00:ec2::254"), ("metadata", "100.100.100.200"),
        ("metadata", "192.0.0.192"), ("metadata", "168.63.129.16"),
    )),
    *(("!a.com", f"tcp {address} 1", "a.com", "allow a.com private") for address in (
        "10.0.0.1", "fd00::1", "100.64.0.1", "127.0.0.1", "::1", "224.0.0.1", "192.0.2.1", A,
    )),
    ("!a.com", "tcp 169.254.9.9 1", "a.com", "default: link-local"),
    ("!a.com", "tcp 169.254.169.254 1", "a.com", "default: metadata"),
    ("!a.com +169.254.169.254:2", "tcp 169.254.169.254 1", "a.com", "default: metadata"),
    ("+a.com +10.0.0.0/8", "tcp 10.0.0.1 1", "a.com", "allow 10.0.0.0/8"),
    # -- broad blocks reach what is not link-local, metadata or loopback
    ("+0.0.0.0/0", "tcp 10.0.0.1 1", "", "allow 0.0.0.0/0"),
    ("+0.0.0.0/0", "udp 224.0.0.1 1", "", "allow 0.0.0.0/0"),
    ("+::/0", "tcp fd00::1 1", "", "allow ::/0"),
    ("+0.0.0.0/0", "tcp 127.0.0.1 1", "", "default: loopback"),
    ("+126.0.0.0/7", "tcp 127.0.0.1 1", "", "default: loopback"),
    ("+0.0.0.0/0", "tcp 0.0.0.0 1", "", "default: unspecified"),
    ("+::/0", "tcp ::1 1", "", "default: loopback"),
    ("+::/0", "tcp :: 1", "", "default: unspecified"),
    ("+127.0.0.0/8", "tcp 127.0.0.1 1", "", "allow 127.0.0.0/8"),
    ("+127.0.0.1:5432", "tcp 127.0.0.1 5432", "", "allow 127.0.0.1:5432"),
    ("+127.0.0.1:5432", "tcp 127.0.0.1 5433", "", "default"),
    ("+::1", "tcp ::1 1", "", "allow ::1"),
    *((f"+{block}", f"tcp {address} 80", "", f"default: {kind}") for block, address, kind in (
        ("0.0.0.0/0", "169.254.1.1", "link-local"), ("169.254.0.0/16", "169.254.1.1", "link-local"),
        ("::/0", "fe80::1", "link-local"), ("fe80::/64", "fe80::1", "link-local"),
        ("0.0.0.0/0", "169.254.169.254", "metadata"), ("169.254.169.254/31", "169.254.169.254", "metadata"),
        ("fd00:ec2::/32", "fd00:ec2::254", "metadata"), ("100.64.0.0/10", "100.100.100.200", "metadata"),
        ("192.0.0.0/24", "192.0.0.192", "metadata"), ("168.0.0.0/6", "168.63.129.16", "metadata"),
    )),
    *((f"+{address}", f"tcp {address} 80", "", f"allow {address}") for address in (
        "169.254.1.1", "fe80::1", "169.254.169.254", "fd00:ec2::254", "100.100.100.200", "192.0.0.192", "168.63.129.16",
    )),
    ("+169.254.169.254 -169.254.0.0/16", "tcp 169.254.169.254 80", "", "allow 169.254.169.254"),
    # -- disguises
    ("+1.2.3.4", "tcp ::ffff:1.2.3.4 1", "", "allow 1.2.3.4"),
    ("+::ffff:1.2.3.4", "tcp 1.2.3.4 1", "", "allow 1.2.3.4"),
    ("+::/0", "tcp ::ffff:1.2.3.4 1", "", "default"),
    ("+1.2.3.4", "tcp 64:ff9b::1.2.3.4 1", "", "default"),
    ("+1.2.3.4 +64:ff9b::/96", "tcp 64:ff9b::1.2.3.4 1", "", "allow 64:ff9b::/96"),
    ("+64:ff9b::/96", "tcp 64:ff9b::1.2.3.4 1", "", "default"),
    ("+64:ff9b::a9fe:a9fe", "tcp 64:ff9b::169.254.169.254 1", "", "default"),
    ("+a.com", "tcp 64:ff9b::8.8.8.8 1", "a.com", "allow a.com"),
    ("+a.com", "tcp 64:ff9b::10.0.0.1 1", "a.com", "default: private"),
    ("+::/0 +0.0.0.0/0 -1.2.3.4", "tcp 2002:102:304::1 1", "", "deny 1.2.3.4"),
    ("host", "tcp ::ffff:169.254.169.254 80", "", "default: metadata"),
    ("host", "tcp ::169.254.169.254 80", "", "default: metadata"),
    ("host", "tcp ::ffff:0:169.254.169.254 80", "", "default: metadata"),
    ("host", "tcp 64:ff9b::169.254.169.254 80", "", "default: metadata"),
    ("host", "tcp 64:ff9b:1::169.254.169.254 80", "", "default: metadata"),
    ("host", "tcp 64:ff9b:1:a9fe:a9:fe00:808:808 80", "", "default: metadata"),
    ("host", "tcp 64:ff9b:1:ffa9:fe:a9fe:808:808 80", "", "default: metadata"),
    ("host", "tcp 64:ff9b:1:ffff:a9:fea9:fe08:808 80", "", "default: metadata"),
    ("host", "tcp 2002:a9fe:a9fe::1 80", "", "default: metadata"),
    ("host", "tcp 2001:0:808:808::5601:5601 80", "", "default: metadata"),
    ("host", "tcp 2001:0:a9fe:a9fe::f7f7:f7f7 80", "", "default: metadata"),
    ("host", "tcp 64:ff9b:1::8.8.8.8 80", "", "host"),
]  # fmt: skip


@pytest.mark.parametrize(("rules", "asked", "names", "rule"), ADDRESSES)
def test_addresses(rules: str, asked: str, names: str, rule: str) -> None:
    """The rule that decides, and so whether it is allowed."""
    verdict = judge(rules_of(rules), asked, *names.split())
    assert (verdict.rule, verdict.allowed) == (rule, not rule.startswith(("default", "deny")))
    assert verdict.reason


@pytest.mark.parametrize("address", [b"", b"123", b"1" * 17, "1.2.3.4", 16909060, None])
def test_what_is_no_address_is_denied(address: Any) -> None:
    assert Rules.compile("host").judge_address("tcp", address, 80) == Verdict(False, "default", "no address")


def test_a_verdict_says_why() -> None:
    assert judge("host", "tcp 2002:a9fe:a9fe::1 80").reason == (
        "carries 169.254.169.254: metadata address: only a rule of exactly this address reaches it"
    )
    assert "private=True" in judge([Allow("a.com")], "tcp 10.0.0.1 80", "a.com").reason


NAMES = [
    ("none", "a.com", "default"),
    ("loopback", "a.com", "default"),
    ("host", "a.com", "host"),
    ("host -*.ads.com", "x.ads.com", "deny *.ads.com"),
    ("+a.com:443", "A.COM.", "allow a.com:443"),
    ("+a.com", "b.com", "default"),
    ("+*.a.com", "a.com", "default"),
    ("+*.a.com", "x.y.a.com", "allow *.a.com"),
    ("+10.0.0.0/8", "a.com", "default"),
    ("+bücher.de", "bücher.de", "allow xn--bcher-kva.de"),
    # -- a Deny of the same or a higher rank
    ("+a.com -a.com", "a.com", "deny a.com"),
    ("+a.com:443 -a.com", "a.com", "allow a.com:443"),
    ("+a.com:443 -a.com:443", "a.com", "deny a.com:443"),
    ("+*.a.com -x.a.com", "x.a.com", "deny x.a.com"),
    ("+x.a.com -*.a.com", "x.a.com", "allow x.a.com"),
    # -- that covers all of it, alone or with others
    ("+a.com -a.com:443", "a.com", "allow a.com"),
    ("+a.com -tcp://a.com", "a.com", "allow a.com"),
    ("+a.com -tcp://a.com -udp://a.com", "a.com", "deny udp://a.com"),
    ("+a.com:1-4 -a.com:1-2 -a.com:3,4", "a.com", "deny a.com:3-4"),
    ("+a.com:1-5 -a.com:1-2 -a.com:4-5", "a.com", "allow a.com:1-5"),
    ("+tcp://a.com:1 -tcp://a.com:1 -udp://a.com", "a.com", "deny tcp://a.com:1"),
    # -- no names
    *(("host", name, "default") for name in ("", ".", "a..b", "1.2.3.4", "127.1", "2130706433", "0x7f.1", "::1", "*.a.com",
        "a b", "a.com\n", "a\0.com", "a" * 64, "a." * 130, "\udcff", "ﬁ.com")),
]  # fmt: skip


@pytest.mark.parametrize(("rules", "name", "rule"), NAMES)
def test_names(rules: str, name: str, rule: str) -> None:
    verdict = Rules.compile(rules_of(rules)).judge_name(name)
    assert (verdict.rule, verdict.allowed) == (rule, not rule.startswith(("default", "deny")))


# ---- whatever comes ---------------------------------------------------------------------------------------------

WHATS = [
    *("a.com", "b.com", "x.a.com", "*.a.com", "*.com", "*"),
    *("1.2.3.4", "1.2.3.0/24", "0.0.0.0/0", "10.0.0.1", "10.0.0.0/8", "127.0.0.1", "127.0.0.0/8", "8.8.0.0/16"),
    *("169.254.169.254", "169.254.0.0/16", "::1", "::/0", "64:ff9b::/96", "64:ff9b::a00:1", "2002::/16", "2001::/32"),
    *("::fffe:0:0/95", "::1.2.3.4", "fd00:ec2::/32"),
]
PORTS = ["", ":1", ":2", ":1-2", ":2-3", ":1-65535"]
TARGETS = st.builds(
    lambda protocol, what, ports: f"{protocol}[{what}]{ports}" if ":" in what else f"{protocol}{what}{ports}",
    st.sampled_from(["", "tcp://", "udp://"]),
    st.sampled_from(WHATS),
    st.sampled_from(PORTS),
)
RULES = st.lists(st.builds(Allow, TARGETS, private=st.booleans()) | st.builds(Deny, TARGETS), max_size=8)
NETWORKS = RULES | RULES.map(lambda rules: ["host", *rules])
KNOWN = ["1.2.3.4", "10.0.0.1", "8.8.8.8", *(block.partition("/")[0] for blocks in KINDS.values() for block in blocks)]
V4 = st.sampled_from([text for text in KNOWN if ":" not in text]).map(IPv4Address) | st.ip_addresses(v=4)
ALL_ADDRESSES = V4 | st.sampled_from(KNOWN).map(ip_address) | st.ip_addresses()
PROTOCOLS = st.sampled_from(["tcp", "udp"])
SOME_NAMES = st.lists(st.sampled_from(["a.com", "B.com.", "x.a.com", "y.x.a.com", "c.org", "com"]), max_size=3)


@given(
    NETWORKS,
    PROTOCOLS | st.text(max_size=4),
    ALL_ADDRESSES | st.binary(max_size=20) | st.ip_addresses().map(lambda address: address.packed),
    st.integers() | st.integers(0, 4),
    st.lists(st.text(max_size=20) | st.from_regex(r"[a-z*.0-9\u00e0-\uffff-]{0,20}"), max_size=3),
)
def test_judge_never_raises(network: Any, protocol: str, address: Any, port: int, names: Sequence[str]) -> None:
    rules = Rules.compile(network)
    assert isinstance(rules.judge_address(protocol, address, port, names), Verdict)
    for name in names:
        assert isinstance(rules.judge_name(name), Verdict)


@given(st.data(), NETWORKS, PROTOCOLS, ALL_ADDRESSES, st.integers(0, 4), SOME_NAMES)
def test_order_says_nothing(data: Any, network: Any, protocol: str, address: Any, port: int, names: list[str]) -> None:
    """The same rules and names in another order give the same verdict, to the letter."""
    first, second = Rules.compile(network), Rules.compile(data.draw(st.permutations(network)))
    others = data.draw(st.permutations(names))
    assert first.judge_address(protocol, address, port, names) == second.judge_address(protocol, address, port, others)
    for name in names:
        assert first.judge_name(name) == second.judge_name(name)


@given(NETWORKS, PROTOCOLS, V4, st.integers(0, 4), SOME_NAMES)
def test_disguises_of_the_same_address(network: Any, protocol: str, address: Any, port: int, names: list[str]) -> None:
    """Bytes and the mapped form, with a scope or without, are the address: one verdict, to the letter."""
    rules = Rules.compile(network)
    mapped = IPv6Address(b"\0" * 10 + b"\xff\xff" + address.packed)
    verdict = rules.judge_address(protocol, address, port, names)
    for other in (address.packed, mapped, mapped.packed, IPv6Address(f"{mapped}%eth0")):
        assert rules.judge_address(protocol, other, port, names) == verdict


def disguises(address: IPv4Address) -> list[IPv6Address]:
    raw = address.packed
    flipped = bytes(octet ^ 255 for octet in raw)
    prefixed = {"::": raw, "::ffff:0:0:0": raw, "64:ff9b::": raw, "64:ff9b:1::": raw}
    made = [IPv6Address(IPv6Address(prefix).packed[:12] + tail) for prefix, tail in prefixed.items()]
    made.append(IPv6Address(b"\x20\x02" + raw + b"\0" * 9 + b"\1"))
    made.append(IPv6Address(b"\x20\x01\0\0" + raw + b"\0" * 4 + flipped))
    return made


@given(NETWORKS, PROTOCOLS, V4.filter(lambda address: address.packed[0] > 0), st.integers(0, 4), SOME_NAMES)
def test_what_carries_a_denied_address_is_denied(
    network: Any, protocol: str, address: Any, port: int, names: list[str]
) -> None:
    rules = Rules.compile(network)
    if not rules.judge_address(protocol, address, port, names).allowed:
        assert not any(rules.judge_address(protocol, other, port, names).allowed for other in disguises(address))


@given(NETWORKS, PROTOCOLS, V4.filter(lambda address: address.packed[0] > 0), st.integers(0, 4))
def test_what_carries_an_address_is_judged_as_it(network: Any, protocol: str, address: Any, port: int) -> None:
    """Where the IPv6 addresses themselves are allowed, each has the verdict of the IPv4 address, by the same rule."""
    of_v4 = [rule for rule in network if isinstance(rule, str) or not is_v6(rule)]
    rules = Rules.compile([*of_v4, *(Allow(str(other)) for other in disguises(address))])
    verdict = rules.judge_address(protocol, address, port)
    for other in disguises(address):
        found = rules.judge_address(protocol, other, port)
        assert found.allowed == verdict.allowed and (found.allowed or found.rule == verdict.rule)


def is_v6(rule: Any) -> bool:
    block = parse_target(rule.target, "rule").block
    return block is not None and block.version == 6


@given(RULES, SOME_NAMES)
def test_a_name_is_resolved_where_it_can_be_reached(network: Any, names: list[str]) -> None:
    """judge_name says yes exactly where some protocol and port of a public address is allowed by that name."""
    rules = Rules.compile([rule for rule in network if "com" in rule.target or "*" in rule.target])
    for name in names:
        asked = [(protocol, port) for protocol in ("tcp", "udp") for port in (1, 2, 3, 4, 65535)]
        reached = [rules.judge_address(protocol, ip_address(A), port, [name]).allowed for protocol, port in asked]
        assert rules.judge_name(name).allowed == any(reached)


def test_rules_that_were_asked_are_copied() -> None:
    rules = Rules.compile([Allow("a.com"), Deny(A)])
    before = rules.judge_address("tcp", ip_address(A), 443, ["a.com"])
    copy = pickle.loads(pickle.dumps(rules))
    assert copy == rules and copy.judge_address("tcp", ip_address(A), 443, ["a.com"]) == before
