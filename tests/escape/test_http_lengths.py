"""A request of HTTP/2 says a length that its body has not: a server that passes it on as HTTP/1.1 takes the next request
for the rest of it, or the rest of it for a request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Optional

import pytest

pytest.importorskip("h2", reason="the extra sandbox[http] is not installed")
import h2.config
import h2.connection
import h2.events
import h2.exceptions
import hpack
from hyperframe.frame import DataFrame, HeadersFrame, SettingsFrame

from sandbox import AllowHTTP
from sandbox._http import http2
from sandbox._http.judge import Judge, Origin
from sandbox._http.passing import Passing

Fields = list[tuple[bytes, bytes]]
HEAD = [(b":method", b"POST"), (b":path", b"/x"), (b":scheme", b"https"), (b":authority", b"api.test")]
LATE = [(b"x-late", b"1")]


def length(text: bytes) -> list[tuple[bytes, bytes]]:
    return [*HEAD, (b"content-length", text)]


class End:
    """One of the proxy's two streams."""

    def __init__(self) -> None:
        self.said: asyncio.Queue[bytes] = asyncio.Queue()
        self.heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def receive(self) -> bytes:
        return await self.said.get()

    async def send(self, data: bytes) -> None:
        self.heard.put_nowait(data)

    async def end(self) -> None: ...


def request(head: Fields, body: Optional[bytes], trailers: Optional[Fields]) -> bytes:
    """Frame by frame: h2 itself sends no such thing."""
    encoder = hpack.Encoder()
    frames: list[Any] = [HeadersFrame(1, data=encoder.encode(head), flags=["END_HEADERS"])]
    frames += [DataFrame(1, data=body)] if body is not None else []
    frames += [HeadersFrame(1, data=encoder.encode(trailers), flags=["END_HEADERS"])] if trailers else []
    frames[-1].flags.add("END_STREAM")
    settings = SettingsFrame(0).serialize()
    return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings + b"".join(frame.serialize() for frame in frames)


async def _ends(head: Fields, body: Optional[bytes], trailers: Optional[Fields]) -> str:
    guest, upstream = End(), End()
    judge = Judge([AllowHTTP("POST", "https://api.test/*")], [])
    passing = Passing(guest, upstream, [Origin("https", "api.test", 443)], judge, lambda _: None, lambda: None)
    guest.said.put_nowait(request(head, body, trailers))
    running = asyncio.ensure_future(http2.Http2(passing).run())
    told = [asyncio.ensure_future(each) for each in (_upstream_saw(upstream), _guest_saw(guest))]
    try:
        done, _ = await asyncio.wait([running, *told], timeout=60, return_when=asyncio.FIRST_COMPLETED)
        return "broken" if running in done else next(each for each in told if each in done).result()
    finally:
        for each in (running, *told):
            each.cancel()
        await asyncio.gather(running, *told, return_exceptions=True)


async def _upstream_saw(upstream: End) -> str:
    config = h2.config.H2Configuration(client_side=False, header_encoding=None, validate_inbound_headers=False)
    server = h2.connection.H2Connection(config)
    server.initiate_connection()
    while True:
        try:
            events = server.receive_data(await upstream.heard.get())
        except h2.exceptions.InvalidBodyLengthError:  # which not every server looks for
            return "passed"
        for event in events:
            if isinstance(event, h2.events.StreamEnded):
                return "passed"
            if isinstance(event, h2.events.StreamReset):
                return "reset"


async def _guest_saw(guest: End) -> str:
    """h2 would know of no request that it has not sent, so frames are looked at."""
    types = _types()
    while True:
        for kind in types(await guest.heard.get()):
            if kind == HeadersFrame.type:
                return "refused"


def _types() -> Callable[[bytes], list[int]]:
    """Types of the frames in what is fed."""
    held = b""

    def feed(data: bytes) -> list[int]:
        nonlocal held
        held, found = held + data, []
        while len(held) >= 9 and len(held) >= 9 + int.from_bytes(held[:3], "big"):
            found.append(held[3])
            held = held[9 + int.from_bytes(held[:3], "big") :]
        return found

    return feed


def ends(head: Fields, body: Optional[bytes] = None, trailers: Optional[Fields] = None) -> str:
    """How it ends: "passed" whole, "reset" upstream, "refused" by an answer, or "broken", the connection."""
    return asyncio.run(_ends(head, body, trailers))


def test_lengths_that_are_so() -> None:
    for head, body, trailers in ((HEAD, None, None), (length(b"0"), None, None), (HEAD, b"abc", LATE), (length(b"3"), b"abc", None), (length(b"3"), b"abc", LATE)):
        assert ends(head, body, trailers) == "passed", head


@pytest.mark.parametrize("text", [b"44", b"-0", b"+3", b"3, 3", b"", b"0x3", b"\xb2", b"9" * 30])
def test_a_length_without_a_body(text: bytes) -> None:
    assert ends(length(text)) in ("refused", "broken")


def test_two_lengths() -> None:
    assert ends([*length(b"3"), (b"content-length", b"3")], b"abc") == "refused"


@pytest.mark.parametrize("trailers", [None, LATE], ids=["", "with trailers"])
@pytest.mark.parametrize("text", [b"44", b"2"])
def test_another_length(text: bytes, trailers: Optional[Fields]) -> None:
    assert ends(length(text), b"abc", trailers) in ("reset", "broken")


def test_they_pass_with_the_guard_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http2, "body_length", lambda *_, **__: None)
    assert ends(length(b"44")) == "passed"
    assert ends([*length(b"3"), (b"content-length", b"3")], b"abc") == "passed"
    assert ends(length(b"44"), b"abc", LATE) == "passed"
