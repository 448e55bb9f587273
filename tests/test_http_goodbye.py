"""GOAWAY of HTTP/2 through the proxy: what a server has taken goes on, what it has not can be asked for again."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress

import h2.config
import h2.connection
import hpack
import hyperframe.frame as frames
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox import AllowHTTP
from sandbox._http.farewell import Farewell
from sandbox._http_proxy import HTTPProxy
from sandbox._loop import Loop
from sandbox._rules import Rules
from tests.escape.attack import ordinary
from tests.http_servers import Site, Told, common_site, nginx
from tests.test_http_fuzz import WALLS, framed, pair, tls_proxy

__all__ = ["common_site", "tls_proxy"]
pytestmark = ordinary
GOAWAY, REFUSED, HALF = 7, 7, b"x" * 1000


def goodbye(last: int, code: int = 0) -> bytes:
    return framed((GOAWAY, 0, 0, struct.pack(">II", last, code)))


def client_context() -> ssl.SSLContext:
    made = ssl._create_unverified_context()
    made.set_alpn_protocols(["h2"])
    return made


def head(path: str, port: int = 443) -> list[tuple[str, str]]:
    host = "api.test" + (f":{port}" if port != 443 else "")
    return [(":method", "GET"), (":path", path), (":scheme", "https"), (":authority", host)]


def server_of(context: ssl.SSLContext, sock: socket.socket, last: int, go_on: threading.Event) -> None:
    """Takes two requests, says goodbye after the `last`, and answers that one, if it is one, in two parts."""
    with suppress(OSError, ssl.SSLError), context.wrap_socket(sock, server_side=True) as tls:
        http, asked = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False)), 0
        http.initiate_connection()
        while asked < 2:
            tls.sendall(http.data_to_send())
            asked += sum(type(event).__name__ == "RequestReceived" for event in http.receive_data(tls.recv(65536)))
        tls.sendall(http.data_to_send() + goodbye((1 << 31) - 1) + goodbye(last))
        if last:
            tls.sendall(framed((1, 4, last, hpack.Encoder().encode([(b":status", b"200")]))) + framed((0, 0, last, HALF)))
            go_on.wait(30)
            tls.sendall(framed((0, 1, last, HALF)))
        while tls.recv(65536):  # what is unread when it closes would cost the other end what it has not read
            continue


def frames_of(tls: ssl.SSLSocket) -> Iterator[frames.Frame]:
    data = b""
    while True:
        while len(data) >= 9:
            frame, size = frames.Frame.parse_frame_header(memoryview(data[:9]))
            if len(data) < 9 + size:
                break
            frame.parse_body(memoryview(data[9 : 9 + size]))
            data = data[9 + size :]
            yield frame
        more = tls.recv(65536)
        if not more:
            return
        data += more


@pytest.mark.parametrize(("last", "answered", "refused"), [(1, 2 * HALF, {3, 5}), (0, b"", {1, 3})])
def test_what_was_taken_goes_on(common_site: Site, tls_proxy: HTTPProxy, last: int, answered: bytes, refused: set[int]) -> None:
    """The answer that has begun is whole, the request that was not taken is refused, as is one that comes later; then the
    connection ends."""
    guest, inner = pair()
    server, upstream = pair()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(common_site.folder / "server.pem", common_site.folder / "server.key")
    context.set_alpn_protocols(["h2"])
    go_on, body, reset, told = threading.Event(), b"", {}, []
    with guest, server:
        tls_proxy.take(inner, upstream, 443, ["api.test"])
        thread = threading.Thread(target=server_of, args=(context, server, last, go_on))
        thread.start()
        with client_context().wrap_socket(guest, server_hostname="api.test") as tls:
            http = h2.connection.H2Connection(h2.config.H2Configuration())
            http.initiate_connection()
            for stream in (1, 3):
                http.send_headers(stream, head("/pub/x"), end_stream=True)
            tls.sendall(http.data_to_send())
            for frame in frames_of(tls):
                if isinstance(frame, frames.DataFrame) and frame.stream_id == 1:
                    body += frame.data
                    if len(body) == len(HALF):
                        http.send_headers(5, head("/pub/x"), end_stream=True)
                        tls.sendall(http.data_to_send())
                if isinstance(frame, frames.RstStreamFrame):
                    reset[frame.stream_id] = frame.error_code
                    if frame.stream_id == 5:
                        go_on.set()
                if isinstance(frame, frames.GoAwayFrame):
                    told.append((frame.last_stream_id, frame.error_code))
        thread.join()
    assert body == answered and reset == dict.fromkeys(refused, REFUSED)
    assert told[-1] == (last, 0) and told == sorted(told, reverse=True)
    assert tls_proxy.stands


def test_a_server_that_takes_few_requests(common_site: Site) -> None:
    """nginx says goodbye after so many: these are answered in full, the others refused, and which they are is told first."""
    loop = Loop("test")
    with nginx(common_site, requests=7) as port:
        rule = AllowHTTP("GET", f"https://api.test:{port}/pub/*", ca=common_site.ca)
        proxy = HTTPProxy(loop, Rules.compile([rule]), WALLS, [])
        proxy.attach(Told())
        guest, inner = pair()
        proxy.take(inner, socket.create_connection(("127.0.0.1", port)), port, ["api.test"])
        with guest, client_context().wrap_socket(guest, server_hostname="api.test") as tls:
            http = h2.connection.H2Connection(h2.config.H2Configuration())
            http.initiate_connection()
            for stream in range(1, 41, 2):
                http.send_headers(stream, head(f"/pub/{stream}", port), end_stream=True)
            tls.sendall(http.data_to_send())
            seen = list(frames_of(tls))
        proxy.close()
    bodies = {frame.stream_id: frame.data.split()[1] for frame in seen if isinstance(frame, frames.DataFrame) and frame.data}
    assert bodies == {stream: b"/pub/%d" % stream for stream in range(1, 15, 2)}
    assert {frame.stream_id for frame in seen if "END_STREAM" in frame.flags} == set(bodies)
    kinds = [type(frame).__name__ for frame in seen if isinstance(frame, (frames.GoAwayFrame, frames.RstStreamFrame))]
    assert kinds == ["GoAwayFrame", *["RstStreamFrame"] * 13, "GoAwayFrame"]
    assert {frame.last_stream_id for frame in seen if isinstance(frame, frames.GoAwayFrame)} == {13}


pieces = st.lists(st.tuples(st.sampled_from([0, 3, 4, 6, GOAWAY]), st.integers(0, 255), st.integers(0, 3), st.binary(max_size=40)))


@given(pieces, st.data())
def test_however_it_is_cut(sent: list[tuple[int, int, int, bytes]], data: st.DataObject) -> None:
    """Every other frame is passed through as it came, in whatever pieces; a GOAWAY that is malformed, too."""
    wire, farewell, rest = b"PREFACE!" + b"".join(map(framed, sent)), Farewell(8), b""
    while wire:
        size = data.draw(st.integers(1, len(wire)))
        rest += farewell.rest(wire[:size])
        wire = wire[size:]
    taken = [payload for kind, _, stream, payload in sent if kind == GOAWAY and stream == 0 and len(payload) >= 8]
    kept = [piece for piece in sent if not (piece[0] == GOAWAY and piece[2] == 0 and len(piece[3]) >= 8)]
    assert rest == b"PREFACE!" + b"".join(map(framed, kept))
    assert farewell.last == min((int.from_bytes(each[:4], "big") & 0x7FFFFFFF for each in taken), default=None)
