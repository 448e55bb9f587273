"""A command on the caller's own descriptors, as a shell runs it: on its terminal if it has one, else on its files."""

from __future__ import annotations

import fcntl
import os
import selectors
import signal
import struct
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ._errors import CommandTimeout
from ._popen import Popen
from ._pty import Terminal

_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP)


def on_terminal() -> bool:
    return os.isatty(0) and os.isatty(1)


def size_of(fd: int) -> tuple[int, int]:
    rows, columns, _, _ = struct.unpack("4H", fcntl.ioctl(fd, termios.TIOCGWINSZ, b"\0" * 8))
    return rows or 24, columns or 80


@contextmanager
def _signals(numbers: tuple[int, ...]) -> Iterator[int]:
    """A descriptor that gives a byte for each of these signals. Handlers do nothing: what they would interrupt may hold
    the locks that acting on them needs."""
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    before = {number: signal.signal(number, lambda *_: None) for number in numbers}
    old = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield reader
    finally:
        signal.set_wakeup_fd(old)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(writer)
        os.close(reader)


@contextmanager
def _raw(fd: int) -> Iterator[None]:
    before = termios.tcgetattr(fd)
    try:
        tty.setraw(fd, termios.TCSANOW)  # what was typed ahead is the command's
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


@contextmanager
def _ended(process: Popen) -> Iterator[int]:
    """A descriptor that is readable when the command has ended."""
    reader, writer = os.pipe2(os.O_CLOEXEC)

    def body() -> None:
        process.wait_exit()
        os.close(writer)

    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    try:
        yield reader
    finally:
        if process.poll() is None:
            process.abort()
        thread.join()
        os.close(reader)


def run_here(start: Callable[..., Popen], timeout: float | None) -> Popen:
    """Start a command with `start(**streams)` on descriptors 0, 1 and 2 and see it through; CommandTimeout: killed."""
    deadline = None if timeout is None else time.monotonic() + timeout
    numbers = (*_FORWARDED, signal.SIGWINCH)
    with _signals(numbers) as signals:
        if not on_terminal():
            process = start(stdin=0)
            with process, _ended(process) as ended:
                _Relay(process, None, signals, ended).run(deadline, timeout)
            return process
        stderr = None if os.isatty(2) else 2
        process = start(pty=True, stderr=stderr, terminal_size=size_of(0))
        with process, _ended(process) as ended, _raw(0):
            _Relay(process, process.terminal, signals, ended).run(deadline, timeout)
        return process


class _Relay:
    """Bytes and signals between here and the command, until it has ended and its output is out."""

    def __init__(self, process: Popen, terminal: Terminal | None, signals: int, ended: int) -> None:
        self._process, self._terminal = process, terminal
        self._selector = selectors.DefaultSelector()
        self._done = False
        self._add(signals, lambda: self._on_signals(signals))
        self._add(ended, self._on_ended)
        if terminal is not None:
            self._add(terminal.fileno(), lambda: self._output(terminal))
            self._add(0, lambda: self._input(terminal))

    def _add(self, fd: int, act: Callable[[], Any]) -> None:
        self._selector.register(fd, selectors.EVENT_READ, act)

    def run(self, deadline: float | None, timeout: float | None) -> None:
        with self._selector:
            while not self._done:
                wait = None if deadline is None else deadline - time.monotonic()
                if wait is not None and wait <= 0:
                    self._process.abort()
                    raise CommandTimeout(self._process.args, timeout or 0.0)
                for key, _ in self._selector.select(wait):
                    key.data()

    def _on_signals(self, fd: int) -> None:
        for number in os.read(fd, 512):
            if number == signal.SIGWINCH:
                if self._terminal is not None:
                    self._terminal.resize(*size_of(0))
            elif number in _FORWARDED:
                self._process.send_signal(number, group=True)

    def _on_ended(self) -> None:
        """What the terminal still holds is written; what others of its session may yet write is not waited for."""
        self._done = True
        if self._terminal is None:
            return
        fd = self._terminal.fileno()
        os.set_blocking(fd, False)
        with suppress(BlockingIOError):
            while data := self._terminal.read():
                _write_all(1, data)

    def _output(self, terminal: Terminal) -> None:
        data = terminal.read()
        if data:
            _write_all(1, data)
        else:
            self._selector.unregister(terminal.fileno())

    def _input(self, terminal: Terminal) -> None:
        data = os.read(0, 4096)
        if data:
            _write_all(terminal.fileno(), data)
        else:
            self._selector.unregister(0)


def _write_all(fd: int, data: bytes) -> None:
    with suppress(BrokenPipeError):
        while data:
            data = data[os.write(fd, data) :]
