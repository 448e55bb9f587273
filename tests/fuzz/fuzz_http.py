"""What a guest and a server say to each other through a proxy, whose reading of HTTP/1.1 and HTTP/2 is run here on streams in
memory. What must hold: it comes to an end; each request that the server gets was judged and told of before, and is for the
rule's host and path; a guest gets HTTP or nothing."""

from __future__ import annotations

import asyncio

import h2.config
import h2.connection
import h2.events
import h11
import hpack
from drive import Input, instrumented, run

with instrumented():
    from sandbox import AllowHTTP, Header
    from sandbox._http import wire
    from sandbox._http.connection import _BREAKS
    from sandbox._http.http1 import Http1
    from sandbox._http.http2 import Http2
    from sandbox._http.judge import Judge, Origin
    from sandbox._http.passing import Passing

JUDGE = Judge([AllowHTTP("GET,POST", "api.test/pub/*")], [Header("Authorization", "secret", ["api.test"])])
ORIGINS = [Origin("https", name, 443) for name in ("api.test", "other.test")]
WORDS = [b"GET ", b"POST ", b"/pub/x", b"/secret", b" HTTP/1.1\r\n", b"\r\n", b"Host: api.test\r\n", b"Host: other.test\r\n", b"Content-Length: 5\r\n",
         b"Transfer-Encoding: chunked\r\n", b"Connection: Upgrade\r\n", b"Upgrade: websocket\r\n", b"Expect: 100-continue\r\n", b"0\r\n\r\n", b"5\r\nhello\r\n",
         b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 101 x\r\n", b"HTTP/1.1 100 x\r\n\r\n", b"hello", b"/pub/../secret", b"Connection: close\r\n"]  # fmt: skip
FIELDS = [(b":method", b"GET"), (b":path", b"/pub/x"), (b":scheme", b"https"), (b":authority", b"api.test"), (b":path", b"/secret"), (b":authority", b"other.test"),
          (b":status", b"200"), (b"content-length", b"5"), (b"connection", b"x"), (b"host", b"other.test"), (b"te", b"trailers"), (b":status", b"101"), (b"x", b"y")]  # fmt: skip


class Memory:
    """A stream of which these pieces come, and then its end, when others have had their turns; with `asked`, when something
    was sent."""

    def __init__(self, pieces: list[bytes], asked: asyncio.Event | None = None) -> None:
        self._pieces, self._asked, self.sent = pieces, asked, b""

    async def receive(self) -> bytes:
        if self._asked is not None:
            await self._asked.wait()
        for _ in range(0 if self._pieces else 50):
            await asyncio.sleep(0)
        return self._pieces.pop(0) if self._pieces else b""

    async def send(self, data: bytes) -> None:
        self.sent += data
        if self._asked is not None:
            self._asked.set()

    async def end(self) -> None:
        pass


async def passed(kind: type[Http1] | type[Http2], guest: list[bytes], server: list[bytes]) -> tuple[bytes, bytes, int]:
    """What the guest and the server got, and how many requests were allowed."""
    told: list[wire.Decision] = []
    inner, upstream = Memory(guest), Memory(server, asyncio.Event())
    passing = Passing(inner, upstream, ORIGINS, JUDGE, told.append, lambda: None)
    try:
        await asyncio.wait_for(kind(passing).run(), 5)
    except asyncio.TimeoutError:
        raise AssertionError("it does not end") from None
    except _BREAKS:
        pass
    return inner.sent, upstream.sent, sum(decision.allowed for decision in told)


# ---- HTTP/1.1 -------------------------------------------------------------------------------------------------------


def pieces(data: Input) -> list[bytes]:
    found = []
    for _ in range(data.number() % 24):
        kind = data.number()
        found.append(data.take(kind - 200) if kind >= 200 else WORDS[kind % len(WORDS)])
    return [b"".join(found)] if data.number() & 1 else [each for each in found if each]


def requests(data: bytes) -> list[h11.Request]:
    """As another program reads them; what follows a wish for another protocol is none."""
    found, reader = [], h11.Connection(h11.SERVER)
    reader.receive_data(data)
    while isinstance(event := reader.next_event(), (h11.Request, h11.Data, h11.EndOfMessage)):
        if isinstance(event, h11.Request):
            found.append(event)
        if isinstance(event, h11.EndOfMessage):
            if reader.their_state is not h11.DONE:
                break
            reader.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
            reader.send(h11.EndOfMessage())
            reader.start_next_cycle()
    return found


def plain(data: Input) -> None:
    to_guest, to_server, allowed = asyncio.run(passed(Http1, pieces(data), pieces(data)))
    found = requests(to_server)
    assert len(found) <= allowed
    for request in found:
        fields = [(name, value) for name, value in request.headers if name in (b"host", b"authorization")]
        assert request.target.startswith(b"/pub/") and sorted(fields) == [(b"authorization", b"secret"), (b"host", b"api.test")]
    assert not to_guest or to_guest.startswith(b"HTTP/1.1 ")


# ---- HTTP/2 ---------------------------------------------------------------------------------------------------------


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def frames(data: Input, *, client: bool) -> list[bytes]:
    """A beginning as it should be, and then what comes."""
    side, encoder = h2.connection.H2Connection(h2.config.H2Configuration(client_side=client)), hpack.Encoder()
    side.initiate_connection()
    said = side.data_to_send()
    for _ in range(data.number() % 12):
        kind = data.number()
        if kind < 128:
            head = [FIELDS[data.number() % len(FIELDS)] for _ in range(kind % 8)]
            base = FIELDS[:4] if client and kind & 8 else [FIELDS[6]] if kind & 8 else []
            said += frame(1, 4 | kind >> 4 & 1, 1 + (kind >> 5) * 2, encoder.encode(base + head))
        else:
            said += frame(kind & 15, data.number(), data.number() % 8, data.take(data.number() % 64))
    return [said]


def multiplexed(data: Input) -> None:
    _, to_server, allowed = asyncio.run(passed(Http2, frames(data, client=True), frames(data, client=False)))
    reader = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding=None))
    reader.initiate_connection()
    found = [event for event in reader.receive_data(to_server) if isinstance(event, h2.events.RequestReceived)]
    assert len(found) <= allowed
    for request in found:
        named = dict(request.headers)
        once = [name for name, _ in request.headers if name != b"x"]  # which may come again
        assert len(set(once)) == len(once) and named[b":path"].startswith(b"/pub/") and named[b":authority"] == b"api.test"
        assert named[b"authorization"] == b"secret" and not named.keys() & {b"host", b"connection"}


def test(data: bytes) -> None:
    taken = Input(data)
    (multiplexed if taken.number() & 1 else plain)(taken)


if __name__ == "__main__":
    run("http", test)
