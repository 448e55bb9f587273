"""Whatever bytes a guest or a server sends to a proxy, at its own socket: it goes on, what reaches the server was judged,
and what reaches the guest is HTTP."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress

import h2.config
import h2.connection
import h2.events
import hpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox import AllowHTTP, Header
from sandbox._http.farewell import Farewell
from sandbox._http_proxy import HTTPProxy
from sandbox._loop import Loop
from sandbox._messages import WALLS
from sandbox._rules import Rules
from tests.http_servers import SECRET, Site, Told, common_site

__all__ = ["common_site"]

FUZZ = settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
GOOD = b"GET /pub/x HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
WORDS = [b"GET ", b"POST ", b"/pub/x", b"/secret", b" HTTP/1.1", b"\r\n", b"\n", b"\r", b"Host: api.test\r\n", b"Host: other.test\r\n",
         b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: Upgrade\r\n", b"Upgrade: websocket\r\n",
         b"Expect: 100-continue\r\n", b"0\r\n\r\n", b"5\r\nhello\r\n", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 101 x\r\n", b"HTTP/1.1 100 x\r\n\r\n", b"\0", b" ", b":", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]  # fmt: skip
mixed = st.lists(st.sampled_from(WORDS) | st.binary(max_size=8), max_size=16).map(b"".join)


@pytest.fixture(scope="module")
def proxy() -> Iterator[HTTPProxy]:
    loop = Loop("fuzz")
    rules = Rules.compile([AllowHTTP("GET,POST", "api.test/pub/*"), Header("Authorization", SECRET, hosts=["api.test"])])
    made = HTTPProxy(loop, rules, WALLS, [])
    made.attach(Told())
    made.certificate()
    yield made
    assert made.stands
    made.close()


def pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        one = socket.create_connection(server.getsockname())
        other, _ = server.accept()
        for sock in (one, other):
            sock.settimeout(30)
        return one, other


def exchange(proxy: HTTPProxy, guest_says: bytes, server_says: bytes, port: int = 80) -> tuple[bytes, bytes]:
    """What the guest and the server get."""
    guest, inner = pair()
    server, upstream = pair()
    with guest, server:
        proxy.take(inner, upstream, port, ["api.test", "other.test"])
        for sock, data in ((server, server_says), (guest, guest_says)):
            try:
                sock.sendall(data)
                if data is not GOOD:  # whose response is waited for
                    sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass
        return drained(guest), drained(server)


def drained(sock: socket.socket) -> bytes:
    data = b""
    try:
        while more := sock.recv(65536):
            data += more
    except ConnectionError:
        pass
    return data


def assert_good(proxy: HTTPProxy) -> None:
    assert proxy.stands
    guest, inner = pair()
    server, upstream = pair()
    with guest, server:
        proxy.take(inner, upstream, 80, ["api.test"])
        guest.sendall(GOOD)
        assert server.recv(65536).startswith(b"GET /pub/x HTTP/1.1\r\nHost: api.test\r\n")
        server.sendall(ANSWER)
        assert drained(guest).endswith(b"\r\n\r\nok")


@FUZZ
@given(mixed)
def test_what_a_guest_says(proxy: HTTPProxy, data: bytes) -> None:
    """The server gets requests for paths of the rules only; no secret in the clear."""
    to_guest, to_server = exchange(proxy, data, b"")
    heads = to_server.split(b"\r\nHost: ")
    assert len(heads) == 1 or all(b"/pub/x" in head.split(b"\r\n")[-1] for head in heads[:-1])
    assert b"other.test" not in b"".join(part.split(b"\r\n")[0] for part in heads[1:]) and SECRET.encode() not in to_server
    assert to_guest == b"" or to_guest.startswith(b"HTTP/1.1 ")
    assert proxy.stands


@FUZZ
@given(mixed)
def test_what_a_server_says(proxy: HTTPProxy, data: bytes) -> None:
    to_guest, to_server = exchange(proxy, GOOD, data)
    assert to_guest == b"" or to_guest.startswith(b"HTTP/1.1 ")
    assert proxy.stands


def test_an_answer_that_is_unasked(proxy: HTTPProxy) -> None:
    """Is not the next request's, though that is there: the connection ends, and is not reset."""
    guest, inner = pair()
    server, upstream = pair()
    with guest, server:
        proxy.take(inner, upstream, 80, ["api.test"])
        guest.sendall(GOOD.replace(b"Connection: close\r\n", b"") * 2)
        asked = server.recv(65536)
        server.sendall(ANSWER + ANSWER.replace(b"ok", b"no"))
        answered = b"".join(iter(lambda: guest.recv(65536), b""))
        asked += drained(server)
    assert asked.count(b"GET ") == 1 and answered.endswith(b"ok") and answered.count(b"HTTP/1.1 ") == 1


