"""What ends a guest that takes too long, or too much memory."""

from __future__ import annotations

from typing import Protocol

from ._errors import GuestFault
from ._loop import Loop, Timers
from ._messages import Ready
from ._parts import Parts

GRACE = 2.0  # seconds that a sentry has to end by itself
_SETUP = 30.0  # seconds that it has until its guest can begin
_LOOK = 0.1  # seconds between two looks at a guest's cgroup


class Watched(Protocol):
    """The guest."""

    ready: Ready | None
    ending: bool

    def exceed(self, limit: str) -> None: ...

    def fail(self, error: Exception) -> None: ...

    def kill(self) -> None: ...


class Watch:
    def __init__(self, parts: Parts, loop: Loop, guest: Watched) -> None:
        self._parts, self._guest = parts, guest
        self._timers = Timers(loop)
        self.cancel = self._timers.cancel

    def begin(self) -> None:
        if self._parts.wall_seconds is not None:
            self._timers.after(self._parts.wall_seconds, self._on_wall_time)
        self._timers.after(_SETUP, self._on_setup_time)
        if self._parts.watch_memory:
            self._look_at_memory()

    def end(self) -> None:
        """It is to end by itself."""
        self._timers.after(GRACE, self._guest.kill)

    def ran_out(self) -> bool:
        """Of memory, as the kernel counts."""
        return self._parts.cgroup is not None and self._parts.cgroup.ran_out()

    def _on_wall_time(self) -> None:
        self._guest.exceed("wall_seconds")

    def _on_setup_time(self) -> None:
        if self._guest.ready is None:
            self._guest.fail(GuestFault(f"sentry closed: it has not set up its guest in {_SETUP:g} seconds"))

    def _look_at_memory(self) -> None:
        """The kernel ends one process for want of memory; the limit is the guest's, so the guest ends."""
        if self._guest.ending:
            return
        if self.ran_out():
            self._guest.exceed("memory")
        else:
            self._timers.after(_LOOK, self._look_at_memory)
