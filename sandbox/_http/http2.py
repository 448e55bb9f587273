"""HTTP/2 on h2: each stream of the guest's connection is one of the server's. A server's window is the guest's: what is
received is acknowledged when it was passed on, so that no more than a window waits here."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
import hyperframe.frame

from .farewell import Farewell
from .heads import (
    FIELDS_MAX,
    Asked,
    Bad,
    Fields,
    body_length,
    check,
    end_to_end,
    read_asked,
    refusal,
    with_added,
    without,
)
from .passing import Passing
from .streams import Stream

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"  # of a client
_STREAMS_MAX = 100
_WINDOW = 256 << 10  # bytes of a connection and of each stream
_PSEUDO = (b":method", b":path", b":scheme", b":authority")
_SETTINGS = {
    h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: _WINDOW,
    h2.settings.SettingCodes.MAX_HEADER_LIST_SIZE: FIELDS_MAX,
}


class _Side:
    def __init__(self, stream: Stream, passing: Passing, *, client: bool) -> None:
        self.http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=client, header_encoding=None))
        self.halves: dict[int, _Half] = {}
        self.farewell = Farewell(0 if client else len(_PREFACE))
        self.last: int | None = None
        self._ahead = b""  # of what h2 has yet to send
        self._stream, self._passing, self._sending = stream, passing, asyncio.Lock()
        of_client = {h2.settings.SettingCodes.ENABLE_PUSH: 0}
        of_server = {h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: _STREAMS_MAX}
        wanted = {**_SETTINGS, **(of_client if client else of_server)}
        self.http.local_settings = h2.settings.Settings(client=client, initial_values=wanted)
        self.http.initiate_connection()
        self.http.increment_flow_control_window(_WINDOW - 65535)

    async def flush(self) -> None:
        async with self._sending:
            data, self._ahead = self._ahead + self.http.data_to_send(), b""
            if data:
                with self._gone():
                    await self._stream.send(data)

    async def events(self) -> list[Any] | None:
        data = b""
        with self._gone():
            data = await self._stream.receive()
        return self.http.receive_data(self.farewell.rest(data)) if data else None

    @contextmanager
    def _gone(self) -> Iterator[None]:
        """Who has said goodbye may be gone: the other end still gets what has come."""
        try:
            yield
        except OSError:
            if self.farewell.last is None:
                raise

    def say_goodbye(self, code: int, *, before: int | None) -> None:
        """No stream is taken any more, nor any from `before` on; h2's own way would end those that are there."""
        self.last = self.http.highest_inbound_stream_id if before is None else max(0, before - 2)
        frame = hyperframe.frame.GoAwayFrame(0, last_stream_id=self.last, error_code=code)
        self._ahead += self.http.data_to_send() + frame.serialize()

    def close(self) -> None:
        """What was said to be the last stream stays the last."""
        self.http.close_connection(last_stream_id=self.last)

    def reset(self, stream: int, code: int = h2.errors.ErrorCodes.CANCEL) -> None:
        with suppress(h2.exceptions.ProtocolError):
            self.http.reset_stream(stream, code)

    def acknowledge(self, stream: int, size: int) -> None:
        with suppress(h2.exceptions.ProtocolError):
            if size:
                self.http.acknowledge_received_data(size, stream)


class _Half:
    """What comes by one stream and goes on by another."""

    def __init__(
        self, source: _Side, source_id: int, target: _Side, target_id: int, length: int | None = None
    ) -> None:
        """`length` is what must come, where that was said."""
        self._left = length
        self.source, self.source_id, self.target, self.target_id = source, source_id, target, target_id
        self._waiting: deque[bytes] = deque()
        self._ends = False
        self._trailers: Fields = []
        self.done = False

    def take(self, event: h2.events.DataReceived) -> None:
        if self._left is not None:
            self._left -= len(event.data)
        self._waiting.append(event.data)
        padding = (event.flow_controlled_length or 0) - len(event.data)
        self.source.acknowledge(self.source_id, padding)

    def is_as_said(self, *, ended: bool) -> bool:
        """INVARIANT one-length: is the body no longer than its length, and no shorter in the end?"""
        return self._left is None or (self._left == 0 if ended else self._left >= 0)

    def finish(self, trailers: Fields | None = None) -> None:
        self._ends, self._trailers = True, self._trailers if trailers is None else trailers

    def move(self) -> None:
        """Pass on what the other end has room for."""
        if self.done:
            return
        http = self.target.http
        while self._waiting:
            room = min(http.local_flow_control_window(self.target_id), http.max_outbound_frame_size)
            data = self._waiting[0][: max(0, room)]
            if not data and self._waiting[0]:
                return
            http.send_data(self.target_id, data)
            self.source.acknowledge(self.source_id, len(data))
            self._waiting[0] = self._waiting[0][len(data) :]
            if not self._waiting[0]:
                self._waiting.popleft()
        if self._ends:
            self.done = True
            if self._trailers:
                http.send_headers(self.target_id, self._trailers, end_stream=True)
            else:
                http.end_stream(self.target_id)

    def drop(self) -> None:
        """What waits is lost, its room is not."""
        self.source.acknowledge(self.source_id, sum(map(len, self._waiting)))
        self._waiting.clear()
        self.done = True


