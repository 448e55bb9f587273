"""One thread that waits for descriptors and for points in time. It calls back, and what it calls does not block."""

from __future__ import annotations

import heapq
import itertools
import os
import select
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

READABLE: int = select.EPOLLIN
WRITABLE: int = select.EPOLLOUT


class Timer:
    """A call that is due at `when` (time.monotonic) unless it was cancelled."""

    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when = when
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class Loop:
    def __init__(self, name: str) -> None:
        self._epoll = select.epoll()
        self._woken, self._wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._callbacks: dict[int, Callable[[int], None]] = {self._woken: self._drained}
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._lock = threading.Lock()
        self._epoll.register(self._woken, READABLE)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def watch(self, fd: int, callback: Callable[[int], None], events: int = READABLE) -> None:
        """Call back with the events whenever fd has one of these, has failed or has hung up."""
        self._callbacks[fd] = callback
        self._epoll.register(fd, events)

    def also_writable(self, fd: int, wanted: bool) -> None:
        self._epoll.modify(fd, READABLE | (WRITABLE if wanted else 0))

    def want(self, fd: int, events: int | None) -> None:
        """From now on for these events; None: for nothing, though it has failed or hung up. Not for what was
        forgotten."""
        if fd not in self._callbacks:
            return
        try:
            if events is None:
                self._epoll.unregister(fd)
            else:
                self._epoll.modify(fd, events)
        except FileNotFoundError:
            if events is not None:
                self._epoll.register(fd, events)

    def forget(self, fd: int) -> None:
        if self._callbacks.pop(fd, None) is not None:
            with suppress(OSError):
                self._epoll.unregister(fd)

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        timer = Timer(when, callback)
        with self._lock:
            first = not self._timers or when < self._timers[0][0]
            heapq.heappush(self._timers, (when, next(self._order), timer))
        if first:
            self._interrupt()
        return timer

    def perform(self, act: Callable[[], object], seconds: float | None = None) -> bool:
        """Act in the loop's thread, from any, and wait for it, `seconds` at most. False: it has failed there, or is
        still to come."""
        if self.is_current():
            act()
            return True
        done, tried = threading.Event(), threading.Event()

        def run() -> None:
            try:
                act()
                done.set()
            finally:
                tried.set()

        self.call_at(time.monotonic(), run)
        tried.wait(seconds)
        return done.is_set()

    def is_current(self) -> bool:
        return threading.current_thread() is self._thread

    def close_after_fork(self) -> None:
        """In a forked child, where the thread is not: give the descriptors back."""
        self._epoll.close()
        os.close(self._woken)
        os.close(self._wake)

    def _interrupt(self) -> None:
        with suppress(BlockingIOError):
            os.write(self._wake, b"x")

    def _drained(self, _: int) -> None:
        with suppress(BlockingIOError):
            os.read(self._woken, 4096)

    def _due(self) -> tuple[list[Timer], float]:
        now = time.monotonic()
        due = []
        with self._lock:
            while self._timers and (self._timers[0][0] <= now or self._timers[0][2].callback is None):
                due.append(heapq.heappop(self._timers)[2])
            wait = self._timers[0][0] - now if self._timers else -1.0
        return due, wait

    def _run(self) -> None:
        while True:
            due, wait = self._due()
            for timer in due:
                if timer.callback is not None:
                    self._guarded(timer.callback)
            if due:
                continue
            for fd, events in self._epoll.poll(wait):
                callback = self._callbacks.get(fd)
                if callback is not None:
                    self._guarded(callback, events)

    def _guarded(self, callback: Callable[..., None], *args: int) -> None:
        """One guest's error is not the others', whatever it is."""
        try:
            callback(*args)
        except BaseException:
            threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), self._thread)))


class Timers:
    """One owner's, by what they call: each once at a time, all cancelled together."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._timers: dict[Callable[[], None], Timer] = {}

    def after(self, seconds: float, callback: Callable[[], None]) -> None:
        self._timers[callback] = self._loop.call_at(time.monotonic() + seconds, callback)

    def cancel(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
