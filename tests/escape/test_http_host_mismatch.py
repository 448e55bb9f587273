"""A guest that may make requests to one host asks for another on the way: by the name in TLS, by Host, by both, and in
the forms that some servers take for a host."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from sandbox import Allow, Sandbox
from tests.escape.attack import ordinary
from tests.http_servers import SECRET, Site, common_site, site

__all__ = ["common_site", "site"]
pytestmark = ordinary


@pytest.fixture(scope="module")
def guest(common_site: Site) -> Iterator[Sandbox]:
    with common_site.box(*common_site.allow("*", "/*"), common_site.header) as box:
        yield box


ASK = """
import socket, ssl, sys
port, tls, sni, *parts = sys.argv[1:]
sock = socket.create_connection(("api.test", int(port)), 60)
try:
    if tls == "tls":
        context = ssl._create_unverified_context()
        sock = context.wrap_socket(sock, server_hostname=sni or None)
    sock.sendall("".join(parts).encode("latin-1").decode("unicode_escape").encode("latin-1"))
    data = b""
    while more := sock.recv(65536): data += more
    print(data.split(b"\\r\\n")[0].decode(), data.split(b"\\r\\n\\r\\n")[-1].decode().strip())
except OSError as error: print("broken", type(error).__name__)
"""


def ask(box: Sandbox, port: int, sni: str | None, text: str) -> str:
    words = ["plain", ""] if sni is None else ["tls", sni]
    done = box.run([sys.executable, "-c", ASK, str(port), *words, text], text=True, timeout=100)
    return done.stdout.strip() + done.stderr


def head(host: str, line: str = "GET /secret HTTP/1.1", more: str = "") -> str:
    return rf"{line}\r\nHost: {host}\r\n{more}Connection: close\r\n\r\n"


OTHERS = {
    "another host": head("other.test"),
    "no host": r"GET /secret HTTP/1.1\r\nConnection: close\r\n\r\n",
    "HTTP/1.0": r"GET /secret HTTP/1.0\r\n\r\n",
    "two hosts": head("api.test", more=r"Host: other.test\r\n"),
    "two hosts, the other first": head("other.test", more=r"Host: api.test\r\n"),
    "a list": head("api.test, other.test"),
    "an absolute target": head("api.test", "GET http://other.test/secret HTTP/1.1"),
    "an authority with a user": head("api.test@other.test"),
    "another port": head("api.test:1"),
    "a tab": head(r"other.test\tapi.test"),
    "a folded line": head(r"api.test\r\n other.test"),
    "a space before the colon": r"GET /secret HTTP/1.1\r\nHost : api.test\r\nHost: other.test\r\n\r\n",
    "a tunnel": head("api.test", "CONNECT other.test:443 HTTP/1.1"),
    "a trace": head("api.test", "TRACE /secret HTTP/1.1"),
}


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("other", OTHERS)
def test_the_host_is_the_connections(common_site: Site, guest: Sandbox, other: str, tls: bool) -> None:
    """No such request reaches a server, nor does a secret."""
    common_site.forget()
    server = common_site.tls if tls else common_site.plain
    said = ask(guest, server.port, "api.test" if tls else None, OTHERS[other])
    assert said.startswith(("HTTP/1.1 4", "broken")), said
    good = head(f"api.test:{server.port}", "GET /fine HTTP/1.1")
    assert ask(guest, server.port, "api.test" if tls else None, good).endswith("GET /fine 0")
    assert [seen.path for seen in server.seen] == ["/fine"]


@pytest.mark.parametrize("sni", ["other.test", "", "API.test.other.test", "localhost", "x" * 60 + ".test"])
def test_the_name_of_tls_is_one_of_a_rule(common_site: Site, guest: Sandbox, sni: str) -> None:
    """Without one, or with another, nothing is said."""
    common_site.forget()
    port = common_site.tls.port
    assert ask(guest, port, sni, head("api.test")).startswith("broken")
    assert ask(guest, port, "api.test", head("other.test")).startswith("HTTP/1.1 421")
    assert not common_site.tls.seen


def test_a_name_that_was_not_told_for_the_address(site: Site) -> None:
    """A rule covers the name, but it leads elsewhere: the guest connects to one host's address in another's name."""
    from sandbox import AllowHTTP, Hosts

    rules = [*site.allow("GET", "/*"), AllowHTTP("GET", f"https://other.test:{site.tls.port}/*", private=True, ca=site.ca)]
    hosts = Hosts({"api.test": "127.0.0.1", "other.test": "127.0.0.2"})
    with Sandbox(network=[*rules, hosts]) as guest:
        assert ask(guest, site.tls.port, "other.test", head("other.test")).startswith("broken")
    assert not site.tls.seen


def test_they_work_with_the_guard_left_out(site: Site) -> None:
    """A plain rule, by which nothing is looked into: the server gets whatever the guest writes."""
    with Sandbox(network=[Allow("api.test", private=True), site.hosts]) as guest:
        assert ask(guest, site.plain.port, None, OTHERS["another host"]).endswith("GET /secret 0")
        assert ask(guest, site.tls.port, "other.test", OTHERS["another host"]).endswith("GET /secret 0")
    assert [seen.all("host") for seen in (*site.plain.seen, *site.tls.seen)] == [["other.test"]] * 2
    assert SECRET not in str(site.tls.seen)
