"""One connection of the guest, from its first byte to its last: whom it is for, then its requests."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import h2.exceptions
import h11

from .._domains import guest_name
from . import wire
from .certificates import Certificates, Hello
from .heads import Bad
from .http1 import Http1
from .http2 import Http2
from .judge import Judge, Origin
from .passing import Passing
from .streams import ClientEngine, Plain, ServerEngine, Stream, Tls, WantRead

FIRST = 30.0
"""Seconds until a connection's first request."""
IDLE = 600.0
"""Seconds in which neither side says anything that has a sense."""
_LAST = 1.0  # that the guest has to read what ends a connection
_HELLO_MAX = 32 << 10
_TLS = b"\x16"
_PROTOCOLS = (b"h2", b"http/1.1")


class Refused(Exception):
    """The connection itself is for nobody that a rule names."""


_PROTOCOL = (h11.ProtocolError, h2.exceptions.ProtocolError)
_BREAKS = (OSError, Refused, Bad, *_PROTOCOL, asyncio.CancelledError)
"""What ends a connection by a reset."""


@dataclass(frozen=True)
class Common:
    """What the connections of a guest share. `authorities` are texts in PEM by the name of a file, "" the host's."""

    judge: Judge
    certificates: Certificates
    authorities: dict[str, str]
    tell: Callable[[wire.Decision], None]
    contexts: dict[tuple[tuple[str, ...], tuple[bytes, ...]], ssl.SSLContext] = field(default_factory=dict)

    def client(self, name: str, protocols: Sequence[bytes]) -> ssl.SSLContext:
        """INVARIANT verified-upstream: nothing is sent to a server that these do not vouch for by its name."""
        return self.client_of(tuple(self.judge.authorities(name)) or ("",), tuple(protocols))

    def client_of(self, files: tuple[str, ...], protocols: tuple[bytes, ...]) -> ssl.SSLContext:
        key = files, protocols
        if key not in self.contexts:
            made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            made.minimum_version = ssl.TLSVersion.TLSv1_2
            for each in files:
                if self.authorities[each]:
                    made.load_verify_locations(cadata=self.authorities[each])
            made.set_alpn_protocols([protocol.decode() for protocol in protocols])
            self.contexts[key] = made
        return self.contexts[key]


class Served:
    def __init__(self, common: Common, inner: socket.socket, upstream: socket.socket, about: wire.Connection) -> None:
        self._common, self._about = common, about
        self._inner, self._upstream = Plain(inner), Plain(upstream)
        self._loop = asyncio.get_running_loop()
        self._deadline = self._loop.time() + FIRST
        self._timer: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Until it ends; whatever goes wrong is this connection's."""
        task = asyncio.current_task()
        assert task is not None
        self._look(task)
        reset = True
        try:
            await self._serve()
            reset = False
        except _BREAKS:
            pass
        finally:
            if self._timer is not None:
                self._timer.cancel()
            self._inner.close(reset=reset)
            self._upstream.close(reset=reset)

    def _look(self, task: asyncio.Task[None]) -> None:
        if self._loop.time() >= self._deadline:
            task.cancel()
        else:
            self._timer = self._loop.call_at(self._deadline, self._look, task)

    def _busy(self) -> None:
        self._deadline = self._loop.time() + IDLE

    async def _serve(self) -> None:
        first = await self._inner.receive()
        self._inner.give_back(first)
        if first[:1] == _TLS:
            await self._serve_tls()
        elif first:
            names = (Origin("http", name, self._about.port) for name in self._about.names)
            await self._requests(Http1, self._inner, self._upstream, list(filter(self._common.judge.covers, names)))

    async def _requests(
        self, kind: type[Http1] | type[Http2], guest: Stream, upstream: Stream, origins: list[Origin], broken: str = ""
    ) -> None:
        if not origins:
            self._refuse("")
        common = self._common
        passing = Passing(guest, upstream, origins, common.judge, common.tell, self._busy, broken)
        await kind(passing).run()
        await upstream.end()
        await guest.end()
        with suppress(asyncio.TimeoutError, OSError):  # what it has not read would be lost with what we have not
            await asyncio.wait_for(_rest(self._inner), _LAST)

    def _refuse(self, name: str) -> None:
        self._common.tell(wire.Decision(False, wire.NO_RULE, self._about.port, 0, b"", name.encode("utf-8"), b""))
        raise Refused

    # ---- TLS ------------------------------------------------------------------------------------------------------

    async def _serve_tls(self) -> None:
        hello, said = await self._hear()
        name = guest_name((hello.name or b"").decode("latin-1")) or ""
        origin = Origin("https", name, self._about.port)
        if name not in self._about.names or not self._common.judge.covers(origin):
            self._refuse((hello.name or b"").decode("latin-1"))
        offered = [protocol for protocol in _PROTOCOLS if protocol in hello.protocols]
        broken, chosen, upstream = "", b"", None
        try:
            engine = ClientEngine(self._common.client(name, offered), name)
            upstream = Tls(self._upstream, engine)
            await upstream.handshake()
            chosen = (engine.object.selected_alpn_protocol() or "").encode()
        except (ssl.SSLError, OSError) as error:
            broken = f"{name}: {getattr(error, 'verify_message', '') or 'no TLS with the server'}"
        inside = ServerEngine(self._common.certificates.connection(name, Hello(chosen or b"http/1.1")))
        inside.feed(said)
        guest = Tls(self._inner, inside)
        await guest.handshake()
        both = chosen == inside.connection.get_alpn_proto_negotiated() == b"h2"
        if chosen == b"h2" and not both:
            raise ConnectionError
        other = Silent() if broken or upstream is None else upstream
        await self._requests(Http2 if both else Http1, guest, other, [origin], broken)

    async def _hear(self) -> tuple[Hello, bytes]:
        """A client's first words, read as a server would that then says nothing."""
        hello, said = Hello(), b""
        engine = ServerEngine(self._common.certificates.connection("invalid", hello))
        while not hello.seen and len(said) < _HELLO_MAX:
            data = await self._inner.receive()
            if not data:
                raise ConnectionError
            said += data
            engine.feed(data)
            with suppress(WantRead):
                engine.handshake()
        return hello, said


class Silent:
    """In place of a server that cannot be spoken with."""

    async def receive(self) -> bytes:
        await asyncio.get_running_loop().create_future()
        return b""

    async def send(self, data: bytes) -> None:
        raise ConnectionError

    async def end(self) -> None:
        pass


async def _rest(stream: Plain) -> None:
    while await stream.receive():
        pass
