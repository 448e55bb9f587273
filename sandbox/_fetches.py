"""Descriptors of a guest's files that its sentry is asked for."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from dataclasses import dataclass

from . import _core
from ._messages import Fetched


@dataclass
class Fetch:
    done: bool = False
    abandoned: bool = False
    error: int = 0
    fd: int | None = None


class Fetches:
    """`changed` is the guest's: held when events come, notified after them."""

    def __init__(self, changed: threading.Condition) -> None:
        self._changed = changed
        self._asked: dict[int, Fetch] = {}

    def ask(self, number: int) -> Fetch:
        """With `changed` held."""
        fetch = self._asked[number] = Fetch()
        return fetch

    def wait(self, fetch: Fetch) -> int | None:
        """The descriptor, or None with `fetch.error`. A caller that is interrupted leaves no descriptor behind."""
        try:
            with self._changed:
                self._changed.wait_for(lambda: fetch.done)
        except BaseException:
            with self._changed:
                fetch.abandoned = True
                _close(fetch)
            raise
        return fetch.fd

    def take(self, event: Fetched) -> None:
        fetch = self._asked.pop(event.request, None)
        if fetch is None:
            if event.fd is not None:
                os.close(event.fd)
            raise _core.Malformed(f"FETCHED {event.request}, which nobody asked for")
        fetch.error, fetch.fd, fetch.done = event.error, event.fd, True
        if fetch.abandoned:
            _close(fetch)

    def settle(self) -> None:
        """The guest is gone: nothing will come."""
        for fetch in self._asked.values():
            fetch.error, fetch.done = errno.EIO, True
        self._asked.clear()


def grants(fd: int) -> bool:
    """Was it opened for more than its path? One that was not would lend the caller's own privileges to a sentry."""
    return not fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_PATH


def _close(fetch: Fetch) -> None:
    if fetch.fd is not None:
        os.close(fetch.fd)
        fetch.fd = None
