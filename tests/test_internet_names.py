"""Names inside: what a guest's own programs resolve, and what they may connect to then."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import sandbox
from sandbox import Allow, Hosts, Resolvers, Sandbox
from sandbox.services.names import Resolver
from tests.escape.attack import WALLS, ordinary, standing
from tests.helpers import program
from tests.test_names_upstream import NameServer, server

__all__ = ["server"]


@pytest.fixture(autouse=True)
def upstream(server: NameServer, monkeypatch: pytest.MonkeyPatch) -> NameServer:
    monkeypatch.setattr("sandbox.services.names.host_servers", lambda: [server.address])
    server.load(
        "web.test 300 A 127.0.0.1\nother.test 300 A 127.0.0.1\nalias.test 60 CNAME web.test\nsix.test 300 AAAA 2001:db8::7"
    )
    return server


@pytest.fixture
def web() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    with listening.accept()[0] as peer:
                        peer.recv(9999)
                        peer.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello")
                except OSError:
                    return

        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


def run(command: list[str], port: int, *more: object) -> sandbox.Result:
    rules = [Allow(f"web.test:{port}", private=True), *more]
    return sandbox.run(command, network=rules, text=True, timeout=60)  # type: ignore[arg-type]


@ordinary
@pytest.mark.parametrize("walls", WALLS)
def test_an_allowed_name_is_resolved_and_reached(web: int, walls: str) -> None:
    script = f"import urllib.request; print(urllib.request.urlopen('http://web.test:{web}/').read())"
    with standing(walls):
        done = run([sys.executable, "-c", script], web)
    assert done.stdout == "b'hello'\n", done


def test_an_address_without_its_name_is_not(web: int) -> None:
    """The rule is the name's: before an answer that gives the address there is nobody there."""
    script = f"""
import socket
for host in ("127.0.0.1", "web.test", "127.0.0.1"):
    try: print(socket.create_connection((host, {web}), timeout=5).getpeername()[0])
    except OSError as error: print(error.strerror)
"""
    assert run([sys.executable, "-c", script], web).stdout.split("\n") == [
        "Connection refused",
        "127.0.0.1",
        "127.0.0.1",
        "",
    ]


def test_no_other_name_exists(web: int, upstream: NameServer) -> None:
    """Nor does anybody hear of it: names carry nothing out."""
    script = "import socket\nfor name in ('other.test', 'secret.web.test', 'x' * 60 + '.test'):\n try: print(socket.getaddrinfo(name, 80))\n except socket.gaierror as error: print(error.errno)"
    assert run([sys.executable, "-c", script], web).stdout.split() == ["-2"] * 3
    assert upstream.names == []


