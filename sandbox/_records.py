"""The records of one guest on their way from the memory that its sentry writes to what keeps them."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from . import _core
from ._audit import AuditSummary, Sink
from ._audit.format import WITHOUT_CALL, Decision, of_decision
from ._audit.guest import Guest
from ._errors import GuestFault
from ._events import Stream
from ._messages import Judged
from ._workers import Workers

_RECENT = 256  # requests that a new listener is told of: their calls may come yet


class Records:
    """INVARIANT nothing-unrecorded: where records cannot be kept, `failed` is called and the guest does not go on."""

    def __init__(
        self, trail: _core.Trail, sink: Sink | None, workers: Workers, failed: Callable[[Exception], None]
    ) -> None:
        self._trail, self._sink = trail, sink
        self._workers, self._failed = workers, failed
        self._lock = threading.Lock()
        self._asked = False
        self._closed = False
        self._counts: dict[int, tuple[int, int, int]] = {}
        self._streams: list[Stream] = []
        self._recent: deque[tuple[int, bytes]] = deque(maxlen=_RECENT)
        self._begun = False
        if sink is not None:
            sink.begin(self.ask_drain)

    def ask_drain(self) -> None:
        """Move records, in a worker. One is enough: a broken sentry may ask without end."""
        if not self._asked:
            self._asked = True
            self._workers.submit(self._drain)

    def pull(self) -> None:
        """Move records now, unless one who gets them does not keep up."""
        with self._failures(), self._lock:
            if not self._closed and not self._full():
                self._move()

    def listen(self, guest: int, about: Mapping[str, object], *, taken: bool) -> Stream:
        """What is recorded from now on."""
        stream = Stream(Guest(guest, about), self.pull, taken=taken)
        self.pull()
        with self._lock:
            stream.begin(self._recent, whole=not self._begun)
            if self._closed:
                stream.close()
            else:
                self._streams.append(stream)
        return stream

    def served(self, request: int, name: bytes) -> None:
        """The Supervisor's own record of a request, which the sentry's record of the call is joined with."""
        with self._failures(), self._lock:
            if self._closed:
                return
            self._recent.append((request, name))
            for stream in self._streams:
                stream.served(request, name)
            if self._sink is not None:
                self._sink.served(request, name)

    def decided(self, judged: Judged) -> None:
        """What was decided without a call."""
        magic = WITHOUT_CALL[judged.kind]
        data = of_decision(Decision(time.time_ns(), judged.allowed, judged.what, judged.rule.encode()))
        with self._failures(), self._lock:
            if self._closed:
                return
            for stream in self._streams:
                stream.decided(magic, data)
            if self._sink is not None:
                self._sink.decided(magic, data)

    def full(self) -> bool:
        """Is somebody who gets them behind?"""
        with self._failures(), self._lock:
            return not self._closed and self._full()
        return False

    def summary(self) -> AuditSummary:
        with self._lock:
            return AuditSummary(self._counts if self._closed else self._trail.counts())

    def close(self) -> None:
        """Move what is left, and give everything back. A sink may wait for a function of the caller's, which may ask
        for a summary."""
        with self._failures(), self._lock:
            if self._closed:
                return
            try:
                self._move()
            finally:
                self._counts = self._trail.counts()
                self._closed = True
                self._trail.close()
                for stream in self._streams:
                    stream.close()
        with self._failures():
            if self._sink is not None:
                self._sink.close()

    def forget_after_fork(self) -> None:
        """In a forked child: write nothing, hold nothing."""
        self._lock = threading.Lock()
        self._closed = True
        self._trail.close()
        for stream in self._streams:
            stream.forget_after_fork()

    def _drain(self) -> None:
        self._asked = False
        self.pull()

    def _full(self) -> bool:
        return bool(self._sink and self._sink.full()) or any(stream.full() for stream in self._streams)

    def _move(self) -> None:
        last = [stream for stream in self._streams if stream.ended()]
        data = self._trail.drain()
        self._begun = self._begun or bool(data)
        if self._sink is not None:
            self._sink.records(data)
        for stream in self._streams:
            stream.put(data)
        for stream in last:
            stream.close()
        self._streams = [stream for stream in self._streams if not stream.over]

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Told outside of our lock: the guest's own may be held by who waits for ours."""
        try:
            yield
        except _core.Malformed as error:
            self._failed(GuestFault(f"sentry closed: {error}"))
        except Exception as error:
            fault = GuestFault(f"audit: records cannot be written: {error}")
            fault.__cause__ = error.__cause__ or error
            self._failed(fault)
