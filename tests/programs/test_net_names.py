"""Programs that ask for names, and whether somebody is there."""

from __future__ import annotations

import pytest

from sandbox import Allow, Hosts
from tests.helpers import Twin, program

RULES = [Allow("192.0.2.1"), Hosts({"db.test": ["192.0.2.7", "192.0.2.8"], "six.test": ["2001:db8::7"]})]


@pytest.mark.parametrize("transport", ["+notcp", "+tcp"])
def test_dig(twin: Twin, transport: str) -> None:
    """dig binds its socket to every address before it connects it to the resolver."""
    twin.network = RULES
    script = f"{program('dig')} {transport} +time=10 +tries=1 +short db.test a; dig {transport} +short six.test aaaa; dig {transport} no.test | grep -o NXDOMAIN"
    done = twin.inside(script)
    assert sorted(done.stdout.split()) == [b"192.0.2.7", b"192.0.2.8", b"2001:db8::7", b"NXDOMAIN"], done


def test_nslookup(twin: Twin) -> None:
    twin.network = RULES
    done = twin.inside(f"{program('nslookup')} -type=a db.test; nslookup -type=aaaa six.test; nslookup no.test || echo $?")
    assert done.stdout.count(b"Address: 192.0.2.") == 2 and b"Address: 2001:db8::7" in done.stdout, done
    assert b"Server:\t\t127.0.0.53" in done.stdout and b"can't find no.test: NXDOMAIN\n" in done.stdout, done
    assert done.stdout.endswith(b"1\n"), done


@pytest.mark.parametrize("network", ["loopback", RULES], ids=["own namespace", "served"])
def test_ping_is_refused(twin: Twin, network: object) -> None:
    """At once, and with a reason: there are neither raw nor ICMP sockets."""
    twin.network = network
    done = twin.inside([program("ping"), "-c1", "127.0.0.1"], timeout=30)
    assert (done.status, b"Operation not permitted" in done.stderr) == (2, True), done
