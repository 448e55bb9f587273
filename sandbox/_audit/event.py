"""What an audit trail says, as values: events, and which of them are wanted."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from .. import _core
from .._paths import printable
from .format import WITHOUT_CALL
from .opened import access

JSON_VERSION = 1
_NAMES: dict[int, str] = {}


def names() -> Mapping[int, str]:
    """By number, and by the two places where the counts hold what has no place of its own (trail.c)."""
    if not _NAMES:
        _NAMES.update({row.nr: row.name for row in _core.syscalls()})
        _NAMES.update({510: "sandbox", 511: "other"})
    return _NAMES


def call_name(nr: int) -> str:
    return names().get(nr) or f"call_{nr}"


def words() -> frozenset[str]:
    """What `call` of an event may be, but for numbers without a name."""
    return frozenset({*names().values(), *WITHOUT_CALL})


class Event(NamedTuple):
    """One served call of a guest; or what was decided without one: `http`, a request, or `resolve`, a question for a
    name, and each address that was left out of its answer. `time` in seconds since 1970, `duration` in seconds; `paths`
    as the guest gave them, which may be any text: str(event) is one line that is safe on a terminal.

    `verdict` is done, failed (with Linux's own `error`), denied by the policy, or damaged: what a broken sentry wrote
    or left out. `service` is the request that the Supervisor served as a part of the call, or None, and `served` what
    that was ("net/connect 192.0.2.1:80"); `trusted` is False where the sentry claims a request that the Supervisor has
    not served, or another address. `flags` are those of a call that opens a file, else None. `rule` is the mount or
    rule that decided, as Policy.explain names it; "system calls" is the table of `sandbox surface`."""

    guest: int
    time: float
    sequence: int
    pid: int
    call: str
    paths: tuple[str, ...]
    mount: str | None
    verdict: str
    error: str | None
    duration: float
    service: int | None
    trusted: bool = True
    flags: int | None = None
    served: str | None = None
    rule: str | None = None

    @property
    def access(self) -> tuple[str, ...]:
        """What a file was to be opened for: some of read, write, create, or path. Empty for other calls."""
        return () if self.flags is None else access(self.flags)

    def to_json(self) -> str:
        """One line of JSON; `sandbox audit --schema` prints its schema."""
        told = {"guest": f"{self.guest:016x}", "access": self.access}
        return json.dumps({"version": JSON_VERSION, **self._asdict(), **told})

    def columns(self) -> tuple[str, str, str, str, str, str]:
        """Time, pid, call, verdict, duration, and what it was about; printable."""
        verdict = self.verdict if self.error is None else f"{self.verdict} {self.error}"
        about = " ".join(f'"{printable(path)}"' for path in self.paths)
        about += f" {'+'.join(self.access)}" if self.access else ""
        about += f" [{printable(self.decided)}]" if self.decided else ""
        about += "" if self.trusted else " NOT WHAT THE SUPERVISOR SERVED"
        took = f"{self.duration * 1e6:>8.1f}us"
        return _clock(self.time), f"{self.pid:>7}", f"{self.call:<16}", f"{verdict:<16}", took, about

    @property
    def decided(self) -> str | None:
        """What decided, in short."""
        return self.mount or self.rule

    def __str__(self) -> str:
        return " ".join(self.columns())


def _clock(seconds: float) -> str:
    return time.strftime("%H:%M:%S", time.gmtime(seconds)) + f"{seconds % 1:.6f}"[1:]


@dataclass(frozen=True)
class Filter:
    """Which events are wanted; None is any. `path` is a part of a path, the others are equal."""

    pid: int | None = None
    call: str | None = None
    path: str | None = None
    verdict: str | None = None

    def __call__(self, event: Event) -> bool:
        return (
            self.pid in (None, event.pid)
            and self.call in (None, event.call)
            and self.verdict in (None, event.verdict)
            and (self.path is None or any(self.path in path for path in event.paths))
        )


ANY = Filter()
