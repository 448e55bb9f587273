"""The proxy's process: it takes its rules, builds its walls, and serves until the Supervisor is gone."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import select
import socket
from contextlib import suppress
from typing import Any

from .._http_rules import AllowHTTP, Header
from . import wire
from .certificates import Certificates, Hello
from .confine import confine
from .connection import Common, Served
from .judge import Judge, Origin
from .streams import ClientEngine, Engine, ServerEngine, WantRead

_CONNECTIONS_MAX = 256


def main() -> None:
    control = socket.socket(fileno=wire.CONTROL)
    try:
        os.closerange(wire.CONTROL + 1, 64)  # what spawn.c leaves to a sentry
        setup, caller = _take_setup(control)
        loop = asyncio.new_event_loop()
        loop.set_exception_handler(lambda *_: None)
        proxy = Proxy(control, setup)
        proxy.warm_up()
        confine(base64.b64decode(setup["filter"]), setup["walls"])
    except Exception as error:
        control.send(wire.pack_fault(f"{type(error).__name__}: {error}"))
        return
    control.send(wire.pack_ready(proxy.certificate))
    control.setblocking(False)
    loop.add_reader(caller, os._exit, 0)
    loop.run_until_complete(proxy.serve())


class Proxy:
    def __init__(self, control: socket.socket, setup: dict[str, Any]) -> None:
        rules = [AllowHTTP(each["methods"], each["pattern"], ca=each["ca"]) for each in setup["rules"]]
        headers = [Header(each["name"], each["value"], each["hosts"], plain=each["plain"]) for each in setup["headers"]]
        certificates = Certificates([rule.url.host for rule in rules])
        self._control = control
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._common = Common(Judge(rules, headers), certificates, setup["authorities"], self._tell)

    @property
    def certificate(self) -> bytes:
        return self._common.certificates.pem

    async def serve(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(self._control, self._on_control)
        await loop.create_future()

    def _on_control(self) -> None:
        try:
            data, carried, _, _ = socket.recv_fds(self._control, wire.MESSAGE_MAX, 1)
        except BlockingIOError:
            return
        if not data:
            os._exit(0)  # nobody is served any more
        for number in wire.read_ends(data):
            if number in self._tasks:
                self._tasks[number].cancel()
        sockets = _unpacked(carried)
        if len(sockets) != 2 or len(self._tasks) >= _CONNECTIONS_MAX:
            for sock in sockets:
                sock.close()
            return
        (inner, upstream), about = sockets, wire.read_connection(data)
        task = asyncio.ensure_future(Served(self._common, inner, upstream, about).run())
        self._tasks[about.number] = task
        task.add_done_callback(lambda _: self._tasks.pop(about.number))

    def _tell(self, decision: wire.Decision) -> None:
        """INVARIANT told-first: before a request goes on. A guest that asks faster than it is heard waits."""
        message = wire.pack_decision(decision)
        while True:
            with suppress(BlockingIOError):
                self._control.send(message)
                return
            waiting = select.poll()
            waiting.register(self._control, select.POLLOUT)
            waiting.poll()

    def warm_up(self) -> None:
        """Speak with itself, so that whatever is loaded at its first use has been: afterwards nothing can be."""
        name = "warm-up.invalid"
        server = ServerEngine(self._common.certificates.connection(name, Hello(b"h2")))
        for file in self._common.authorities:
            self._common.client_of((file,), (b"h2", b"http/1.1"))
        client = ClientEngine(self._common.client_of(("",), (b"h2",)), name)
        _converse(client, server)
        self._common.judge.rule("GET", Origin("https", name, 443), "/")


def _converse(client: Engine, server: Engine) -> None:
    for _ in range(4):
        for one, other in ((client, server), (server, client)):
            with suppress(WantRead, OSError):
                one.handshake()
            other.feed(one.pending())


def _unpacked(carried: list[int]) -> list[socket.socket]:
    found = []
    for each in carried:
        with socket.socket(fileno=each) as carrier:
            found += [socket.socket(fileno=fd) for fd in socket.recv_fds(carrier, len(wire.SOCKETS), 2)[1]]
    return found


def _take_setup(control: socket.socket) -> tuple[dict[str, Any], int]:
    data, fds, _, _ = socket.recv_fds(control, wire.MESSAGE_MAX, 2)
    if data != wire.SETUP or len(fds) != 2:
        raise ValueError("the first message is no setup")
    with open(fds[0], "rb") as file:
        return json.load(file), fds[1]
