"""Questions to servers upstream: who else answers is not heard, and nothing waits.

Each try has a random number, a socket of its own that is connected, so that the kernel chooses the port and lets the
server alone in, and a time. A cut answer is asked for again by TCP; a server that does not answer, or says that it
cannot, is followed by the next. All of it runs on the loop's thread.
"""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

from .._errors import PolicyError
from .._loop import Loop, Timer
from .._targets import check_port, clean_text
from .names_messages import PAYLOAD, Answer, parsed, read_answer

Question = tuple[dns.name.Name, dns.rdatatype.RdataType]
Heard = Callable[[bytes], None]
Done = Callable[[Answer], None]

LARGEST_ANSWER = 8192
"""Bytes of an answer by TCP: to read one of 64 KiB would keep the other guests waiting."""

_FINAL = {dns.rcode.NOERROR, dns.rcode.NXDOMAIN}
_KNOWS_NO_EDNS = {dns.rcode.FORMERR, dns.rcode.NOTIMP}


@dataclass(frozen=True)
class Server:
    family: int
    address: Any

    @classmethod
    def at(cls, address: str, port: int) -> Server:
        """PolicyError: it is no numeric address, or no port."""
        try:
            at = clean_text(address), check_port(port)
            family, _, _, _, found = socket.getaddrinfo(*at, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST)[0]
        except (OSError, ValueError) as error:
            raise PolicyError(f"name server {address!r}, port {port!r}: {error}") from None
        return cls(family, found)


def host_servers(path: str = "/etc/resolv.conf") -> list[tuple[str, int]]:
    """The servers that the host asks; its own address where it names none that is one, as resolv.conf(5) has it."""
    import dns.resolver  # brings HTTP clients along where they are installed

    resolver = dns.resolver.Resolver(configure=False)
    with suppress(dns.resolver.NoResolverConfiguration, ValueError):
        resolver.read_resolv_conf(path)
    return [(str(each), 53) for each in resolver.nameservers if _is_usable(str(each))] or [("127.0.0.1", 53)]


def _is_usable(address: str) -> bool:
    """Not so with the scope of an interface that is gone."""
    try:
        return bool(Server.at(address, 53))
    except PolicyError:
        return False


class _Exchange:
    """A socket to a server, by UDP: the question goes out and whatever comes is heard. OSError: it cannot be."""

    kind = socket.SOCK_DGRAM

    def __init__(self, loop: Loop, server: Server, wire: bytes, heard: Heard, failed: Callable[[], None]) -> None:
        self._loop, self._wire, self._heard, self._failed = loop, wire, heard, failed
        self._socket = socket.socket(server.family, self.kind | socket.SOCK_NONBLOCK)
        self._server = server

    def start(self) -> None:
        with suppress(BlockingIOError):
            self._socket.connect(self._server.address)
        self._loop.watch(self._socket.fileno(), self._ready)
        self._opened()

    def close(self) -> None:
        if self._socket.fileno() >= 0:
            self._loop.forget(self._socket.fileno())
        self._socket.close()

    def _ready(self, _: int) -> None:
        try:
            message = self._advance()
        except BlockingIOError:
            return
        except OSError:
            self._failed()
            return
        if message is not None:
            self._heard(message)

    def _opened(self) -> None:
        with suppress(BlockingIOError):  # lost on the way, as datagrams are
            self._socket.send(self._wire)

    def _advance(self) -> bytes | None:
        """The message that came, if one did."""
        return self._socket.recv(PAYLOAD)


class _Stream(_Exchange):
    """The same by TCP: messages with their length before them."""

    kind = socket.SOCK_STREAM

    def _opened(self) -> None:
        self._wire = len(self._wire).to_bytes(2, "big") + self._wire
        self._received = b""
        self._loop.also_writable(self._socket.fileno(), True)

    def _advance(self) -> bytes | None:
        if not self._wire:
            return self._receive()
        self._wire = self._wire[self._socket.send(self._wire) :]
        self._loop.also_writable(self._socket.fileno(), bool(self._wire))
        return None

    def _receive(self) -> bytes | None:
        chunk = self._socket.recv(LARGEST_ANSWER)
        self._received += chunk
        length = int.from_bytes(self._received[:2], "big")
        if not chunk or length > LARGEST_ANSWER:
            raise ConnectionError
        return self._received[2 : 2 + length] if len(self._received) >= 2 + length > 2 else None


