"""Daemon threads for what may block: a function of a File, a read of the kernel's /proc, the end of a guest."""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Callable


class Workers:
    """At most `limit` threads, started when they are needed, ended when they were idle for `idle` seconds."""

    def __init__(self, limit: int, idle: float = 10.0) -> None:
        self._limit = limit
        self._idle = idle
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._waiting = 0

    def submit(self, work: Callable[[], None]) -> None:
        with self._lock:
            self._work.put(work)
            if self._waiting >= self._work.qsize() or self._threads >= self._limit:
                return
            self._threads += 1
        threading.Thread(target=self._run, name="sandbox-worker", daemon=True).start()

    def _run(self) -> None:
        while True:
            with self._lock:
                self._waiting += 1
            try:
                work = self._work.get(timeout=self._idle)
            except queue.Empty:
                work = None
            with self._lock:
                self._waiting -= 1
                if work is None:
                    if self._work.empty():
                        self._threads -= 1
                        return
                    continue
            try:
                work()
            except BaseException:  # one guest's error is not the others'
                threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))
