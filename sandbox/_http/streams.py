"""Bytes to and from a peer: a socket, and TLS over one. A peer that breaks off, or speaks no TLS, is a
ConnectionError."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from contextlib import suppress
from typing import Protocol

from OpenSSL import SSL

CHUNK = 65536
_RESET = struct.pack("ii", 1, 0)


class Stream(Protocol):
    async def receive(self) -> bytes:
        """What came; nothing at the end."""
        ...

    async def send(self, data: bytes) -> None: ...

    async def end(self) -> None:
        """Say that nothing more comes."""
        ...


class Plain:
    """Of a socket, which is the stream's to close."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket, self._loop, self._ahead = sock, asyncio.get_running_loop(), b""

    def give_back(self, data: bytes) -> None:
        """To be received first."""
        self._ahead = data + self._ahead

    async def receive(self) -> bytes:
        ahead, self._ahead = self._ahead, b""
        return ahead or await self._loop.sock_recv(self._socket, CHUNK)

    async def send(self, data: bytes) -> None:
        await self._loop.sock_sendall(self._socket, data)

    async def end(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def close(self, *, reset: bool) -> None:
        with suppress(OSError):
            if reset:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._socket.close()


class WantRead(Exception):
    """More bytes of the peer are needed."""


class Engine(Protocol):
    """TLS without a socket."""

    def feed(self, data: bytes) -> None: ...
    def handshake(self) -> None: ...
    def read(self) -> bytes: ...
    def write(self, data: bytes) -> None: ...
    def shutdown(self) -> None: ...
    def pending(self) -> bytes: ...


class ServerEngine:
    """Towards the guest: its certificates exist in memory only, which the standard library's TLS does not take."""

    def __init__(self, connection: SSL.Connection) -> None:
        self.connection = connection

    def feed(self, data: bytes) -> None:
        while data:
            data = data[self.connection.bio_write(data) :]

    def handshake(self) -> None:
        try:
            self.connection.do_handshake()
        except SSL.WantReadError:
            raise WantRead from None
        except SSL.Error as error:
            raise ConnectionError from error

    def read(self) -> bytes:
        try:
            return self.connection.recv(CHUNK)
        except SSL.ZeroReturnError:
            return b""
        except SSL.WantReadError:
            raise WantRead from None
        except SSL.Error as error:
            raise ConnectionError from error

    def write(self, data: bytes) -> None:
        try:
            while data:
                data = data[self.connection.send(data[:CHUNK]) :]
        except SSL.Error as error:
            raise ConnectionError from error

    def shutdown(self) -> None:
        with suppress(SSL.Error):
            self.connection.shutdown()

    def pending(self) -> bytes:
        parts = []
        with suppress(SSL.WantReadError):
            while True:
                parts.append(self.connection.bio_read(CHUNK))
        return b"".join(parts)


class ClientEngine:
    """Towards the server, which is verified."""

    def __init__(self, context: ssl.SSLContext, name: str) -> None:
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.object = context.wrap_bio(self._in, self._out, server_hostname=name)

    def feed(self, data: bytes) -> None:
        self._in.write(data)

    def handshake(self) -> None:
        try:
            self.object.do_handshake()
        except ssl.SSLWantReadError:
            raise WantRead from None

    def read(self) -> bytes:
        try:
            return self.object.read(CHUNK)
        except ssl.SSLZeroReturnError:
            return b""
        except ssl.SSLWantReadError:
            raise WantRead from None
        except ssl.SSLError as error:
            raise ConnectionError from error

    def write(self, data: bytes) -> None:
        try:
            while data:
                data = data[self.object.write(data) :]
        except ssl.SSLError as error:
            raise ConnectionError from error

    def shutdown(self) -> None:
        with suppress(ssl.SSLError):
            self.object.unwrap()

    def pending(self) -> bytes:
        return self._out.read()


class Tls:
    def __init__(self, below: Plain, engine: Engine) -> None:
        self._below, self._engine, self._sending = below, engine, asyncio.Lock()

    async def handshake(self) -> None:
        """ssl.SSLError: a server is not who it should be, or speaks no TLS."""
        while True:
            try:
                self._engine.handshake()
                return await self._flush()
            except WantRead:
                await self._flush()
                await self._more()
            except ssl.SSLError:
                with suppress(OSError):
                    await self._flush()  # the alert
                raise

    async def _more(self) -> None:
        data = await self._below.receive()
        if not data:
            raise ConnectionError
        self._engine.feed(data)

    async def _flush(self) -> None:
        async with self._sending:  # what is taken first is sent first
            data = self._engine.pending()
            if data:
                await self._below.send(data)

    async def receive(self) -> bytes:
        while True:
            try:
                return self._engine.read()
            except WantRead:
                await self._flush()
                await self._more()

    async def send(self, data: bytes) -> None:
        self._engine.write(data)
        await self._flush()

    async def end(self) -> None:
        self._engine.shutdown()
        with suppress(OSError):
            await self._flush()
        await self._below.end()
