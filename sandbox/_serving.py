"""What a sentry asks for while a call of its guest waits: contents of virtual files, made in worker threads."""

from __future__ import annotations

import errno
import os
import threading
from collections import deque
from collections.abc import Callable
from typing import Union

from . import _core
from ._memfd import read_source
from ._messages import Refused, Request, ServeFile, ServeProc, Service
from ._workers import Workers

_REQUESTS_MAX = 1024  # of one guest at once
_AT_ONCE = 4  # of these, in threads: a guest's slow function does not take the others' workers

Asked = Union[ServeFile, ServeProc]


class Serving:
    """The requests of one guest. `answer(request, content, error)` and `failed(exception)` are called in a worker."""

    def __init__(
        self,
        files: Service,
        file_count: int,
        proc: Service,
        workers: Workers,
        answer: Callable[[int, bytes, bytes, int], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._files, self._file_count, self._proc = files, file_count, proc
        self._workers, self._answer, self._failed = workers, answer, failed
        self._lock = threading.Lock()
        self._requests: set[int] = set()
        self._waiting: deque[Asked] = deque()
        self._active = 0

    def take(self, asked: Asked) -> None:
        """Accept a request; Malformed where no sentry of ours would ask."""
        with self._lock:
            wrong = self._what_is_wrong(asked)
            if wrong:
                _close(asked)
                raise _core.Malformed(wrong)
            self._requests.add(asked.request)
            self._waiting.append(asked)
            self._begin_next()

    def drop(self) -> None:
        """The guest is gone: what has not begun never will."""
        with self._lock:
            while self._waiting:
                _close(self._waiting.popleft())

    def _what_is_wrong(self, asked: Asked) -> str:
        if asked.request in self._requests:
            return "a request twice"
        if len(self._requests) >= _REQUESTS_MAX:
            return "too many requests"
        if isinstance(asked, ServeFile) and asked.handle >= self._file_count:
            return "a request for a File that its policy does not have"
        return ""

    def _begin_next(self) -> None:
        if self._waiting and self._active < _AT_ONCE:
            self._active += 1
            asked = self._waiting.popleft()
            self._workers.submit(lambda: self._serve(asked))

    def _serve(self, asked: Asked) -> None:
        name = b"proc/" + asked.name if isinstance(asked, ServeProc) else b"file/%d" % asked.handle
        failure: BaseException | None = None
        try:
            content, error = self._content(asked), 0
        except Refused as refused:
            content, error = b"", refused.error
        except BaseException as raised:  # of a function of the caller's
            content, error, failure = b"", errno.EIO, raised
        with self._lock:
            self._requests.discard(asked.request)
            self._active -= 1
            self._begin_next()
        self._answer(asked.request, name, content, error)
        if failure is not None:
            self._failed(failure)

    def _content(self, asked: Asked) -> bytes:
        if isinstance(asked, ServeFile):
            return self._files.content(Request(asked.handle, b""))
        source = None
        if asked.source is not None:
            try:
                source = read_source(asked.source)
            except OSError as error:
                raise Refused(error.errno or errno.EIO) from None
            finally:
                os.close(asked.source)
        return self._proc.content(Request(asked.pid, asked.name, source, asked.umask))


def _close(asked: Asked) -> None:
    if isinstance(asked, ServeProc) and asked.source is not None:
        os.close(asked.source)
