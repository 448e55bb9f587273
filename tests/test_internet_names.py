"""Names inside: what a guest's own programs resolve, and what they may connect to then."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator

import pytest

import sandbox
from sandbox import Allow, Hosts, Resolvers
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
