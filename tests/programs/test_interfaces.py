"""Interfaces and own addresses, as programs see them: the same as natively in a network namespace that is set up so by ip(8)."""

from __future__ import annotations

import functools
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Optional, Union

import pytest

from sandbox import Allow
from tests.escape.attack import every_wall, ordinary, standing
from tests.helpers import Run, Twin, program

NETWORKS: dict[str, Union[str, list[Allow]]] = {"own namespace": "loopback", "served": [Allow("192.0.2.1"), Allow("10.0.2.2")], "host": "host"}
LOOPBACK = "{ip} link set lo up; {ip} addr add 127.0.0.2/8 dev lo label lo:2; {ip} addr add ::ffff:127.0.0.2/128 dev lo"
ETH0 = """{ip} link add eth0 index 16 address 02:00:00:00:00:10 type {kind}; {ip} link set eth0 addrgenmode none; {ip} link set eth0 up
{ip} addr add 10.0.2.15/24 brd + dev eth0; {ip} route add default via 10.0.2.2"""


@functools.cache
def kind() -> Optional[str]:
    """Of interface that this kernel has without loading a module."""
    for name in ("dummy", "ifb"):
        if not os.path.exists("/proc/sys/kernel/modprobe") or os.path.exists(f"/sys/module/{name}"):
            command = ["unshare", "--user", "--map-root-user", "--net", program("ip"), "link", "add", "eth0", "type", name]
            if subprocess.run(command, capture_output=True).returncode == 0:
                return name
    return None


def native(twin: Twin, command: str, served: bool) -> Run:
    """In a world that has what the guest should have."""
    if served and kind() is None:
        pytest.skip("the kernel has neither dummy nor ifb, or nobody may make a network namespace here")
    script = (LOOPBACK + "\n" + ETH0 * served).format(ip=program("ip"), kind=kind())
    args = ["unshare", "--user", "--map-root-user", "--net", "/bin/sh", "-ec", f"{script}\n{command}"]
    done = subprocess.run(args, cwd=twin.here, env=twin.env, stdin=subprocess.DEVNULL, capture_output=True, timeout=120)
    return Run(done.returncode, done.stdout, done.stderr)


@pytest.fixture(params=NETWORKS)
def served(twin: Twin, request: pytest.FixtureRequest) -> bool:
    twin.network = NETWORKS[request.param]
    return twin.network != "loopback"


BY_IOCTL = """
import array, fcntl, socket, struct
s = socket.socket(type=socket.SOCK_DGRAM)
room = array.array("B", bytes(400))
size = struct.unpack("iP", fcntl.ioctl(s, 0x8912, struct.pack("iP", 0, 0)))[0]
for have in (400, 100, 39):
    got = struct.unpack("iP", fcntl.ioctl(s, 0x8912, struct.pack("iP", have, room.buffer_info()[0])))[0]
    print(have, got, size, [room[at:at + 16].tobytes().rstrip(b"\\0") for at in range(0, got, 40)])
fcntl.ioctl(s, 0x8912, struct.pack("iP", 400, room.buffer_info()[0]))
ADDRESS, MASK, BROADCAST, OTHER = 0x8915, 0x891b, 0x8919, 0x8917
for at in range(0, size, 40):
    name = room[at:at + 16].tobytes()
    flags = struct.unpack_from("h", fcntl.ioctl(s, 0x8913, name + bytes(24)), 16)[0]
    asked = [0x8933, 0x8921, 0x8927, ADDRESS, MASK, *([BROADCAST, OTHER] if flags & 2 else [])]
    print(name.rstrip(b"\\0"), flags, [fcntl.ioctl(s, number, name + bytes(24))[16:32].hex() for number in asked], room[at + 16:at + 24].tobytes())
for number, asked in ((0x8910, struct.pack("16si", b"", 77)), (0x8933, b"none"), (0x8915, b"eth7")):
    try: print(fcntl.ioctl(s, number, asked.ljust(40, b"\\0")))
    except OSError as error: print(error.strerror)
"""
BY_NAME = """
import socket
print(socket.if_nameindex(), [(n, socket.if_nametoindex(n), socket.if_indextoname(i)) for i, n in socket.if_nameindex()])
for key, call in ((99, socket.if_indextoname), ("eth9", socket.if_nametoindex)):
    try: print(call(key))
    except OSError as error: print(type(error))
print([socket.getaddrinfo(a, 80, f, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG) for f, a in ((socket.AF_INET, "192.0.2.9"), (socket.AF_INET6, "2001:db8::9"))])
"""
LISTS = {
    "ip": "({ip} -o addr; {ip} -o link; {ip} route; {ip} route get 192.0.2.1 2>&1) | sed 's/uid [0-9]*//; s/ tentative//' | sort",
    "proc": "cat /proc/net/dev /proc/net/route; sort /proc/net/if_inet6",
    "node": "{node} -p 'JSON.stringify(require(\"os\").networkInterfaces(), null, 1)'",
    "ioctl": "{python3} -c {BY_IOCTL}",
    "names": "{python3} -c {BY_NAME}",
}


