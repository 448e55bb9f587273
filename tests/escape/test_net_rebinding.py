"""A name that a guest may resolve is made to lead to the host, to its network or to a metadata service: at once, after it led
somewhere harmless, behind an alias, in IPv6, and under another name than the one that was allowed."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from sandbox import Allow
from tests.escape.attack import box, ordinary
from tests.test_internet_names import upstream
from tests.test_names_upstream import NameServer, server

__all__ = ["server", "upstream"]

TRY = """
import socket, sys
port, names = int(sys.argv[1]), sys.argv[2:]
for name in names:
    try: found = {each[4][0] for each in socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)}
    except socket.gaierror: found = set()
    print(name, *sorted(found))
for host in ("127.0.0.1", "::1", "10.0.0.5", "169.254.169.254", *names): # and what it was not told
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    sock.setblocking(False)
    try: error = sock.connect_ex((host, port))
    except socket.gaierror: continue
    if error in (0, 115): print("reached", host)
"""
BAD = {
    "127.0.0.1": "evil.test 0 A 127.0.0.1",
    "0.0.0.0": "evil.test 0 A 0.0.0.0",
    "10.0.0.5": "evil.test 0 A 10.0.0.5",
    "169.254.169.254": "evil.test 0 A 169.254.169.254",
    "an alias": "evil.test 0 CNAME inner.test\ninner.test 0 A 127.0.0.1",
    "::1": "evil.test 0 AAAA ::1",
    "mapped": "evil.test 0 AAAA ::ffff:127.0.0.1",
    "NAT64": "evil.test 0 AAAA 64:ff9b::a9fe:a9fe",
    "beside another": "evil.test 0 A 192.0.2.7\nevil.test 0 A 127.0.0.1",
}


@pytest.fixture
def port() -> Iterator[int]:
    """Of a service at both loopbacks of the host."""
    with socket.create_server(("127.0.0.1", 0)) as four, socket.create_server(("::1", four.getsockname()[1]), family=socket.AF_INET6):  # fmt: skip
        yield four.getsockname()[1]


def python(*arguments: object) -> list[str]:
    return [sys.executable, "-c", TRY, *map(str, arguments)]


@ordinary
@pytest.mark.parametrize("bad", BAD)
def test_it_leads_nowhere(upstream: NameServer, port: int, bad: str) -> None:
    """At once, and when the name has led to an address of the world before: that one may be reached still."""
    with box(network=[Allow("evil.test"), Allow("*.evil.test")]) as guest:
        upstream.zone.clear()
        upstream.load(BAD[bad])
        told = guest.run(python(port, "evil.test"), text=True, timeout=100)
        assert told.stdout == "evil.test\n", told
        upstream.zone.clear()
        upstream.load("evil.test 0 A 93.184.216.34")
        assert "93.184.216.34" in guest.run(python(port, "evil.test"), text=True, timeout=100).stdout
        upstream.zone.clear()
        upstream.load(BAD[bad])
        told = guest.run(python(port, "evil.test"), text=True, timeout=100)
        assert told.stdout == "evil.test\n", told


NAMED = {"169.254.169.254": ["169.254.169.254"], "NAT64": ["64:ff9b::a9fe:a9fe", "169.254.169.254"]}
"""Of BAD, what is refused though a rule says private=True: until others name the address, and what it stands for."""


@ordinary
@pytest.mark.parametrize("bad", BAD)
def test_it_does_with_the_guard_left_out(upstream: NameServer, port: int, bad: str) -> None:
    """A rule that says private=True, or names the address."""
    upstream.load(BAD[bad])
    address = BAD[bad].split()[-1]
    private = Allow("evil.test", private=True)
    for rules in [[private], [private, *map(Allow, NAMED.get(bad, ()))]]:
        with box(network=rules) as guest:
            told = guest.run(python(port, "evil.test"), text=True, timeout=100).stdout.splitlines()
        lifted = bad not in NAMED or len(rules) > 1
        assert (address in told[0].split()) == lifted, told
    met = {"127.0.0.1", "10.0.0.5", "169.254.169.254", "::1"} & {address.replace("::ffff:", "")}
    assert {f"reached {each}" for each in met} <= set(told), told


@ordinary
@pytest.mark.parametrize("other", ["is private", "is of another port"])
def test_a_name_lends_its_address_to_no_other_rule(upstream: NameServer, port: int, other: str) -> None:
    """That the address is reached under one name opens no port of it that only another name's rule has."""
    rules: dict[str, list[Any]] = {
        "is private": [Allow("evil.test"), Allow("db.test:1", private=True)],
        "is of another port": [Allow("evil.test:1", private=True), Allow(f"db.test:{port}", private=True)],
    }
    upstream.load("evil.test 60 A 127.0.0.1\ndb.test 60 A 127.0.0.2")
    with box(network=rules[other]) as guest:
        told = guest.run(python(port, "evil.test", "db.test"), text=True, timeout=100)
        assert "reached 127.0.0.1\n" not in told.stdout and "reached evil" not in told.stdout, told
