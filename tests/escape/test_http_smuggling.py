"""A request is hidden in another, so that the proxy judges one and the server sees two; or its path is written so that
the proxy reads another than the server."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from sandbox import Allow, Sandbox
from tests.escape.attack import ordinary
from tests.http_servers import Site, common_site, site

__all__ = ["common_site", "site"]
pytestmark = ordinary


@pytest.fixture(scope="module")
def guest(common_site: Site) -> Iterator[Sandbox]:
    with common_site.box(*common_site.allow("GET,POST", "/pub/*")) as box:
        yield box


SEND = """
import socket, sys
sock = socket.create_connection(("api.test", int(sys.argv[1])), 5)
sock.sendall(bytes.fromhex(sys.argv[2]))
try: sock.recv(65536) # an answer, or none where more is waited for
except TimeoutError: pass
except OSError: sys.exit()
try:
    sock.shutdown(socket.SHUT_WR)
    while sock.recv(65536): pass
except OSError: pass
"""
HIDDEN = b"GET /secret HTTP/1.1\r\nHost: api.test:PORT\r\n\r\n"
POST = b"POST /pub/x HTTP/1.1\r\nHost: api.test:PORT\r\n"

SMUGGLED = {
    "length and chunks": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "chunks and length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: %d\r\n\r\n0\r\n\r\n" % len(HIDDEN) + HIDDEN,
    "two lengths": POST + b"Content-Length: 0\r\nContent-Length: %d\r\n\r\n" % len(HIDDEN) + HIDDEN,
    "a list of lengths": POST + b"Content-Length: 0, %d\r\n\r\n" % len(HIDDEN) + HIDDEN,
    "a signed length": POST + b"Content-Length: +0\r\n\r\n" + HIDDEN,
    "an encoding that is none": POST + b"Transfer-Encoding: xchunked\r\n\r\n" + HIDDEN,
    "two encodings": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + HIDDEN,
    "an encoding with a tab": POST + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "an encoding in HTTP/1.0": POST.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "a field that is folded": POST + b"X: y\r\n Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n" + HIDDEN,
    "a field with a bare CR": POST + b"X: y\rTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n" + HIDDEN,
    "a field with a NUL": POST + b"X: \0\r\nContent-Length: 0\r\n\r\n" + HIDDEN,
    "a chunk with a long size": POST + b"Transfer-Encoding: chunked\r\n\r\n%s0\r\n\r\n" % (b"0" * 99) + HIDDEN,
    "a chunk with a bad size": POST + b"Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n" + HIDDEN,
    "a chunk without an end": POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\naX0\r\n\r\n" + HIDDEN,
    "an extension with a bare LF": POST + b"Transfer-Encoding: chunked\r\n\r\n1;\nxx\r\n4c\r\n0\r\n\r\n" + HIDDEN,
    "trailers": POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 9\r\nHost: other.test\r\n\r\n" + HIDDEN,
    "a body of a GET": b"GET /pub/x HTTP/1.1\r\nHost: api.test:PORT\r\nContent-Length: %d\r\n\r\n" % len(HIDDEN) + HIDDEN,
    "pipelined": b"GET /pub/x HTTP/1.1\r\nHost: api.test:PORT\r\n\r\n" + HIDDEN,
    "an upgrade that is refused": POST.replace(b"POST", b"GET") + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n" + HIDDEN,
    "HTTP/2 without TLS": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + HIDDEN,
    "a line with an LF": b"GET /pub/x HTTP/1.1\nHost: api.test:PORT\n\n" + HIDDEN,
    "an empty line": b"\r\n\r\n" + HIDDEN,
    "a target with a space": b"GET /pub/x HTTP/1.1 /secret HTTP/1.1\r\nHost: api.test:PORT\r\n\r\n",
    **{
        f"a path {path!r}": b"GET %b HTTP/1.1\r\nHost: api.test:PORT\r\n\r\n" % path
        for path in (
            *(b"/pub/../secret", b"/pub/%2e%2e/secret", b"/pub/..%2fsecret", b"/pub/%252e%252e/secret", b"/pub/..;/secret"),
            *(b"/pub/.%2e/secret", b"/pub\\..\\secret", b"//secret", b"/./secret", b"/secret/pub/", b"/%73ecret", b"*"),
            *(b"http://api.test/secret", b"/secret#/pub/", b"/secret?/pub/", b"/secret%00/pub/", b"/PUB/secret"),
            *(b"/pub/x;/../../secret", b"/pub/x%3b/secret", b"/pub/x;a=b", b"/pub/x%23/y", b"/pub/x%3Fy", b"/pub/x%253fy"),
        )
    },
}  # fmt: skip


def send(box: Sandbox, port: int, name: str) -> None:
    data = SMUGGLED[name].replace(b"PORT", b"%d" % port)
    box.run([sys.executable, "-c", SEND, str(port), data.hex()], timeout=100)


@pytest.mark.parametrize("name", SMUGGLED)
def test_the_server_sees_what_was_judged(common_site: Site, guest: Sandbox, name: str) -> None:
    """Of whatever is sent, requests of the rules reach the server, each by itself, and no other."""
    common_site.forget()
    server = common_site.plain
    send(guest, server.port, name)
    send(guest, server.port, "pipelined")
    assert {seen.path for seen in server.seen} == {"/pub/x"}
    for seen in server.seen:
        assert seen.all("host") == [f"api.test:{server.port}"]
        assert len(seen.all("content-length")) + len(seen.all("transfer-encoding")) <= 1


OVERRIDES = ("X-HTTP-Method-Override: DELETE", "X-HTTP-Method: DELETE", "X-Method-Override: DELETE", "X-Original-URL: /secret",
             "X-Rewrite-URL: /secret", "X-Forwarded-Host: other.test", "x-original-url: /secret",
             "X_HTTP_Method_Override: DELETE", "X_Original_Url: /secret", "Forwarded: host=other.test", "X-Host: other.test",
             "X-HTTP-Host-Override: other.test", "X-Forwarded-Server: other.test", "X-Original-Host: other.test",
             "X-Forwarded-Uri: /secret", "X-Override-Url: /secret", "Content_Length: 9", "Transfer_Encoding: chunked")  # fmt: skip


def test_fields_that_some_servers_put_over_the_request(common_site: Site, guest: Sandbox) -> None:
    common_site.forget()
    port = common_site.plain.port
    head = f"GET /pub/x HTTP/1.1\r\nHost: api.test:{port}\r\nX-Fine: yes\r\n" + "".join(f"{field}\r\n" for field in OVERRIDES) + "\r\n"
    guest.run([sys.executable, "-c", SEND, str(port), head.encode().hex()], timeout=100)
    assert [name for name, _ in common_site.plain.seen[0].headers] == ["Host", "X-Fine"]


def test_they_work_with_the_guard_left_out(site: Site) -> None:
    """A server behind a filter that looks at the first line would see these."""
    with Sandbox(network=[Allow("api.test", private=True), site.hosts]) as box:
        for name in ("pipelined", "two lengths", "a path b'/pub/../secret'"):
            send(box, site.plain.port, name)
    assert [seen.path for seen in site.plain.seen] == ["/pub/x", "/secret", "/pub/x", "/secret", "/pub/../secret"]