def _command(name: str) -> str:
    texts = {"BY_IOCTL": BY_IOCTL, "BY_NAME": BY_NAME}
    return re.sub(r"\{(\w+)\}", lambda found: shlex.quote(texts[found[1]]) if found[1] in texts else program(found[1]), LISTS[name])


@pytest.mark.parametrize("name", LISTS)
def test_lists(twin: Twin, name: str, served: bool) -> None:
    """By netlink, by ioctl and in /proc/net."""
    there, here = native(twin, _command(name), served), twin.inside(_command(name))
    assert there.status == 0 and there.stdout.count(b"eth0" if served else b"lo") > 0, there
    assert (here.stdout, here.stderr) == (there.stdout, there.stderr)


GO = """
package main
import ("fmt"; "net")
func main() {
	all, err := net.Interfaces()
	if err != nil { panic(err) }
	for _, each := range all {
		addresses, err := each.Addrs()
		fmt.Println(each.Index, each.Name, each.MTU, each.HardwareAddr, each.Flags, addresses, err)
	}
}
"""
JAVA = """
import java.net.*; import java.util.*;
public class Main { public static void main(String[] args) throws Exception {
    for (var each : Collections.list(NetworkInterface.getNetworkInterfaces()))
        System.out.println(each.getIndex() + " " + each + " " + each.isUp() + each.isLoopback() + each.isVirtual() + each.getMTU()
            + " " + Arrays.toString(each.getHardwareAddress()) + each.getInterfaceAddresses().stream().map(Object::toString).sorted().toList());
} }
"""


def test_lists_by_go(twin: Twin, served: bool, tmp_path: Path) -> None:
    go = program("go", "/usr/local/go/bin", "/usr/lib/go/bin")
    twin.write("main.go", GO)
    env = {"GOCACHE": f"{tmp_path}", "GOPATH": f"{tmp_path}", "GO111MODULE": "off", "CGO_ENABLED": "0"}
    assert twin.native([go, "build", "-o", twin.there / "program", "main.go"], env=env, timeout=300).status == 0
    assert twin.inside(["./program"]).stdout == native(twin, str(twin.there / "program"), served).stdout != b""


def test_lists_by_java(twin: Twin, served: bool) -> None:
    """It asks by ioctl, and reads /proc/net/if_inet6."""
    java, javac = program("java"), program("javac")
    twin.write("Main.java", JAVA)
    assert twin.native([javac, "-d", twin.there, "Main.java"], timeout=300).status == 0
    assert twin.native(["cp", twin.there / "Main.class", "."]).status == 0
    assert twin.inside([java, "Main"]).stdout == native(twin, f"{java} Main", served).stdout != b""


