"""Input to and output from a command at the same time, until both are done or time is out; then it can go on."""

from __future__ import annotations

import errno
import os
import selectors
import time
from collections.abc import Callable
from typing import IO, Any

_CHUNK = 65536
_WRITE = 4096  # at most PIPE_BUF: a pipe that is writable takes it whole


class TimeIsOut(Exception):
    pass


class Exchange:
    """`output` has one source each for stdout and stderr; `sink` takes the input. None: not a pipe of ours.
    `on_kept` is told of the bytes of each read, `on_more` is called when there is more than `most` bytes of both."""

    def __init__(
        self,
        sink: Any,
        outputs: dict[str, Any],
        most: int,
        on_more: Callable[[], None],
        on_kept: Callable[[int], None],
    ) -> None:
        self._sink = sink
        self._input: memoryview = memoryview(b"")
        self._outputs = {name: source for name, source in outputs.items() if source is not None}
        self._open = {name: source for name, source in self._outputs.items() if not source.closed}
        self._chunks: dict[str, list[bytes]] = {name: [] for name in self._outputs}
        self._fed = False
        self._room, self._on_more, self._on_kept = most, on_more, on_kept

    def feed(self, data: bytes) -> None:
        if not self._fed:
            self._input, self._fed = memoryview(data), True
        elif data:
            raise ValueError("cannot send input after communicating has begun")

    def output(self, name: str) -> bytes | None:
        return b"".join(self._chunks[name]) if name in self._chunks else None

    def run(self, deadline: float | None) -> None:
        """Raises TimeIsOut at `deadline`; what was read until then is kept."""
        if not self._input:
            self._end_input()
        with selectors.DefaultSelector() as selector:
            for name, source in self._open.items():
                selector.register(source.fileno(), selectors.EVENT_READ, lambda name=name: self._read(name))
            if self._sink is not None:
                self._add_sink(selector)
            while selector.get_map():
                self._step(selector, deadline)

    def _add_sink(self, selector: selectors.BaseSelector) -> None:
        fd = self._sink.fileno()
        if fd in selector.get_map():  # a terminal is both
            return self._feed_terminal()
        selector.register(fd, selectors.EVENT_WRITE, self._write)

    def _feed_terminal(self) -> None:
        while self._input:
            self._input = self._input[os.write(self._sink.fileno(), self._input[:_WRITE]) :]
        self._sink = None

    def _step(self, selector: selectors.BaseSelector, deadline: float | None) -> None:
        wait = None if deadline is None else deadline - time.monotonic()
        if wait is not None and wait < 0:
            raise TimeIsOut
        for key, _ in selector.select(wait):
            still: Callable[[], bool] = key.data
            if not still():
                selector.unregister(key.fd)

    def _write(self) -> bool:
        try:
            self._input = self._input[os.write(self._sink.fileno(), self._input[:_WRITE]) :]
        except BrokenPipeError:
            self._input = memoryview(b"")
        if not self._input:
            self._end_input()
        return bool(self._input)

    def _end_input(self) -> None:
        if self._sink is not None and hasattr(self._sink, "flush"):
            close_quietly(self._sink)
            self._sink = None

    def _read(self, name: str) -> bool:
        try:
            data = os.read(self._open[name].fileno(), _CHUNK)
        except OSError as error:
            if error.errno != errno.EIO:  # the other end of a terminal is closed
                raise
            data = b""
        if data:
            self._keep(name, data)
            return True
        del self._open[name]
        return False

    def _keep(self, name: str, data: bytes) -> None:
        """What there is room for; of what is more the guest ends, and the rest is read and lost."""
        kept = data[: self._room]
        self._chunks[name].append(kept)
        self._room -= len(kept)
        self._on_kept(len(kept))
        if len(kept) < len(data):
            self._on_more()


def close_quietly(stream: IO[Any] | None) -> None:
    """Close; what the reader no longer wants is no error."""
    if stream is None:
        return
    try:
        stream.close()
    except BrokenPipeError:
        pass
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
