"""The commands of one guest, from the caller's order to what its sentry says of them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence

from . import _core
from ._core import Message, MessageType
from ._messages import Exited, Failed, Started, Usage
from ._parts import Command

_KILLED = -int(signal.SIGKILL)


class Commands:
    """Those that have not ended. Used with the guest's lock held."""

    def __init__(self) -> None:
        self._running: dict[int, Command] = {}
        self._failed: set[int] = set()

    def order(self, number: int, fds: Sequence[int]) -> tuple[Command, list[Message]]:
        """A new command, and what is to be sent for it: the first descriptor is its memfd, the others are its own. They
        stay the caller's."""
        made = self._running[number] = Command(number)
        return made, _messages(number, fds)

    def started(self, event: Started) -> None:
        if event.pidfd is not None:
            os.close(event.pidfd)
        command = self._find(event.command, "STARTED")
        if command.started:
            raise _core.Malformed("STARTED twice")
        command.started, command.pid = True, event.pid

    def failed(self, event: Failed) -> None:
        command = self._find(event.command, "FAILED")
        command.error, command.at_cwd, command.returncode = event.error, event.at_cwd, 127
        command.ended = True
        del self._running[event.command]
        self._failed.add(event.command)  # EXITED may come for the process that could not

    def exited(self, event: Exited, ran_out: Callable[[], bool]) -> str | None:
        """The limit that ended it; `ran_out`: of memory, as the kernel counts."""
        if event.command in self._failed:
            self._failed.discard(event.command)
            return None
        command = self._find(event.command, "EXITED")
        del self._running[event.command]
        command.returncode, command.usage, command.exceeded = event.returncode, event.usage, event.exceeded
        if command.exceeded is None and event.returncode == _KILLED and ran_out():
            command.exceeded = "memory"
        command.ended = True
        return command.exceeded

    def lose(self, exceeded: str | None, usage: Usage) -> None:
        """The guest is gone, and they with it."""
        for command in self._running.values():
            command.returncode, command.exceeded, command.usage = _KILLED, exceeded, usage
            command.lost = command.ended = True

    def _find(self, number: int, what: str) -> Command:
        command = self._running.get(number)
        if command is None or command.ended:
            raise _core.Malformed(f"{what} of command {number}, which does not run")
        return command


def _messages(number: int, fds: Sequence[int]) -> list[Message]:
    most = _core.MESSAGE_FDS
    parts = [list(fds[at : at + most]) for at in range(0, len(fds), most)]
    kinds = [MessageType.RUN] + [MessageType.FDS] * (len(parts) - 1)
    return [Message(kind, number, fds=part) for kind, part in zip(kinds, parts)]
