"""The descriptors of a command: which it gets under which number, and our ends of its pipes."""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

PIPE = subprocess.PIPE
STDOUT = subprocess.STDOUT
DEVNULL = subprocess.DEVNULL


@dataclass
class Wiring:
    """`given` is what the command gets, by number; `ours` are our ends of its pipes, by number. `close` closes what was
    opened for the command only."""

    given: dict[int, int] = field(default_factory=dict)
    ours: dict[int, int] = field(default_factory=dict)
    _opened: list[int] = field(default_factory=list)

    def open_null(self, number: int) -> None:
        self.own(number, os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC))

    def own(self, number: int, fd: int) -> None:
        self._opened.append(fd)
        self.given[number] = fd

    def pipe(self, number: int, size: int) -> None:
        reader, writer = os.pipe2(os.O_CLOEXEC)
        if size > 0:
            fcntl.fcntl(writer, getattr(fcntl, "F_SETPIPE_SZ", 1031), size)
        theirs, self.ours[number] = (reader, writer) if number == 0 else (writer, reader)
        self.own(number, theirs)

    def close(self) -> None:
        while self._opened:
            os.close(self._opened.pop())

    def close_all(self) -> None:
        self.close()
        while self.ours:
            os.close(self.ours.popitem()[1])


def _descriptor(what: Any) -> int:
    return what if isinstance(what, int) else int(what.fileno())


def _connect(wiring: Wiring, number: int, what: Any, pipesize: int) -> None:
    if what == DEVNULL or (what is None and number == 0):  # INVARIANT nothing-inherited: no input unless named
        wiring.open_null(number)
    elif what == PIPE:
        wiring.pipe(number, pipesize)
    elif what == STDOUT and isinstance(what, int):
        if number != 2:
            raise ValueError("STDOUT is for stderr only")
        wiring.given[2] = wiring.given[1]
    elif what is None and not _is_open(number):
        wiring.open_null(number)  # the caller has closed its own
    else:
        wiring.given[number] = number if what is None else _descriptor(what)


def _is_open(fd: int) -> bool:
    try:
        fcntl.fcntl(fd, fcntl.F_GETFD)
    except OSError:
        return False
    return True


def check(streams: Iterable[Any], pass_fds: Iterable[int]) -> None:
    """INVARIANT callers-descriptors: what the caller names is looked up before anything is opened for the command, for
    that could get the number of one that is closed."""
    for what in streams:
        if what is not None and what not in (PIPE, STDOUT, DEVNULL):
            fcntl.fcntl(_descriptor(what), fcntl.F_GETFD)
    for fd in pass_fds:
        if isinstance(fd, bool) or not isinstance(fd, int) or fd < 0:
            raise ValueError(f"pass_fds: {fd!r} is no descriptor")
        fcntl.fcntl(fd, fcntl.F_GETFD)


def wire(stdin: Any, stdout: Any, stderr: Any, pass_fds: Iterable[int] = (), pipesize: int = -1) -> Wiring:
    """Descriptors for a command, in the terms of subprocess, once they are checked; stdin=None is no input."""
    wiring = Wiring()
    try:
        for number, what in enumerate((stdin, stdout, stderr)):
            _connect(wiring, number, what, pipesize)
        for fd in pass_fds:
            wiring.given.setdefault(fd, fd)
    except BaseException:
        wiring.close_all()
        raise
    return wiring