@FUZZ
@given(st.binary(max_size=300), st.booleans())
def test_what_looks_like_tls(proxy: HTTPProxy, data: bytes, framed: bool) -> None:
    head = b"\x16\x03\x01" + len(data).to_bytes(2, "big") if framed else b"\x16"
    to_guest, to_server = exchange(proxy, head + data, b"", 443)
    assert to_server == b"" and not to_guest.startswith(b"HTTP")
    assert proxy.stands


def test_it_has_gone_on(proxy: HTTPProxy) -> None:
    assert_good(proxy)
    told = proxy._listener
    assert isinstance(told, Told) and told.decisions
    assert all(judged.what.split(b" ")[0] in (b"GET", b"POST") for judged in told.decisions if judged.allowed)


# ---- HTTP/2 ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tls_proxy(common_site: Site) -> Iterator[HTTPProxy]:
    loop = Loop("fuzz")
    rule = AllowHTTP("GET,POST", "https://api.test/pub/*", ca=common_site.ca)
    made = HTTPProxy(loop, Rules.compile([rule]), WALLS, [])
    made.attach(Told())
    yield made
    assert made.stands
    made.close()


fields = st.lists(st.tuples(st.sampled_from([b":method", b":path", b":scheme", b":authority", b"host", b"te", b"x", b"connection", b"content-length", b":protocol", b"X"]),
                            st.sampled_from([b"GET", b"/pub/x", b"/secret", b"https", b"http", b"api.test", b"other.test", b"a\r\nb", b"1", b""])), max_size=7)  # fmt: skip
frames = st.lists(st.tuples(st.sampled_from(range(12)), st.integers(0, 255), st.integers(0, 9), st.binary(max_size=40)), max_size=8)


@FUZZ
@given(fields, frames)
def test_what_a_guest_says_in_http2(common_site: Site, tls_proxy: HTTPProxy, head: list[tuple[bytes, bytes]], more: list[tuple[int, int, int, bytes]]) -> None:
    """Fields in any order and number, and frames of any kind: what is passed on is for the rules' host and path."""
    guest, inner = pair()
    server, upstream = pair()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(common_site.folder / "server.pem", common_site.folder / "server.key")
    context.set_alpn_protocols(["h2"])
    client = ssl._create_unverified_context()
    client.set_alpn_protocols(["h2"])
    with guest, server:
        tls_proxy.take(inner, upstream, 443, ["api.test"])
        seen: list[list[tuple[bytes, bytes]]] = []


        thread = threading.Thread(target=serve_http2, args=(context, server, seen))
        thread.start()
        try:
            with client.wrap_socket(guest, server_hostname="api.test") as tls:
                http = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None, validate_outbound_headers=False, normalize_outbound_headers=False))
                http.initiate_connection()
                http.send_headers(1, head or [(b"x", b"y")], end_stream=True)
                data = http.data_to_send()
                for kind, flags, stream, payload in more:
                    data += len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload
                tls.sendall(data)
                tls.unwrap()
        except (OSError, ssl.SSLError):
            pass
        finally:
            guest.close()
            thread.join()
    for request in seen:
        named = dict(request)
        assert (named[b":authority"], named[b":scheme"]) == (b"api.test", b"https") and named[b":path"].startswith(b"/pub/")
        assert len(named) == len(request) and b"host" not in named and b"connection" not in named
    assert tls_proxy.stands


