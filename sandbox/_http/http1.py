"""HTTP/1.1, request by request, on h11: both sides are read and written anew, so that guest and server cannot see
different messages in the same bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import h11

from .heads import FIELDS_MAX, Asked, Bad, Fields, check, end_to_end, read_asked, refusal, with_added, words
from .passing import Passing
from .streams import Stream

_DRAIN_MAX = 1 << 20  # bytes of a refused request's body that are read for the sake of the next request
_KEPT = (b"content-length", b"transfer-encoding", b"expect")


class _Side:
    def __init__(self, role: type[h11.CLIENT] | type[h11.SERVER], stream: Stream, passing: Passing) -> None:
        self.http = h11.Connection(role, max_incomplete_event_size=FIELDS_MAX)
        self.stream, self._passing = stream, passing

    async def event(self) -> Any:
        """The next event; h11.PAUSED where none comes before the next request."""
        while (event := self.http.next_event()) is h11.NEED_DATA:
            self.http.receive_data(await self.stream.receive())
        self._passing.busy()
        return event

    async def send(self, event: Any) -> None:
        data = self.http.send(event)
        if data:
            await self.stream.send(data)


class Http1:
    def __init__(self, passing: Passing) -> None:
        self._passing = passing
        self._guest = _Side(h11.SERVER, passing.guest, passing)
        self._upstream = _Side(h11.CLIENT, passing.upstream, passing)
        self._asking: asyncio.Task[Any] | None = None  # what the guest says next
        self._answer: asyncio.Task[Any] | None = None  # what upstream says next

    async def run(self) -> None:
        try:
            while await self._exchange():
                self._guest.http.start_next_cycle()
                if self._upstream.http.our_state is not h11.IDLE:
                    self._upstream.http.start_next_cycle()
        finally:
            for waiting in (self._asking, self._answer):
                if waiting is not None:
                    waiting.cancel()

    async def _exchange(self) -> bool:
        """One request and its response. False: no other can follow."""
        asking, self._asking = self._asking or asyncio.ensure_future(self._guest.event()), None
        self._answer = self._answer or asyncio.ensure_future(self._upstream.event())
        try:
            await asyncio.wait({asking, self._answer}, return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():  # the server has closed a connection that waits, or speaks unasked
                return False
            request = asking.result()
        except h11.RemoteProtocolError as error:
            return await self._refuse(Bad(error.error_status_hint, "the request is malformed"), None)
        finally:
            asking.cancel()
        if not isinstance(request, h11.Request):
            return False
        try:
            asked, fields = self._read(request)
            added = self._passing.decide(asked)
        except Bad as bad:
            return await self._refuse(bad, request)
        if self._answer.done():
            return False  # unasked: it is no answer to this
        return await self._pass(asked, fields, added)

    def _read(self, request: h11.Request) -> tuple[Asked, Fields]:
        fields = check(request.headers.raw_items())
        names = [name.lower() for name, _ in fields]
        if b"transfer-encoding" in names and (b"content-length" in names or request.http_version < b"1.1"):
            raise Bad(400, "the length of the body is ambiguous")
        hosts = [value for name, value in fields if name.lower() == b"host"]
        if len(hosts) != 1:
            raise Bad(400, "the request names no host, or several")
        return read_asked(request.method, request.target, hosts, self._passing.origins), fields

    async def _refuse(self, bad: Bad, request: h11.Request | None) -> bool:
        """Answer in the server's place; the connection can be used again where its state is known."""
        host = next((value for name, value in request.headers if name == b"host"), b"") if request else b""
        method, target = (request.method, request.target) if request else (b"", b"")
        self._passing.refused(bad, method, host, target)
        left = _DRAIN_MAX if bad.status == 403 else -1
        while left >= 0 and self._guest.http.their_state is h11.SEND_BODY:
            if self._guest.http.they_are_waiting_for_100_continue:
                left = -1
            elif isinstance(event := await self._guest.event(), h11.Data):
                left -= len(event.data)
        body = refusal(bad.reason)
        fields = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
        fields += [] if left >= 0 else [(b"connection", b"close")]
        reason = {400: b"Bad Request", 403: b"Forbidden"}.get(bad.status, b"Refused")
        await self._guest.send(h11.Response(status_code=bad.status, headers=fields, reason=reason))
        if request is None or request.method != b"HEAD":
            await self._guest.send(h11.Data(data=body))
        await self._guest.send(h11.EndOfMessage())
        return left >= 0 and self._guest.http.our_state is self._guest.http.their_state is h11.DONE

    # ---- a request that is passed on ------------------------------------------------------------------------------

    async def _pass(self, asked: Asked, fields: Fields, added: Mapping[bytes, tuple[bytes, bytes]]) -> bool:
        upgrade = b"websocket" in words(fields, b"upgrade") and b"upgrade" in words(fields, b"connection")
        sent = [(b"Host", asked.origin.authority.encode()), *with_added(end_to_end(fields), added)]
        sent += [(name, value) for name, value in fields if name.lower() in _KEPT]
        sent += [(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")] if upgrade else []
        await self._upstream.send(h11.Request(method=asked.method, target=asked.target, headers=sent))
        body, response = asyncio.ensure_future(self._pass_body()), asyncio.ensure_future(self._pass_response())
        try:
            await asyncio.wait({body, response}, return_when=asyncio.FIRST_COMPLETED)
            if not response.done():
                body.result()  # one that breaks off has no response
                await self._watch(response)
            if await response:
                await body
                await self._switched()
                return False
            if not body.done():
                return False  # it answered before it had the whole request
            await body
        finally:
            body.cancel()
            response.cancel()
        ends = (self._guest.http, self._upstream.http)
        return all(http.our_state is http.their_state is h11.DONE for http in ends)

    async def _watch(self, response: asyncio.Task[bool]) -> None:
        """A guest that does not wait for its response any more gets none, and the server hears so."""
        asking = self._asking = asyncio.ensure_future(self._guest.event())
        await asyncio.wait({response, asking}, return_when=asyncio.FIRST_COMPLETED)
        if not asking.done():
            return
        self._asking = None
        if not response.done() and asking.result() is not h11.PAUSED:
            raise ConnectionError

    async def _pass_body(self) -> None:
        while not isinstance(event := await self._guest.event(), h11.EndOfMessage):
            if not isinstance(event, h11.Data):
                raise ConnectionError
            await self._upstream.send(h11.Data(data=event.data))
        await self._upstream.send(h11.EndOfMessage())  # without trailers, which nobody has judged

    async def _next_answer(self) -> Any:
        answer, self._answer = self._answer, None
        return await (answer or self._upstream.event())

    async def _pass_response(self) -> bool:
        """True: it is a WebSocket from here on."""
        while not isinstance(head := await self._next_answer(), h11.Response):
            if not isinstance(head, h11.InformationalResponse):
                raise ConnectionError
            await self._guest.send(self._informational(head))
            if head.status_code == 101:
                return True
        fields = check(head.headers.raw_items())
        kept = end_to_end(fields) + [(name, value) for name, value in fields if name.lower() in _KEPT]
        await self._guest.send(h11.Response(status_code=head.status_code, headers=kept, reason=head.reason))
        while isinstance(event := await self._upstream.event(), h11.Data):
            await self._guest.send(h11.Data(data=event.data))
        if not isinstance(event, h11.EndOfMessage):
            raise ConnectionError
        await self._guest.send(h11.EndOfMessage())
        return False

    def _informational(self, head: h11.InformationalResponse) -> h11.InformationalResponse:
        kept = end_to_end(check(head.headers.raw_items()))
        if head.status_code == 101:
            kept += [(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")]
        return h11.InformationalResponse(status_code=head.status_code, headers=kept, reason=head.reason)

    async def _switched(self) -> None:
        """A WebSocket: to the host whose request was judged; what it carries is not."""
        await asyncio.gather(self._copy(self._guest, self._upstream), self._copy(self._upstream, self._guest))

    async def _copy(self, source: _Side, target: _Side) -> None:
        data, _ = source.http.trailing_data
        while data or (data := await source.stream.receive()):
            self._passing.busy()
            await target.stream.send(data)
            data = b""
        await target.stream.end()
