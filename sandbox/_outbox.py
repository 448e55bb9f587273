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

_WAITING_MAX = 4096


class Outbox:
    """`want_writable(True)` is called when something waits, `want_writable(False)` when nothing does any more."""

    def __init__(self, sock: socket.socket, want_writable: Callable[[bool], None]) -> None:
        self._socket = sock
        self._want_writable = want_writable
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
                self._want_writable(True)

    def flush(self) -> None:
        with self._lock:
            rest = self._send(tuple(self._waiting))
            for _ in range(len(self._waiting) - len(rest)):
                _close(self._waiting.popleft())
            if not self._waiting:
                self._want_writable(False)

    def drop(self) -> None:
        with self._lock:
            while self._waiting:
                _close(self._waiting.popleft())

    def _send(self, messages: Sequence[Message]) -> Sequence[Message]:
        """What could not be sent yet."""
        for index, message in enumerate(messages):
            try:
                _core.send(self._socket, message)
            except BlockingIOError:
                return messages[index:]
        return ()


def _close(message: Message) -> None:
    for fd in message.fds:
        os.close(fd)