class Http2:
    def __init__(self, passing: Passing) -> None:
        self._passing = passing
        self._guest = _Side(passing.guest, passing, client=False)
        self._upstream = _Side(passing.upstream, passing, client=True)
        self._added: dict[int, frozenset[bytes]] = {}  # by stream: fields that no trailer repeats
        self._leaving = False

    async def run(self) -> None:
        await asyncio.gather(self._upstream.flush(), self._guest.flush())
        tasks = [asyncio.ensure_future(self._follow(*ends)) for ends in self._directions()]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
            await self._guest.flush()  # what the other task is sending it still gets
        finally:
            for task in tasks:
                task.cancel()
            with suppress(h2.exceptions.ProtocolError, OSError, asyncio.TimeoutError):
                self._guest.close()
                await asyncio.wait_for(self._guest.flush(), 1)

    def _directions(self) -> tuple[tuple[_Side, _Side], tuple[_Side, _Side]]:
        return (self._guest, self._upstream), (self._upstream, self._guest)

    async def _follow(self, source: _Side, target: _Side) -> None:
        ends = False
        while not ends and (events := await source.events()) is not None:
            for event in events:
                ends = ends or isinstance(event, h2.events.ConnectionTerminated)
                handler = _HANDLERS.get(type(event))
                if handler is not None:
                    self._passing.busy()
                    handler(self, source, event)
            if source.farewell.last is not None:
                self._on_farewell(source, source.farewell)
            for half in [*source.halves.values(), *target.halves.values()]:
                self._move(half)
            ends = ends or (self._leaving and not self._guest.halves)
            await target.flush()
            await source.flush()

    def _move(self, half: _Half) -> None:
        try:
            half.move()
        except h2.exceptions.ProtocolError:  # the other end has reset it meanwhile
            self._drop(half.source, half.source_id)
        if half.done:
            self._settle(half)

    def _settle(self, half: _Half) -> None:
        """Forget two halves when both are done."""
        back = half.target.halves.get(half.target_id)
        if back is None or back.done:
            half.source.halves.pop(half.source_id, None)
            half.target.halves.pop(half.target_id, None)
            self._added.pop(half.source_id if half.source is self._guest else half.target_id, None)

    def _drop(self, side: _Side, stream: int, code: int = h2.errors.ErrorCodes.CANCEL) -> None:
        """Reset both ends of a stream."""
        half = side.halves.get(stream)
        side.reset(stream, code)
        if half is not None:
            half.target.reset(half.target_id, code)
            back = half.target.halves.get(half.target_id)
            for each in (half, *([back] if back else [])):
                each.drop()
            self._settle(half)

    def _on_farewell(self, side: _Side, farewell: Farewell) -> None:
        """What a server has not taken is tried again by the guest, elsewhere; what it has goes on."""
        if side is self._upstream:
            lost = {stream: half.target_id for stream, half in side.halves.items() if stream > (farewell.last or 0)}
            if lost or not self._leaving:
                self._guest.say_goodbye(farewell.code, before=min(lost.values(), default=None))
            for stream in lost:
                self._drop(side, stream, h2.errors.ErrorCodes.REFUSED_STREAM)
        self._leaving = True

    # ---- events ---------------------------------------------------------------------------------------------------

    def _on_request(self, _: _Side, event: h2.events.RequestReceived) -> None:
        stream = event.stream_id or 0
        pseudo, fields = _parted(event.headers or [])
        if self._leaving:
            return self._guest.reset(stream, h2.errors.ErrorCodes.REFUSED_STREAM)
        try:
            asked = self._read(pseudo, check(fields))
            length = body_length(fields, ended=event.stream_ended is not None)
            added = self._passing.decide(asked)
        except Bad as bad:
            self._passing.refused(bad, *(pseudo.get(name, b"") for name in (b":method", b":authority", b":path")))
            return self._refuse(stream, bad, event, pseudo.get(b":method") == b"HEAD")
        self._begin(stream, asked, with_added(_passed(fields), added), length)
        self._added[stream] = frozenset(added)

    def _read(self, pseudo: Mapping[bytes, bytes], fields: Fields) -> Asked:
        if set(pseudo) - set(_PSEUDO) or pseudo.get(b":scheme") != b"https":
            raise Bad(400, "the request is malformed")
        hosts = [value for name, value in fields if name == b"host"]
        named = [pseudo[b":authority"]] if b":authority" in pseudo else []
        line = pseudo.get(b":method", b""), pseudo.get(b":path", b"")
        return read_asked(*line, [*named, *hosts], self._passing.origins)

    def _begin(self, stream: int, asked: Asked, fields: Fields, length: int | None) -> None:
        values = (asked.method, asked.target, asked.origin.scheme, asked.origin.authority)
        head = [*zip(_PSEUDO, (value.encode() for value in values)), *((name.lower(), value) for name, value in fields)]
        try:
            other = self._upstream.http.get_next_available_stream_id()
            self._upstream.http.send_headers(other, head)
        except (h2.exceptions.ProtocolError, h2.exceptions.NoAvailableStreamIDError):
            return self._guest.reset(stream, h2.errors.ErrorCodes.REFUSED_STREAM)
        self._guest.halves[stream] = _Half(self._guest, stream, self._upstream, other, length)
        self._upstream.halves[other] = _Half(self._upstream, other, self._guest, stream)

    def _refuse(self, stream: int, bad: Bad, event: h2.events.RequestReceived, headless: bool) -> None:
        body = b"" if headless else refusal(bad.reason)
        fields = [(b":status", str(bad.status).encode()), (b"content-type", b"text/plain")]
        with suppress(h2.exceptions.ProtocolError):
            self._guest.http.send_headers(stream, fields, end_stream=headless)
            if body:
                room = self._guest.http.local_flow_control_window(stream)
                self._guest.http.send_data(stream, body[: max(0, min(room, 16384))], end_stream=True)
            if event.stream_ended is None:
                self._guest.http.reset_stream(stream, h2.errors.ErrorCodes.NO_ERROR)

    def _on_response(self, side: _Side, event: Any) -> None:
        half = side.halves.get(event.stream_id)
        if half is None:
            return
        try:
            pseudo, fields = _parted(event.headers)
            half.target.http.send_headers(half.target_id, [(b":status", pseudo[b":status"]), *_passed(check(fields))])
        except (Bad, KeyError, h2.exceptions.ProtocolError):
            self._drop(side, event.stream_id)

    def _on_data(self, side: _Side, event: h2.events.DataReceived) -> None:
        half = side.halves.get(event.stream_id or 0)
        if half is None or half.done:
            side.acknowledge(event.stream_id or 0, event.flow_controlled_length or 0)
        else:
            half.take(event)
            self._check_length(half, ended=False)

    def _check_length(self, half: _Half, *, ended: bool) -> None:
        if not half.is_as_said(ended=ended):
            self._drop(half.source, half.source_id, h2.errors.ErrorCodes.PROTOCOL_ERROR)

    def _on_trailers(self, side: _Side, event: h2.events.TrailersReceived) -> None:
        half = side.halves.get(event.stream_id or 0)
        if half is None:
            return
        try:
            added = self._added.get(half.source_id, frozenset()) if side is self._guest else frozenset()
            half.finish(without(end_to_end(check(event.headers or [])), added))
            self._check_length(half, ended=True)
        except Bad:
            self._drop(side, half.source_id)

    def _on_end(self, side: _Side, event: h2.events.StreamEnded) -> None:
        half = side.halves.get(event.stream_id or 0)
        if half is not None:
            half.finish()
            self._check_length(half, ended=True)

    def _on_reset(self, side: _Side, event: h2.events.StreamReset) -> None:
        self._drop(side, event.stream_id or 0, int(event.error_code or 0))


def _parted(headers: Any) -> tuple[dict[bytes, bytes], Fields]:
    """Pseudo-fields, and the others."""
    listed = [(bytes(name), bytes(value)) for name, value in headers]
    return {name: value for name, value in listed if name[:1] == b":"}, [p for p in listed if p[0][:1] != b":"]


def _passed(fields: Fields) -> Fields:
    return end_to_end(fields) + [pair for pair in fields if pair[0] == b"content-length"]


_HANDLERS: dict[type, Callable[[Http2, _Side, Any], None]] = {
    h2.events.RequestReceived: Http2._on_request,
    h2.events.ResponseReceived: Http2._on_response,
    h2.events.InformationalResponseReceived: Http2._on_response,
    h2.events.DataReceived: Http2._on_data,
    h2.events.TrailersReceived: Http2._on_trailers,
    h2.events.StreamEnded: Http2._on_end,
    h2.events.StreamReset: Http2._on_reset,
}
