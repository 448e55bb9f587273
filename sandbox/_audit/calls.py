"""Events given to a function of the caller's, in a thread for each guest: a slow one makes its guest wait, no other."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from .._errors import SandboxError
from .event import Event
from .format import SERVED, request
from .guest import Guest
from .join import of_block

_LOOK = 0.1  # seconds between two looks for new records
_LEVELS = {"done": 20, "failed": 20, "denied": 30}  # INFO and WARNING of logging; all else is an ERROR
_ERROR = 40


class Calls:
    """At most one batch waits while another is gone through, and at the end what the ring still held."""

    def __init__(
        self,
        call: Callable[[Event], object],
        guest: int,
        about: Mapping[str, object],
        done: Callable[[], object] = lambda: None,
    ) -> None:
        """`done` is called behind the last event."""
        self._call, self._guest, self._done = call, Guest(guest, about), done
        self._batches: deque[tuple[bytes, bytes]] = deque()
        self._changed = threading.Condition()
        self._error: BaseException | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="sandbox-audit", daemon=True)

    def begin(self, wake: Callable[[], None]) -> None:
        """`wake` asks for the records that there are."""
        self._wake = wake
        self._thread.start()

    def full(self) -> bool:
        self._raise()
        with self._changed:
            return bool(self._batches)

    def put(self, magic: bytes, data: bytes) -> None:
        self._raise()
        if magic == SERVED:
            self._guest.has_served(*request(data))
        else:
            self._waits(magic, data)

    def close(self) -> None:
        """Until the function has had every event."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join()
        self._done()
        self._raise()

    def _waits(self, magic: bytes, data: bytes) -> None:
        with self._changed:
            self._batches.append((magic, data))
            self._changed.notify()

    def _raise(self) -> None:
        error = self._error
        if error is not None:
            raise SandboxError(f"{type(error).__name__}: {error}") from error

    def _run(self) -> None:
        try:
            while (block := self._next()) is not None:
                for event in of_block(self._guest, *block):
                    self._call(event)
        except BaseException as error:
            self._error = error
            self._wake()

    def _next(self) -> tuple[bytes, bytes] | None:
        with self._changed:
            while not self._batches and not self._closed:
                if not self._changed.wait(_LOOK):
                    self._wake()
            block = self._batches.popleft() if self._batches else None
        self._wake()
        return block


def logged(logger: Any) -> Callable[[Event], None]:
    """Events as log records: the line as the message, the Event as `event`."""

    def log(event: Event) -> None:
        level = _LEVELS.get(event.verdict, _ERROR) if event.trusted else _ERROR
        logger.log(level, "%s", event, extra={"event": event})

    return log
