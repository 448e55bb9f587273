"""The beginning of a command: wired, ordered, and waited for until it runs or it is known why not."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Iterable
from typing import Any

from . import _streams
from ._command import Spec
from ._errors import CommandTimeout, GuestFault
from ._guest import Guest
from ._memfd import sealed
from ._parts import Command
from ._pty import Terminal, open_terminal
from ._watch import GRACE


def wire_terminal(
    stdout: Any, stderr: Any, pass_fds: Iterable[int], size: tuple[int, int]
) -> tuple[Terminal, _streams.Wiring]:
    """A terminal, and a command that has it where nothing else is named."""
    terminal, theirs = open_terminal(*size)
    try:
        out = theirs if stdout is None else stdout
        wiring = _streams.wire(theirs, out, theirs if stderr is None else stderr, pass_fds)
    except BaseException:
        os.close(theirs)
        terminal.close()
        raise
    wiring.own(0, theirs)
    return terminal, wiring


def start(
    guest: Guest, spec: Spec, wiring: _streams.Wiring, timeout: float | None, *, terminal: bool, own: bool
) -> Command:
    """A command that has begun. `own`: the guest is for it alone. What keeps it from that is raised."""
    memfd = sealed(spec.pack(list(wiring.given), terminal=terminal), "sandbox-command")
    try:
        command = guest.run(memfd, list(wiring.given.values()))
    finally:
        os.close(memfd)
    wiring.close()
    if not guest.wait_started(command, math.inf if timeout is None else timeout) and timeout is not None:
        if not own:  # else it goes with its guest
            _call_off(guest, command)
        raise CommandTimeout(spec.args, timeout)
    _raise_unless_started(guest, command, spec)
    return command


def _call_off(guest: Guest, command: Command) -> None:
    """Time is out before the command has begun: it is killed."""
    guest.wait_started(command, GRACE)
    guest.signal(command, signal.SIGKILL, group=True)
    if not guest.wait(command, GRACE):
        guest.fail(GuestFault("sentry closed: it does not end a command"))
        guest.wait_ended()


def _raise_unless_started(guest: Guest, command: Command, spec: Spec) -> None:
    if command.error:
        name = spec.cwd if command.at_cwd else spec.program
        raise OSError(command.error, os.strerror(command.error), os.fsdecode(name))
    if command.lost and not command.exceeded:
        guest.raise_failure()
        raise GuestFault("the guest has ended before its command began")
