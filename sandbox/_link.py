"""The socket of one sentry: what it is told never blocks the sender, what it says is taken one message at a time."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import suppress

from . import _core, _inbox
from ._errors import GuestFault
from ._loop import WRITABLE, Loop
from ._messages import Event
from ._outbox import Outbox

_AGAIN = 0.02  # seconds until a message with descriptors that the kernel refuses is tried again


class Link:
    """Called in the Supervisor's thread: `take(event)` for what the sentry says, `fail(fault)` where no sentry says it,
    `over()` at the end of the stream."""

    def __init__(
        self,
        sock: socket.socket,
        loop: Loop,
        take: Callable[[Event], None],
        fail: Callable[[Exception], None],
        over: Callable[[], None],
    ) -> None:
        self._socket, self._loop = sock, loop
        self._take, self._fail, self._over = take, fail, over
        self._outbox = Outbox(sock, lambda on: loop.also_writable(sock.fileno(), on), self._flush_later)
        self.post, self.drop = self._outbox.post, self._outbox.drop

    def begin(self) -> None:
        self._loop.watch(self._socket.fileno(), self._on_socket)

    def finish(self) -> None:
        """Take what a sentry that is gone has said last."""
        while self._receive():
            pass
        self._loop.forget(self._socket.fileno())

    def _on_socket(self, events: int) -> None:
        if events & WRITABLE:
            self._flush()
        if events & ~WRITABLE:
            self._receive()

    def _flush(self) -> None:
        with suppress(OSError):
            self._outbox.flush()

    def _flush_later(self) -> None:
        self._loop.call_at(time.monotonic() + _AGAIN, self._flush)

    def _receive(self) -> bool:
        """Take one message: others' sentries have their turn. False at the end of the stream."""
        try:
            message = _core.receive(self._socket)
            if message is not None:
                self._take(_inbox.parse(message))
                return True
        except BlockingIOError:
            return False
        except _core.Malformed as error:
            self._fail(GuestFault(f"sentry closed: it sent what no sentry sends: {error}"))
        except OSError:
            pass
        except BaseException as error:  # ours: a guest does not go on with it
            self._fail(GuestFault(f"sentry closed: {type(error).__name__}: {error}"))
        self._loop.forget(self._socket.fileno())
        self._over()
        return False