OWN = r"""
import os, socket
OWN = "10.0.2.15"
def names(*sockets): print("  ", *[name for s in sockets for name in (s.getsockname()[0], s.getpeername()[0])])
for host, port in ((OWN, 0), ("0.0.0.0", 0), ("::", 0), ("::ffff:" + OWN, 0), (OWN, 18080)):
    six = ":" in host
    with socket.socket(socket.AF_INET6 if six else socket.AF_INET) as server:
        if six: server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        server.bind((host, port)); server.listen()
        print(host, server.getsockname()[0])
        for family, at in ((socket.AF_INET, OWN), (socket.AF_INET6, "::ffff:" + OWN)):
            with socket.socket(family) as client:
                client.connect((at, server.getsockname()[1]))
                accepted, peer = server.accept()
                with accepted:
                    print("  ", peer[0]); names(client, accepted)
                    client.sendall(b"x"); assert accepted.recv(9) == b"x"
        if host == OWN:
            try: socket.create_connection(("127.0.0.1", server.getsockname()[1]))
            except OSError as error: print("  ", os.strerror(error.errno))
            try: socket.create_server(server.getsockname())
            except OSError as error: print("  ", os.strerror(error.errno))
with socket.socket() as client:
    client.bind((OWN, 0)); print(client.getsockname()[0])
    server = socket.create_server((OWN, 0)); client.connect(server.getsockname()); names(client)
for bound in (0, 18080):
    with socket.socket(type=socket.SOCK_DGRAM) as one, socket.socket(type=socket.SOCK_DGRAM) as two, socket.socket(type=socket.SOCK_DGRAM) as three:
        one.bind((OWN, bound)); print(one.getsockname()[0])
        three.connect(one.getsockname()); names(three); three.send(b"three"); data, peer = one.recvfrom(9); print(data, peer[0])
        one.sendto(b"back", peer); print(three.recv(9))
        two.sendto(b"two", one.getsockname()); data, peer = one.recvfrom(9); print(data, peer[0])
        one.sendto(b"back", peer); print(two.recvfrom(9)[1][0])
for host in ("10.0.2.16", "192.0.2.77"):
    try: socket.create_server((host, 0))
    except OSError as error: print(os.strerror(error.errno))
try: socket.create_connection((OWN, 9))
except OSError as error: print(os.strerror(error.errno))
with socket.socket(type=socket.SOCK_DGRAM) as s:
    s.connect(("192.0.2.1", 9)); print(s.getsockname()[0])
"""


@ordinary
@every_wall
def test_its_own_address(twin: Twin, walls: str) -> None:
    """It is bound, listened at, connected to and shown, though without a network namespace no interface is listed."""
    twin.network = NETWORKS["served"]
    command = f"{program('python3')} -c {shlex.quote(OWN)}"
    with standing(walls):
        here = twin.inside(command)
    there = native(twin, command, True)
    assert there.status == 0 and (here.stdout, here.stderr) == (there.stdout, there.stderr)


SEND = r"""
import socket
def carried(): return next(line for line in open("/proc/net/dev") if "eth0" in line)
before = carried()
for host in ("10.0.2.2", "192.0.2.1", "10.0.2.255"):
    with socket.socket(type=socket.SOCK_DGRAM) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        try: s.sendto(b"x", (host, 9))
        except OSError as error: pass
print(carried() == before)
"""


def test_nothing_goes_through_it(twin: Twin) -> None:
    """What a rule allows goes by the host's network, and the rest nowhere."""
    twin.network = NETWORKS["served"]
    command = f"{program('python3')} -c {shlex.quote(SEND)}"
    assert native(twin, command, True).stdout == b"False\n"
    assert twin.inside(command).stdout == b"True\n"


@ordinary
@pytest.mark.parametrize("walls", ["no namespaces", "no wall"])
def test_none_is_listed_without_a_namespace(twin: Twin, walls: str) -> None:
    """But the loopback, to who asks by ioctl or reads /proc/net: the kernel would list the host's."""
    twin.network = NETWORKS["served"]
    asks = "import fcntl, socket, struct; print(struct.unpack('iP', fcntl.ioctl(socket.socket(), 0x8912, struct.pack('iP', 0, 0)))[0])"
    with standing(walls):
        done = twin.inside(f"{program('python3')} -c {shlex.quote(asks)}; grep -c : /proc/net/dev; cut -f1 /proc/net/route")
    assert done.stdout == b"80\n1\nIface\n", done
