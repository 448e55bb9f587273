"""What a rule of a network may be, and what an address is."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox import Allow, Deny, Hosts, PolicyError, Publish
from sandbox._addresses import carried, kind_of, plain
from sandbox._targets import parse_target

# ---- targets ----------------------------------------------------------------------------------------------------

CANONICAL = [
    ("example.com", "example.com"),
    ("Example.COM.:443", "example.com:443"),
    ("TCP://example.com", "tcp://example.com"),
    ("*.example.com:443,80", "*.example.com:80,443"),
    ("*", "*"),
    ("*:53", "*:53"),
    ("db", "db"),
    ("_sip.example.com", "_sip.example.com"),
    ("bücher.example", "xn--bcher-kva.example"),
    ("BÜCHER.example", "xn--bcher-kva.example"),
    ("a" * 63 + ".com", "a" * 63 + ".com"),
    ("1.2.3.4", "1.2.3.4"),
    ("1.2.3.4/32:443", "1.2.3.4:443"),
    ("10.0.0.0/8:5432", "10.0.0.0/8:5432"),
    ("udp://1.1.1.1:53", "udp://1.1.1.1:53"),
    ("2001:DB8:0:0::1", "2001:db8::1"),
    ("[2001:db8::1]", "2001:db8::1"),
    ("[2001:db8::1]:443", "[2001:db8::1]:443"),
    ("[2001:db8::/32]:443", "[2001:db8::/32]:443"),
    ("udp://2001:db8::/32", "udp://2001:db8::/32"),
    ("::ffff:1.2.3.4", "1.2.3.4"),
    ("[::ffff:10.0.0.0/104]:22", "10.0.0.0/8:22"),
    ("a.com:*", "a.com"),
    ("a.com:1-65535", "a.com"),
    ("a.com:8000-8010", "a.com:8000-8010"),
    ("a.com:8005-8020,8000-8010,8021", "a.com:8000-8021"),
    ("a.com:80-80,80", "a.com:80"),
]


@pytest.mark.parametrize(("text", "canonical"), CANONICAL)
def test_targets_have_one_spelling(text: str, canonical: str) -> None:
    """However it is written, a target is kept in one way, so that equal rules are equal."""
    assert Allow(text).target == Deny(text).target == canonical
    assert Allow(text) == Allow(canonical)


BAD = [
    ("", "empty"),
    (5, "no text"),
    (None, "no text"),
    (b"a.com", "no text"),
    *((text, "whitespace") for text in (" a.com", "a.com ", "a b.com", "a.com\n", "a\tb", "a.com:80, 443", "a\0.com")),
    *((text, "empty label") for text in ("a..b", ".a.com", ".", "a.com..", "*.", "*..a", "tcp://", ":80")),
    ("a" * 64 + ".com", "63 characters"),
    ("ü" * 60 + ".com", "label"),
    (".".join(["a" * 63] * 4), "253 characters"),
    *((text, "label") for text in ("*a.com", "a.*.com", "**", "*.*.com", "a$b.com", "user@a.com", "a\\b")),
    *((text, "is read as") for text in ("straße.de", "ﬁ.com", "ａ.com", "a。com", "１.com")),
    ("\udcff.com", "control character"),
    *((f"a.com:{ports}", "1 to 65535") for ports in ("0", "65536", "0-5", "1-65536", "99999999999999999999")),
    *((f"a.com:{ports}", "ports") for ports in ("x", "80,", ",80", "-5", "5-", "1-2-3", "+80", "080", "80;90", "٨٠")),
    ("a.com:90-80", "backwards"),
    *((text, "after the colon") for text in ("a.com:", "1.2.3.4:")),
    *((text, "host bits set") for text in ("10.0.0.1/8", "2001:db8::1/32", "::ffff:10.0.0.1/104")),
    *((text, "zone") for text in ("fe80::1%eth0", "[fe80::1%1]:80", "fe80::%eth0/64")),
    *((f"{scheme}://a.com", "unknown scheme") for scheme in ("http", "sctp", "icmp", "", "tcp://udp")),
    *(
        (text, "neither an address")
        for text in (
            "0177.0.0.1",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "127.0.0.0x1",
            "010.0.0.1",
            "1.2.3.4.5",
        )
    ),
    *(
        (text, "neither an address")
        for text in ("256.0.0.1", "1.2.3.4/33", "::1/129", "1::2::3", "a.com/24", "1.2.3.4.")
    ),
    *(
        (text, "prefix length")
        for text in ("10.0.0.0/255.0.0.0", "10.0.0.0/", "10.0.0.0/08", "10.0.0.0/+8", "1.2.3.4/-1")
    ),
    *((text, "brackets") for text in ("[::1", "[1.2.3.4]:80", "[a.com]:80", "[::1]80", "[::1]:", "[::]/0:80", "[]")),
    ("a.0x7f", "neither an address"),
    ("*.1", "neither an address"),
]


@pytest.mark.parametrize(("text", "what"), BAD)
@pytest.mark.parametrize("kind", [Allow, Deny])
def test_targets_that_cannot_be(kind: Any, text: Any, what: str) -> None:
    """The error names the rule, the text and what is wrong with it."""
    with pytest.raises(PolicyError, match=what) as caught:
        kind(text)
    assert str(caught.value).startswith(f"{kind.__name__.lower()} {text!r}: ")


@given(
    st.text(max_size=40) | st.from_regex(r"((tcp|udp)://)?\[?[0-9a-f:.*x/%-]{1,20}\]?(:[0-9,*-]{0,8})?", fullmatch=True)
)
def test_any_text_is_a_target_or_an_error(text: str) -> None:
    """Text means what its canonical form means, or is refused with a PolicyError."""
    try:
        target = parse_target(text, "allow")
    except PolicyError:
        return
    assert parse_target(str(target), "allow") == target
    assert Allow(str(target)).target == str(target)


# ---- other rules ------------------------------------------------------------------------------------------------


def test_values() -> None:
    """Rules can be compared, shown, copied and kept in sets; they do not change."""
    rules: tuple[Any, ...] = (
        Allow("a.com", private=True),
        Deny("a.com"),
        Publish(80, 8080, ["::1"]),
        Hosts({"a": "::1"}),
    )
    assert repr(rules[:2]) == "(Allow(target='a.com', private=True), Deny(target='a.com'))"
    assert pickle.loads(pickle.dumps(rules)) == copy.deepcopy(rules) == rules
    assert {*rules, *copy.deepcopy(rules)} == set(rules) and len(set(map(str, rules))) == 4
    assert Allow("a.com") != rules[0] != rules[1]
    for rule in rules:
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(rule, dataclasses.fields(rule)[0].name, "x")


@pytest.mark.parametrize(
    ("host", "shown", "address"),
    [
        (18080, "127.0.0.1:18080", "127.0.0.1"),
        ("18080", "127.0.0.1:18080", "127.0.0.1"),
        ("0.0.0.0:18080", "0.0.0.0:18080", "0.0.0.0"),
        ("[::0]:18080", "[::]:18080", "::"),
        ("[::ffff:1.2.3.4]:18080", "1.2.3.4:18080", "1.2.3.4"),
    ],
)
def test_publish(host: Any, shown: str, address: str) -> None:
    rule = Publish(80, host)
    assert (rule.guest, rule.host, rule.sources) == (80, shown, ())
    assert rule.listening == (ip_address(address), 18080)


@pytest.mark.parametrize(
    ("guest", "host", "sources", "what"),
    [
        (0, 80, (), "1 to 65535"),
        ("80", 80, (), "1 to 65535"),
        (True, 80, (), "1 to 65535"),
        (80, 0, (), "1 to 65535"),
        (80, 65536, (), "1 to 65535"),
        (80, "0", (), "1 to 65535"),
        (80, "::1", (), "ADDRESS:PORT"),
        (80, "1.2.3.4", (), "ADDRESS:PORT"),
        (80, "1.2.3.4:80-90", (), "ADDRESS:PORT"),
        (80, "localhost:80", (), "neither an address"),
        (80, "10.0.0.0/8:80", (), "no single address"),
        (80, "", (), "empty"),
        (80, None, (), "no text"),
        (80, 80, "127.0.0.1", "no list"),
        (80, 80, 5, "no list"),
        (80, 80, ["a.com"], "source 'a.com'"),
        (80, 80, ["127.1"], "source '127.1'"),
        (80, 80, [5], "source 5"),
    ],
)
def test_publish_that_cannot_be(guest: Any, host: Any, sources: Any, what: str) -> None:
    with pytest.raises(PolicyError, match=what) as caught:
        Publish(guest, host, sources)
    assert str(caught.value).startswith(f"publish {host!r}: ")


def test_publish_admits_its_sources() -> None:
    """Without sources everyone is admitted; a mapped address is its IPv4 address; what is no address is not admitted."""
    rule = Publish(80, 80, ["127.0.0.0/8", "2001:db8::1", "127.0.0.0/8"])
    assert rule.sources == ("127.0.0.0/8", "2001:db8::1")
    for source in (ip_address("127.9.9.9"), b"\x7f\0\0\1", ip_address("::ffff:127.0.0.1"), ip_address("2001:db8::1")):
        assert rule.admits(source)
    for other in (ip_address("10.0.0.1"), ip_address("::1"), ip_address("::127.0.0.1"), b"", b"123"):
        assert not rule.admits(other)
    assert Publish(80, 80).admits(ip_address("8.8.8.8")) and not Publish(80, 80).admits(b"")


def test_hosts() -> None:
    rule = Hosts({"DB.internal.": "10.0.0.5", "b": ["::1", "::ffff:1.2.3.4", "::1"]})
    assert dict(rule.mapping) == {"db.internal": ("10.0.0.5",), "b": ("::1", "1.2.3.4")}
    with pytest.raises(TypeError):
        rule.mapping["c"] = ()  # type: ignore[index]


@pytest.mark.parametrize(
    ("mapping", "what"),
    [
        ([("a", "::1")], "no mapping"),
        ({"*.a": "::1"}, "label"),
        ({"": "::1"}, "empty"),
        ({5: "::1"}, "no text"),
        ({"a": "10.0.0.0/8"}, "no single address"),
        ({"a": "b"}, "neither an address"),
        ({"a": []}, "no address"),
        ({"a": 5}, "hosts 'a'"),
        ({"a": "::1", "A": "::2"}, "twice"),
    ],
)
def test_hosts_that_cannot_be(mapping: Any, what: str) -> None:
    with pytest.raises(PolicyError, match=what):
        Hosts(mapping)


# ---- addresses --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "addresses"),
    [
        ("public", "8.8.8.8 172.32.0.1 100.128.0.1 2606:4700::1111 64:ff9b::808:808"),
        ("private", "10.1.2.3 172.16.0.1 172.31.255.255 192.168.1.1 100.64.0.1 fc00::1 fdff::1 fec0::1"),
        ("loopback", "127.0.0.1 127.255.255.255 ::1"),
        ("unspecified", "0.0.0.0 0.1.2.3 ::"),
        ("link-local", "169.254.0.1 169.254.170.2 fe80::1 febf::1"),
        ("multicast", "224.0.0.1 239.255.255.255 ff02::1"),
        ("reserved", "192.0.2.1 198.18.0.1 203.0.113.9 240.0.0.1 255.255.255.255 2001:db8::1 3fff::1 4000::1 100::1"),
        ("metadata", "169.254.169.254 100.100.100.200 192.0.0.192 168.63.129.16 fd00:ec2::254 fd20:ce::254"),
    ],
)
def test_kinds(kind: str, addresses: str) -> None:
    assert {kind_of(ip_address(text)) for text in addresses.split()} == {kind}


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("::1.2.3.4", "1.2.3.4"),
        ("::ffff:0:1.2.3.4", "1.2.3.4"),
        ("64:ff9b::1.2.3.4", "1.2.3.4"),
        ("64:ff9b:1::1.2.3.4", "1.2.3.4 0.0.0.1"),
        ("64:ff9b:1:102:3:400::", "1.2.3.4 2.3.4.0 3.4.0.0"),
        ("2002:102:304::9", "1.2.3.4"),
        ("2001:0:102:304::fefd:fcfb", "1.2.3.4 1.2.3.4"),
        ("::", ""),
        ("::1", ""),
        ("2606:4700::1111", ""),
        ("1.2.3.4", ""),
    ],
)
def test_carried(text: str, inside: str) -> None:
    """Every place of an IPv6 address that is read as an IPv4 address; nothing of what starts with 0 in a doubtful one."""
    found = {str(address) for address in carried(ip_address(text))}
    assert found == set(inside.split()) - {"0.0.0.1"}


def test_plain() -> None:
    """A scope says nothing, mapped is IPv4, and bytes are what the kernel has."""
    assert plain(IPv6Address("fe80::1%eth0")) == IPv6Address("fe80::1") == plain(IPv6Address("fe80::1").packed)
    assert plain(IPv6Address("::ffff:1.2.3.4").packed) == IPv4Address("1.2.3.4") == plain(b"\1\2\3\4")
    assert [plain(other) for other in (b"", b"12345", "1.2.3.4", 5, None)] == [None] * 5
