"""Programs that ask for names, for interfaces, and whether somebody is there."""

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


LISTS = {
    "ip": ("{ip} -4 -o addr | cut -d' ' -f2,7; {ip} -o link | cut -d: -f1,2", "lo 127.0.0.1/8 lo 127.0.0.2/8 1: lo"),
    "node": ("{node} -p 'Object.values(require(\"os\").networkInterfaces()).flat().every(i => i.internal)'", "true"),
}


@pytest.mark.parametrize("network", ["loopback", RULES], ids=["own namespace", "served"])
@pytest.mark.parametrize("name", LISTS)
def test_interfaces(twin: Twin, name: str, network: object) -> None:
    """By netlink, as getifaddrs does."""
    twin.network = network
    script, expected = LISTS[name]
    done = twin.inside(script.replace("{" + name + "}", program(name)))
    assert " ".join(done.stdout.decode().split()) == expected, done


GO = """
package main
import ("fmt"; "net")
func main() {
	all, err := net.Interfaces()
	if err != nil { panic(err) }
	for _, each := range all {
		addresses, err := each.Addrs()
		fmt.Println(each.Index, each.Name, each.Flags & net.FlagUp != 0, len(addresses) > 1, err)
	}
}
"""


@pytest.mark.parametrize("network", ["loopback", RULES], ids=["own namespace", "served"])
def test_interfaces_by_go(twin: Twin, network: object, tmp_path: object) -> None:
    go = program("go", "/usr/local/go/bin", "/usr/lib/go/bin")
    twin.write("main.go", GO)
    env = {"GOCACHE": f"{tmp_path}", "GOPATH": f"{tmp_path}", "GO111MODULE": "off", "CGO_ENABLED": "0"}
    assert twin.native([go, "build", "-o", twin.there / "program", "main.go"], env=env, timeout=300).status == 0
    twin.network = network
    assert twin.inside(["./program"]).stdout == b"1 lo true true <nil>\n"