def test_resolvers_of_the_policy(web: int, server: NameServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are asked, and the host's are not."""
    monkeypatch.setattr("sandbox.services.names.host_servers", list)
    address, port = server.address
    script = "import socket; print(socket.gethostbyname('web.test'))"
    assert run([sys.executable, "-c", script], web, Resolvers(f"{address}:{port}")).stdout == "127.0.0.1\n"
    assert run([sys.executable, "-c", script], web).returncode != 0


def test_hosts(web: int, upstream: NameServer) -> None:
    script = "import socket; print(socket.gethostbyname('db.internal'))"
    assert run([sys.executable, "-c", script], web, Hosts({"db.internal": "10.0.0.5"})).stdout == "10.0.0.5\n"
    assert upstream.names == []


CLIENTS = {
    "curl": "-sS http://web.test:{port}/",
    "wget": "-q -O - http://web.test:{port}/",
    "busybox": "wget -q -O - http://web.test:{port}/",
}


@pytest.mark.parametrize("name", CLIENTS)
def test_clients(web: int, name: str) -> None:
    done = run([program(name), *CLIENTS[name].format(port=web).split()], web)
    assert done.stdout == "hello", done


def test_node(web: int) -> None:
    """getaddrinfo of its thread pool, and c-ares."""
    script = f"""
const dns = require('dns').promises;
(async () => {{
  console.log(await (await fetch('http://web.test:{web}/')).text(), (await dns.resolve4('web.test'))[0]);
  try {{ await dns.resolve4('other.test'); }} catch (e) {{ console.log(e.code); }}
  try {{ await dns.lookup('other.test'); }} catch (e) {{ console.log(e.code); }}
}})();"""
    assert run([program("node"), "-e", script], web).stdout.split() == ["hello", "127.0.0.1", "ENOTFOUND", "ENOTFOUND"]


# ---- what a guest reads and asks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", [[Allow("web.test:80")], "host", "loopback", None], ids=repr)
def test_files(network: Any) -> None:
    done = sandbox.run("cat /etc/hosts /etc/resolv.conf", shell=True, network=network, text=True)
    own = "127.0.0.1\tlocalhost sandbox\n::1\tlocalhost ip6-localhost ip6-loopback\n"
    assert done.stdout == own + ("# no network\n" if network in ("loopback", None) else "nameserver 127.0.0.53\n")


def test_names_of_addresses(upstream: NameServer) -> None:
    """Of those that the guest knows: from the policy, from its own files, and told. Of others nobody is asked."""
    upstream.load("far.test 300 A 93.184.216.34")
    script = """
import socket
for address in ("10.0.0.5", "127.0.0.1", "93.184.216.34", "8.8.8.8"):
    try: print(*socket.gethostbyaddr(address))
    except socket.herror as error: print(error.errno)
print(socket.gethostbyname("far.test"), *socket.gethostbyaddr("93.184.216.34"), socket.getfqdn("10.0.0.5"))
"""
    done = run([sys.executable, "-c", script], 80, Allow("far.test:80"), Hosts({"db.internal": "10.0.0.5"}))
    assert done.stdout.splitlines() == [
        "db.internal [] ['10.0.0.5']",
        "localhost ['sandbox'] ['127.0.0.1']",
        "1",
        "1",
        "93.184.216.34 far.test [] ['93.184.216.34'] db.internal",
    ], done
    assert set(upstream.names) == {"far.test"}


MUSL = r"""
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
/* argv[1]: a port; then names */
int main(int argc, char **argv) {
    for (int i = 2; i < argc; i++) {
        struct addrinfo *found, hint = {.ai_socktype = SOCK_STREAM};
        char text[100] = {0};
        int error = getaddrinfo(argv[i], argv[1], &hint, &found);
        if (error) { puts(error == EAI_NONAME ? "no such name" : gai_strerror(error)); continue; }
        getnameinfo(found->ai_addr, found->ai_addrlen, text, sizeof text, NULL, 0, NI_NUMERICHOST);
        int fd = socket(found->ai_family, SOCK_STREAM, 0);
        printf("%s %s\n", text, connect(fd, found->ai_addr, found->ai_addrlen) ? "not reached" : "reached");
    }
}
"""
GO = """
package main
import ("fmt"; "net"; "os")
func main() {
	for _, name := range os.Args[2:] {
		found, err := net.LookupHost(name)
		if failed, is := err.(*net.DNSError); is && failed.IsNotFound { fmt.Println("no such name"); continue }
		if err != nil { fmt.Println(err); continue }
		conn, err := net.Dial("tcp", name + ":" + os.Args[1])
		if err != nil { fmt.Println(found[0], err); continue }
		fmt.Println(found[0], "reached")
		conn.Close()
	}
}
"""
MADE = {"musl": ("musl.c", MUSL, ["musl-gcc", "-static", "-o", "program", "musl.c"]), "go": ("main.go", GO, ["go", "build", "-o", "program", "main.go"])}


@pytest.mark.parametrize("who", MADE)
def test_resolvers_of_their_own(web: int, upstream: NameServer, tmp_path: Path, who: str) -> None:
    """musl's, and Go's without libc: which asks by sockets that it has in epoll before they are connected."""
    name, source, (compiler, *words) = MADE[who]
    (tmp_path / name).write_text(source)
    env = {**os.environ, "CGO_ENABLED": "0", "GO111MODULE": "off", "GOCACHE": str(tmp_path / "cache"), "GOPATH": str(tmp_path)}
    path = program(compiler, "/usr/local/go/bin", "/usr/lib/go/bin")
    subprocess.run([path, *words], cwd=tmp_path, env=env, check=True, timeout=300)
    rules = [Allow(f"{name}:{web}", private=True) for name in ("web.test", "alias.test")]
    done = sandbox.run(["/made/program", str(web), "web.test", "other.test", "alias.test"], network=rules, mounts={"/made": tmp_path},
                       env={"GODEBUG": "netdns=go"}, text=True, timeout=60)  # fmt: skip
    assert done.stdout == "127.0.0.1 reached\nno such name\n127.0.0.1 reached\n", done
    assert set(upstream.names) == {"web.test", "alias.test"}


def test_an_answer_stands_for_its_time(web: int, upstream: NameServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its TTL, and a minute at least; then the address is nobody's until it is told again."""
    now = [1000.0]
    monkeypatch.setattr("sandbox.services.net.Resolver", partial(Resolver, clock=lambda: now[0]))
    upstream.load("short.test 5 A 127.0.0.1\nlong.test 300 A 127.0.0.1")
    script = f"import socket, sys\ntry: print(socket.create_connection((sys.argv[1], {web}), timeout=10).getpeername()[0])\nexcept OSError as e: print(e.strerror)"

    def reach(host: str) -> str:
        return str(box.run([sys.executable, "-c", script, host], text=True).stdout).strip()

    for name, least in (("short.test", 60), ("long.test", 300)):
        with Sandbox(network=[Allow(f"{name}:{web}", private=True)]) as box:
            assert [reach("127.0.0.1"), reach(name), reach("127.0.0.1")] == ["Connection refused", "127.0.0.1", "127.0.0.1"]
            now[0] += least - 1
            assert reach("127.0.0.1") == "127.0.0.1"
            now[0] += 1
            assert reach("127.0.0.1") == "Connection refused"
            assert [reach(name), reach("127.0.0.1")] == ["127.0.0.1", "127.0.0.1"]
