"""The proxy of one guest as the Supervisor holds it: a process of sandbox/_http. Nothing that it says is parsed beyond
a fixed form, and what it may hold are the guest's own connections."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Protocol

from . import _core, _filter, _http_code
from ._errors import GuestFault, PolicyError, SandboxError
from ._http import wire
from ._http_rules import SCHEMES
from ._inbox import wall_bits
from ._loop import Loop
from ._memfd import sealed
from ._messages import Judged, Listener
from ._paths import printable
from ._rules import Rules
from ._trust import Trust, host_bundle
from ._verdicts import DEFAULT
from .services._sockets import cookie_of

_START = 60.0  # seconds until it is ready
_ENDING = 4.0  # seconds until it is gone
_MAIN = "import sys; sys.path += sys.argv[1:]; from sandbox._http.process import main; main()"
_WHY = {0: "no host of a rule", 403: "no rule of HTTP", 421: "another host", 502: "no server"}
"""Why a request was refused, by the status that the guest gets; any other is of what servers read in different ways."""
_RESET = b"\1\0\0\0\0\0\0\0"  # struct linger

_QUEUE = 32 << 10  # bytes of messages to a proxy that does not read: some eighty connections
_LATER = 0.025  # seconds until it is listened to again, while who gets a guest's records does not keep up
_HEARD = 2.0  # seconds in which it is listened to all the same: what waits to be heard ends no connections


class Owner(Listener, Protocol):
    """The guest, as its proxy knows it."""

    def fail(self, error: Exception) -> None: ...


class HTTPProxy:
    """`take` is called in the loop's thread, the rest from any."""

    def __init__(self, loop: Loop, rules: Rules, walls: Sequence[str], writable: Iterable[str]) -> None:
        """`writable` are paths of the host where its guest can write. SandboxError: a library is missing, or it cannot
        be started. PolicyError: a rule's `ca` cannot be read, or the guest could change the proxy's code."""
        _http_code.need_libraries()
        _http_code.check_writable(writable)
        self._loop = loop
        self._rules = rules.requests
        self._bundle = host_bundle()
        self._changed = threading.Condition()
        self._certificate: bytes | None = None
        self._failure: str | None = None
        self._closed = self._gone = False
        self._heard_until = 0.0
        self._listener: Owner | None = None
        with ExitStack() as always, ExitStack() as undo:
            setup = sealed(_setup(rules, walls, self._bundle), "sandbox-http")
            always.callback(os.close, setup)
            caller = os.pidfd_open(os.getpid())
            always.callback(os.close, caller)
            self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
            undo.callback(self._socket.close)
            with theirs:
                socket.send_fds(self._socket, [wire.SETUP], [setup, caller])
                self._pid, self._pidfd = self._spawn(theirs.fileno(), walls)
            undo.pop_all()
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _QUEUE)
        loop.watch(self._socket.fileno(), self._on_message)

    def _spawn(self, sock: int, walls: Sequence[str]) -> tuple[int, int]:
        """In the loop's thread, with which the kernel ends it (PR_SET_PDEATHSIG): a caller's may end before."""
        made: list[tuple[int, int, int] | OSError] = []

        def make() -> None:
            words = [sys.executable, "-I", "-S", "-c", _MAIN, *_http_code.homes()]
            try:
                made.append(_core.spawn(sys.executable, sock, wall_bits(tuple(walls)), words))
            except OSError as error:
                made.append(error)

        self._loop.perform(make)
        if isinstance(made[0], OSError):
            raise SandboxError(f"HTTP proxy {sys.executable}: cannot be started: {made[0].strerror}") from made[0]
        return made[0][:2]

    def attach(self, listener: Owner) -> None:
        """Who hears of its decisions, in the loop's thread, and that it could not begin."""
        with self._changed:
            self._listener, failed = listener, self._failure
        if failed is not None:
            listener.fail(SandboxError(f"HTTP proxy: {failed}"))

    # ---- what the guest gets --------------------------------------------------------------------------------------

    def take(self, inner: socket.socket, upstream: socket.socket, port: int, names: Sequence[str]) -> None:
        """Give it a connection of the guest's to `port` of an address that it was told by `names`, and the other end.
        Both are reset where it cannot take them.

        INVARIANT no-last-close: a proxy may set a socket to linger, and whoever closes it last waits. So it gets them
        when ours are closed: until then they are in a socket of their own."""
        carried, about = None, wire.Connection(cookie_of(upstream), port, (*names,))
        try:
            carrier, carried = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with carrier:
                socket.send_fds(carrier, [wire.SOCKETS], [inner.fileno(), upstream.fileno()])
        except OSError:
            _reset(inner, upstream)
            if carried is not None:
                carried.close()
            return
        inner.close()
        upstream.close()
        with carried:
            try:
                socket.send_fds(self._socket, [wire.pack_connection(about)], [carried.fileno()])
            except OSError:  # it has not had them
                with suppress(OSError):
                    _reset(*(socket.socket(fileno=fd) for fd in socket.recv_fds(carried, 1, 2)[1]))

    def end(self, cookies: Sequence[int]) -> bool:
        """Ask it to end the connections with these upstream, when it has begun; not in the loop's thread. False: it has
        not read what it was told before."""
        with self._changed:
            self._changed.wait_for(lambda: self._certificate or self._failure, _START)
        self._heard_until = time.monotonic() + _HEARD
        try:
            for message in wire.pack_ends(cookies):
                self._socket.send(message)
        except OSError:
            return False
        return True

    def content(self, trust: Trust) -> Callable[[], bytes]:
        """What makes a file of the guest's view."""
        return lambda: (self._bundle + b"\n" if trust.whole else b"") + self.certificate()

    def certificate(self) -> bytes:
        """Its CA's, PEM, when it is ready. GuestFault: it will not be."""
        with self._changed:
            self._changed.wait_for(lambda: self._certificate or self._failure, _START)
            if self._certificate is None:
                raise GuestFault(f"HTTP proxy: {self._failure or f'not ready in {_START:g} seconds'}")
            return self._certificate

    @property
    def stands(self) -> bool:
        return self._failure is None

    def close(self, *, forked: bool = False) -> None:
        """End it, and wait until it has. In a forked child it is the parent's."""
        if forked:
            self._changed = threading.Condition()  # a thread that is not here may hold the other
        with self._changed:
            if self._closed:
                if not forked:  # another thread may be at it
                    self._changed.wait_for(lambda: self._gone, _ENDING)
                return
            self._closed = True
            if not forked:
                self._stop()
        if not forked:
            with suppress(ChildProcessError):
                os.waitpid(self._pid, 0)
        with self._changed:
            self._failure, self._gone = self._failure or "it has ended", True
            self._changed.notify_all()
            self._socket.close()
            os.close(self._pidfd)

    def _stop(self) -> None:
        self._loop.forget(self._socket.fileno())
        with suppress(OSError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    # ---- what it says ---------------------------------------------------------------------------------------------

    def _on_message(self, _: int) -> None:
        if self._listener is not None and self._listener.is_behind() and time.monotonic() > self._heard_until:
            with self._changed:
                if not self._closed:
                    self._loop.forget(self._socket.fileno())
            self._loop.call_at(time.monotonic() + _LATER, self._listen)
            return
        try:
            data = self._socket.recv(wire.MESSAGE_MAX)
            if data:
                return self._take(wire.read_said(data))
            self._fail("it has ended")
        except BlockingIOError:
            return
        except (OSError, ValueError) as error:
            self._fail(str(error))
        with self._changed:
            if not self._closed:  # else the numbers may be others' by now
                self._stop()

    def _listen(self) -> None:
        with self._changed:
            if self._failure is None and not self._closed:
                self._loop.watch(self._socket.fileno(), self._on_message)

    def _take(self, said: wire.Said) -> None:
        if isinstance(said, wire.Decision):
            if self._certificate is not None and self._listener is not None:
                self._listener.judged(self._judged(said))
            return
        if isinstance(said, wire.Fault):
            raise ValueError(printable(os.fsdecode(said.text)) or "it has failed")
        if self._certificate is not None:
            raise ValueError("ready twice")
        with self._changed:
            self._certificate = said.certificate
            self._changed.notify_all()

    def _judged(self, said: wire.Decision) -> Judged:
        if said.allowed != (said.rule < len(self._rules)):
            raise ValueError("a decision by no rule")
        rule = str(self._rules[said.rule]) if said.allowed else f"{DEFAULT}: {_WHY.get(said.status, 'ambiguous')}"
        host = said.host if said.port in SCHEMES.values() or b":" in said.host else b"%s:%d" % (said.host, said.port)
        return Judged("http", said.allowed, rule, b"%s %s%s" % (said.method or b"?", host, said.path))

    def _fail(self, why: str) -> None:
        """A guest whose proxy has not begun does not go on; with one that ends later it has its connections no more."""
        with self._changed:
            self._failure = self._failure or why
            listener = self._listener if self._certificate is None else None
            self._changed.notify_all()
        if listener is not None:
            listener.fail(SandboxError(f"HTTP proxy: {why}"))


def _reset(*socks: socket.socket) -> None:
    for sock in socks:
        with sock, suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


def _setup(rules: Rules, walls: Sequence[str], bundle: bytes) -> bytes:
    authorities = {"": bundle.decode("ascii", "ignore")}
    for rule in rules.requests:
        if rule.ca:
            authorities[rule.ca] = _read(rule.ca)
    return json.dumps(
        {
            "rules": [{"methods": rule.methods, "pattern": rule.pattern, "ca": rule.ca} for rule in rules.requests],
            "headers": [
                {"name": each.name, "value": each.value, "hosts": each.hosts, "plain": each.plain}
                for each in rules.headers
            ],
            "authorities": authorities,
            "filter": base64.b64encode(_filter.proxy_program()).decode("ascii"),
            "walls": list(walls),
        }
    ).encode("ascii")


def _read(path: str) -> str:
    try:
        return Path(path).read_bytes().decode("ascii", "ignore")
    except OSError as error:
        raise PolicyError(f"allow-http: ca {path}: {error.strerror}") from None
