"""Messages to one sentry that never block the sender: what the socket does not take waits here, up to a bound."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections import deque
from collections.abc import Callable, Sequence

from . import _core
from ._core import Message
from ._core.beyond import send_beyond

_WAITING_MAX = 4096


class Outbox:
    """`want_writable(True)` is called when something waits for room, `want_writable(False)` when nothing does any more;
    `want_later()` when something waits because too many descriptors of the user are in flight: flush soon."""

    def __init__(
        self, sock: socket.socket, want_writable: Callable[[bool], None], want_later: Callable[[], None]
    ) -> None:
        self._socket = sock
        self._want_writable, self._want_later = want_writable, want_later
        self._refused = False
        self._waiting: deque[Message] = deque()
        self._lock = threading.Lock()

    def post(self, messages: Sequence[Message]) -> None:
        """Send the messages, together and in order. The descriptors stay the caller's, who may close them at once.
        ConnectionError: the sentry is gone. TimeoutError: it has not read for long."""
        with self._lock:
            if len(self._waiting) + len(messages) > _WAITING_MAX:
                raise TimeoutError(errno.ETIMEDOUT, "it has not read for long")
            was_empty = not self._waiting
            rest = self._send(messages) if was_empty else messages
            self._waiting.extend(message._replace(fds=[os.dup(fd) for fd in message.fds]) for message in rest)
            if was_empty and self._waiting:
                self._want(True)

    def flush(self) -> None:
        with self._lock:
            if not self._waiting:
                return
            rest = self._send(tuple(self._waiting))
            for _ in range(len(self._waiting) - len(rest)):
                _close(self._waiting.popleft())
            self._want(bool(self._waiting))

    def drop(self) -> None:
        with self._lock:
            while self._waiting:
                _close(self._waiting.popleft())

    def _send(self, messages: Sequence[Message]) -> Sequence[Message]:
        """What could not be sent yet, and is `_refused` where that is not for want of room."""
        self._refused = False
        for index, message in enumerate(messages):
            try:
                _send(self._socket, message)
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.ETOOMANYREFS):
                    raise
                self._refused = error.errno == errno.ETOOMANYREFS
                return messages[index:]
        return ()

    def _want(self, more: bool) -> None:
        self._want_writable(more and not self._refused)
        if more and self._refused:
            self._want_later()


def _send(sock: socket.socket, message: Message) -> None:
    try:
        _core.send(sock, message)
    except OSError as error:
        if error.errno != errno.ETOOMANYREFS:
            raise
        send_beyond(sock, message)


def _close(message: Message) -> None:
    for fd in message.fds:
        os.close(fd)
