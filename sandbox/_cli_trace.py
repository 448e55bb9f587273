"""sandbox run --trace: served calls as they happen, on standard error or in a file."""

from __future__ import annotations

import argparse
import os
import select
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice

from ._audit.event import Filter
from ._errors import SandboxError
from ._events import Events
from ._popen import Popen
from ._trace import line

_STDERR = ""
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOCTTY
_LINES = 64  # that are written at once
_FILTERS = ("pid", "call", "path", "verdict")


def add(run: argparse.ArgumentParser) -> None:
    """Its options; the filters are those of `sandbox audit`."""
    about = "print served calls as they happen: to FILE, or standard error"
    run.add_argument("--trace", nargs="?", const=_STDERR, metavar="FILE", help=about)
    run.add_argument("--trace-pid", type=int, metavar="PID", help="only of this thread; each --trace-* implies --trace")
    run.add_argument("--trace-call", metavar="NAME", help="only this system call")
    run.add_argument("--trace-path", metavar="TEXT", help="only calls with this text in a path")
    run.add_argument("--trace-verdict", choices=("done", "failed", "denied", "damaged"), help="only calls so ended")


def wanted(options: argparse.Namespace) -> bool:
    return options.trace is not None or any(value is not None for value in _values(options))


def _values(options: argparse.Namespace) -> list[object]:
    return [getattr(options, f"trace_{name}") for name in _FILTERS]


def check(options: argparse.Namespace) -> None:
    """`--trace prog` would mean a file of that name."""
    if options.trace and options.command[:1] != ["--"]:
        raise SandboxError(f"run --trace {options.trace}: the command needs -- before it")


@contextmanager
def tracing(options: argparse.Namespace, say: Callable[[str], None]) -> Iterator[Callable[[Popen], Popen]]:
    """A function that follows a command until it has ended; at the end all is written. What keeps the lines from being
    written ends the trace, not the command, and is said."""
    if not wanted(options):
        yield lambda process: process
        return
    trace = _Trace(options.trace or _STDERR, Filter(*_values(options)))  # type: ignore[arg-type]
    try:
        yield trace.follow
    finally:
        trace.finish(say)


class _Trace:
    def __init__(self, path: str, wanted: Filter) -> None:
        self._path, self._wanted = path, wanted
        self._events: Events | None = None
        self._thread: threading.Thread | None = None
        self._error: OSError | None = None
        try:
            self._fd = os.open(path, _FLAGS, 0o666) if path else 2
        except OSError as error:
            raise SandboxError(f"trace {path}: {error.strerror}") from None
        self._encoding = getattr(sys.stderr, "encoding", None) or "ascii"
        self._newline = "\r\n" if os.isatty(self._fd) else "\n"  # while the command runs the terminal is raw

    def follow(self, process: Popen) -> Popen:
        self._events = process.events()
        self._thread = threading.Thread(target=self._run, name="sandbox-trace", daemon=True)
        self._thread.start()
        return process

    def finish(self, say: Callable[[str], None]) -> None:
        if self._thread is not None:
            self._thread.join()
        if self._path:
            os.close(self._fd)
        if self._error is not None and (self._path or not isinstance(self._error, BrokenPipeError)):
            say(f"trace {self._path or 'on standard error'}: {self._error.strerror}: it ends before the command")
        if self._events is not None and self._events.lost:
            say(f"trace: {self._events.lost} calls of the beginning are not shown")

    def _run(self) -> None:
        assert self._events is not None
        stream = self._events.stream
        try:
            while stream.wait():
                self._write(line(event) for event in stream.ready() if self._wanted(event))
        except OSError as error:
            self._error = error
        finally:
            self._events.close()

    def _write(self, lines: Iterator[str]) -> None:
        while some := list(islice(lines, _LINES)):
            text = "".join(one + self._newline for one in some)
            _write_all(self._fd, text.encode(self._encoding, "backslashreplace"))


def _write_all(fd: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:  # whoever shares it made it so
            select.select([], [fd], [])