class _Lookup:
    """One question on its way. `done` is called once, with the answer or with None, unless it was cancelled before."""

    def __init__(self, loop: Loop, question: Question, done: Callable[[dns.message.Message | None], None]) -> None:
        self._loop, self._question, self._done = loop, question, done
        self._exchange: _Exchange | None = None
        self._timer: Timer | None = None
        self.waiting: list[Done] = []

    def start(self, servers: Sequence[Server], timeout: float) -> None:
        """Ask these servers in turn, each for so many seconds."""
        self._servers, self._timeout = iter(servers), timeout
        self._next()

    def cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._exchange is not None:
            self._exchange.close()

    def _next(self) -> None:
        server = next(self._servers, None)
        if server is None:
            self._finish(None)
        else:
            self._try(_Exchange, server, edns=True)

    def _try(self, kind: type[_Exchange], server: Server, *, edns: bool) -> None:
        self.cancel()
        self._query = dns.message.make_query(*self._question)
        self._query.id = secrets.randbits(16)
        self._query.use_edns(0 if edns else -1, payload=PAYLOAD)
        self._server, self._edns = server, edns
        self._timer = self._loop.call_at(time.monotonic() + self._timeout, self._next)
        try:
            self._exchange = kind(self._loop, server, self._query.to_wire(), self._heard, self._next)
            self._exchange.start()
        except OSError:
            self._next()

    def _heard(self, wire: bytes) -> None:
        """INVARIANT own-answer: what is no answer to this very question is as if it had not come."""
        response, streamed = parsed(wire), isinstance(self._exchange, _Stream)
        if response is None or not self._query.is_response(response):
            if streamed:
                self._next()
        elif response.flags & dns.flags.TC and not streamed:
            self._try(_Stream, self._server, edns=self._edns)
        elif response.rcode() in _KNOWS_NO_EDNS and self._edns:
            self._try(_Exchange, self._server, edns=False)
        elif response.errors or response.flags & dns.flags.TC or response.rcode() not in _FINAL:
            self._next()
        else:
            self._finish(response)

    def _finish(self, response: dns.message.Message | None) -> None:
        self.cancel()
        self._done(response)


@dataclass(frozen=True)
class NameLimits:
    """`in_flight` questions of a guest may wait for an answer; the next one fails. `answers` are remembered, and
    addresses. Each server has `timeout` seconds to answer, `rounds` times."""

    in_flight: int = 64
    answers: int = 4096
    timeout: float = 2.0
    rounds: int = 2


class Upstream:
    """The servers of one guest. The same question is asked once at a time, and not again while its answer stands."""

    def __init__(self, loop: Loop, servers: Sequence[Server], limits: NameLimits, clock: Callable[[], float]) -> None:
        self._loop, self._limits, self._clock = loop, limits, clock
        self._servers = list(servers) * limits.rounds
        self._answers: dict[Question, Answer] = {}
        self._lookups: dict[Question, _Lookup] = {}

    def has_room(self, question: Question) -> bool:
        waiting = sum(len(lookup.waiting) for lookup in self._lookups.values())
        return waiting < self._limits.in_flight or self._known(question) is not None

    def ask(self, question: Question, done: Done) -> None:
        """`done` hears the answer, now or later; FAILED where nobody answers."""
        known = self._known(question)
        if known is not None:
            done(known)
        elif question in self._lookups:
            self._lookups[question].waiting.append(done)
        else:
            self._look_up(question, done)

    def close(self) -> None:
        for lookup in self._lookups.values():
            lookup.cancel()
        self._lookups.clear()

    def _known(self, question: Question) -> Answer | None:
        answer = self._answers.get(question)
        return answer if answer is not None and answer.left(self._clock()) else None

    def _look_up(self, question: Question, done: Done) -> None:
        lookup = self._lookups[question] = _Lookup(self._loop, question, partial(self._heard, question))
        lookup.waiting.append(done)
        lookup.start(self._servers, self._limits.timeout)

    def _heard(self, question: Question, response: dns.message.Message | None) -> None:
        lookup, answer = self._lookups.pop(question), read_answer(response, self._clock())
        self._answers.pop(question, None)
        if answer.ttl:
            self._answers[question] = answer
            trim(self._answers, self._limits.answers)
        with ExitStack() as each:  # one that fails does not keep the others from theirs
            for done in reversed(lookup.waiting):
                each.callback(done, answer)


def trim(table: dict[Any, Any], size: int) -> None:
    """Let the oldest give way."""
    while len(table) > size:
        del table[next(iter(table))]