def serve_http2(context: ssl.SSLContext, server: socket.socket, seen: list[list[tuple[bytes, bytes]]]) -> None:
    try:
        with context.wrap_socket(server, server_side=True) as tls:
            http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding=None))
            http.initiate_connection()
            tls.sendall(http.data_to_send())
            while data := tls.recv(65536):
                for event in http.receive_data(data):
                    if type(event).__name__ == "RequestReceived":
                        seen.append([(bytes(name), bytes(value)) for name, value in event.headers])  # type: ignore[attr-defined]
                        http.send_headers(event.stream_id, [(b":status", b"204")], end_stream=True)  # type: ignore[attr-defined]
                tls.sendall(http.data_to_send())
    except (OSError, ssl.SSLError):
        pass


answer_fields = st.lists(st.tuples(st.sampled_from([b":status", b":path", b"connection", b"transfer-encoding", b"content-length", b"x", b"X", b"set-cookie", b"upgrade", b"alt-svc"]),
                                   st.sampled_from([b"200", b"204", b"100", b"101", b"999", b"abc", b"a\r\nb", b"1", b""])), max_size=5)  # fmt: skip


@FUZZ
@given(answer_fields, st.booleans(), st.binary(max_size=40), frames, st.binary(max_size=40))
def test_what_a_server_says_in_http2(common_site: Site, tls_proxy: HTTPProxy, head: list[tuple[bytes, bytes]], good: bool, body: bytes, more: list[tuple[int, int, int, bytes]], end: bytes) -> None:  # fmt: skip
    """Answers of any fields, frames of any kind and bytes that are none: what the guest gets is HTTP/2, with one status and
    no field of a connection's."""
    guest, inner = pair()
    server, upstream = pair()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(common_site.folder / "server.pem", common_site.folder / "server.key")
    context.set_alpn_protocols(["h2"])
    answer = [(b":status", b"200")] * good + head
    with guest, server:
        tls_proxy.take(inner, upstream, 443, ["api.test"])
        thread = threading.Thread(target=answer_http2, args=(context, server, answer, body, b"".join(map(framed, more)) + end))
        thread.start()
        try:
            for name, value in heads_got(guest):
                assert name not in (b"connection", b"transfer-encoding", b"upgrade", b":path"), (name, value)
        finally:
            guest.close()
            thread.join()
    assert tls_proxy.stands


def framed(frame: tuple[int, int, int, bytes]) -> bytes:
    kind, flags, stream, payload = frame
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def answer_http2(context: ssl.SSLContext, server: socket.socket, head: list[tuple[bytes, bytes]], body: bytes, more: bytes) -> None:
    """One request, with these fields and this body; then whatever it is."""
    with suppress(OSError, ssl.SSLError), context.wrap_socket(server, server_side=True) as tls:
        http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding=None))
        http.initiate_connection()
        tls.sendall(http.data_to_send())
        while data := tls.recv(65536):
            asked = [event for event in http.receive_data(data) if type(event).__name__ == "RequestReceived"]
            if asked:
                answer = framed((1, 4, 1, hpack.Encoder().encode(head))) + framed((0, 0, 1, body))
                tls.sendall(http.data_to_send() + answer + more)
                break
            tls.sendall(http.data_to_send())
        tls.unwrap()


