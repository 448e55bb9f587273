"""What a run was seen to do: the values that a policy is derived from, and their way through a pipe.

>>> seen = Seen()
>>> seen.path("/srv/a", Need.READ, "cat openat")
>>> seen.path("/srv/a", Need.LOOK, "ls stat")
>>> seen.paths["/srv/a"].need == Need.READ | Need.LOOK, Seen.from_json(seen.to_json()) == seen
(True, True)
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import IntFlag
from typing import Any


class Need(IntFlag):
    """What a path is needed for."""

    LOOK = 1  # that it is there
    READ = 2  # its content, or to run it
    LIST = 4  # the names in this directory
    WRITE = 8  # its content or attributes are changed where it lies
    CHANGE = 16  # its name is made, removed or replaced: the directory around it is written
    HOLD = 32  # one writable place around both ends of a rename or link
    HERE = 64  # the working directory at the start


@dataclass
class Access:
    """`by` are words like "git openat"."""

    need: Need = Need(0)
    by: set[str] = field(default_factory=set)

    def add(self, need: int, by: set[str]) -> None:
        self.need |= Need(need)
        self.by |= by


Endpoint = tuple[str, str, int]
"""Protocol, address, port."""


@dataclass
class Seen:
    """`fleeting` are servers at a port that the kernel chose; `names` are the addresses that were told for a name,
    `askers` who asked; `peaks` are in the units of Limits, `data` the largest private memory of a process; `given` are
    the variables that the caller chose; `notes` is what the reader should know of and no line says."""

    paths: dict[str, Access] = field(default_factory=dict)
    peers: dict[Endpoint, set[str]] = field(default_factory=dict)
    servers: dict[Endpoint, set[str]] = field(default_factory=dict)
    fleeting: dict[Endpoint, set[str]] = field(default_factory=dict)
    names: dict[str, set[str]] = field(default_factory=dict)
    askers: dict[str, set[str]] = field(default_factory=dict)
    peaks: dict[str, int] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    given: set[str] = field(default_factory=set)
    notes: set[str] = field(default_factory=set)

    def path(self, path: str, need: int, *by: str) -> None:
        self.paths.setdefault(path, Access()).add(need, set(by))

    def peak(self, name: str, value: int) -> None:
        self.peaks[name] = max(value, self.peaks.get(name, 0))

    def __or__(self, other: Seen) -> Seen:
        """Both: the greater peak, and of a variable the other's value."""
        made = Seen(env={**self.env, **other.env}, given=self.given | other.given, notes=self.notes | other.notes)
        for one in (self, other):
            for path, access in one.paths.items():
                made.path(path, access.need, *access.by)
            for table in _SETS:
                for key, values in getattr(one, table).items():
                    getattr(made, table).setdefault(key, set()).update(values)
            for name, value in one.peaks.items():
                made.peak(name, value)
        return made

    def to_json(self) -> str:
        plain: dict[str, Any] = {
            "paths": [[path, access.need, sorted(access.by)] for path, access in self.paths.items()],
            **{name: [[key, sorted(values)] for key, values in getattr(self, name).items()] for name in _SETS},
            **{name: getattr(self, name) for name in ("peaks", "env")},
            **{name: sorted(getattr(self, name)) for name in ("given", "notes")},
        }
        return json.dumps(plain)

    @classmethod
    def from_json(cls, text: str | bytes) -> Seen:
        plain: dict[str, Any] = json.loads(text)
        made: dict[str, Any] = {name: {_key(key): set(values) for key, values in plain[name]} for name in _SETS}
        made.update({name: plain[name] for name in ("peaks", "env")})
        made.update({name: set(plain[name]) for name in ("given", "notes")})
        return cls(paths={path: Access(Need(need), set(by)) for path, need, by in plain["paths"]}, **made)


_SETS = ("peers", "servers", "fleeting", "names", "askers")


def _key(key: Any) -> Any:
    return tuple(key) if isinstance(key, list) else key