def heads_got(guest: socket.socket) -> Iterator[tuple[bytes, bytes]]:
    """What the guest is told in fields, until its request has come to an end; ProtocolError: it is not HTTP/2."""
    client = ssl._create_unverified_context()
    client.set_alpn_protocols(["h2"])
    with suppress(OSError, ssl.SSLError), client.wrap_socket(guest, server_hostname="api.test") as tls:
        http, farewell = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None)), Farewell(0)
        http.initiate_connection()
        http.send_headers(1, [(b":method", b"GET"), (b":path", b"/pub/x"), (b":scheme", b"https"), (b":authority", b"api.test")], end_stream=True)
        tls.sendall(http.data_to_send())
        while data := tls.recv(65536):
            for event in http.receive_data(farewell.rest(data)):  # after a GOAWAY h2 would take no frame, and streams go on
                if isinstance(event, (h2.events.ResponseReceived, h2.events.InformationalResponseReceived, h2.events.TrailersReceived)):
                    yield from ((bytes(name), bytes(value)) for name, value in event.headers)
                if isinstance(event, (h2.events.StreamEnded, h2.events.StreamReset, h2.events.ConnectionTerminated)):
                    return
            tls.sendall(http.data_to_send())


def test_a_good_server_in_http2(common_site: Site, tls_proxy: HTTPProxy) -> None:
    """What is fuzzed is an exchange that comes to its end."""
    guest, inner = pair()
    server, upstream = pair()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(common_site.folder / "server.pem", common_site.folder / "server.key")
    context.set_alpn_protocols(["h2"])
    with guest, server:
        tls_proxy.take(inner, upstream, 443, ["api.test"])
        thread = threading.Thread(target=answer_http2, args=(context, server, [(b":status", b"200"), (b"x", b"y")], b"ok", b""))
        thread.start()
        got = list(heads_got(guest))
        guest.close()
        thread.join()
    assert got == [(b":status", b"200"), (b"x", b"y")]


# ---- WebSocket ------------------------------------------------------------------------------------------------------

UPGRADE = b"GET /pub/x HTTP/1.1\r\nHost: api.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
SWITCHED = b"HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
HIDDEN = b"GET /secret HTTP/1.1\r\nHost: api.test\r\n\r\n"


@FUZZ
@given(mixed, mixed, st.booleans())
def test_after_a_101_bytes_are_bytes(proxy: HTTPProxy, guest_says: bytes, server_says: bytes, at_once: bool) -> None:
    """Whatever they are, both ways, from the first after the head: of what nobody judges nothing is changed."""
    guest, inner = pair()
    server, upstream = pair()
    with guest, server:
        proxy.take(inner, upstream, 80, ["api.test"])
        guest.sendall(UPGRADE + guest_says * at_once)
        asked = b""
        while b"\r\n\r\n" not in asked:
            asked += server.recv(65536)
        server.sendall(SWITCHED + server_says)
        server.shutdown(socket.SHUT_WR)
        answered = b""
        while b"\r\n\r\n" not in answered:
            answered += guest.recv(65536)
        if not at_once:
            guest.sendall(guest_says)
        guest.shutdown(socket.SHUT_WR)
        answered, asked = answered + drained(guest), asked + drained(server)
    head, _, carried = answered.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ") and carried == server_says
    assert asked.partition(b"\r\n\r\n")[2] == guest_says and proxy.stands


@FUZZ
@given(st.sampled_from([b"200 OK", b"400 x", b"426 x", b"100 x", b"102 x"]), mixed)
def test_without_a_101_they_are_requests(proxy: HTTPProxy, status: bytes, server_says: bytes) -> None:
    """What a guest has sent after its wish is no WebSocket's until the server grants it."""
    guest, inner = pair()
    server, upstream = pair()
    with guest, server:
        proxy.take(inner, upstream, 80, ["api.test"])
        guest.sendall(UPGRADE + HIDDEN)
        server.sendall(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n" + server_says.replace(b"101", b"200"))
        for sock in (guest, server):
            with suppress(OSError):  # it was reset
                sock.shutdown(socket.SHUT_WR)
        drained(guest)
        asked = drained(server)
    assert b"/secret" not in asked and proxy.stands
