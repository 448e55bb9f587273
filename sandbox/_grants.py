"""What one line of a policy says: Mount, Scratch, File and Limits, values that cannot exist invalid."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Any, Union

from ._errors import PolicyError
from ._paths import AnyPath, guest_path, host_path, relative_path

Content = Union[bytes, Callable[[], bytes]]


def set_fields(self: object, **values: object) -> None:
    for name, value in values.items():
        object.__setattr__(self, name, value)


@dataclass(frozen=True, init=False)
class Mount:
    """A host directory or single file `source` at guest path `target`, read-only unless `writable`.

    `noexec` refuses programs below it; `hide` are paths below it that the guest does not see. `Mount("/", dir)` takes
    the place of the whole default view.

    >>> Mount("/repo", "/srv/repo", hide=[".git/config"]).hide
    ('.git/config',)
    """

    target: str
    source: str
    writable: bool = False
    noexec: bool = False
    hide: tuple[str, ...] = ()

    def __init__(
        self,
        target: AnyPath,
        source: AnyPath,
        *,
        writable: bool = False,
        noexec: bool = False,
        hide: Iterable[AnyPath] = (),
    ) -> None:
        target = guest_path(target, "mount")
        if isinstance(hide, (str, bytes)):
            raise PolicyError(f"mount {target}: hide is a list of paths, not one")
        hidden = tuple(sorted({relative_path(path, f"mount {target}: hide") for path in hide}))
        if "" in hidden:
            raise PolicyError(f"mount {target}: hide: the mount itself cannot be hidden")
        source = host_path(source, f"mount {target}")
        set_fields(self, target=target, source=source, writable=bool(writable), noexec=bool(noexec), hide=hidden)


@dataclass(frozen=True, init=False)
class Scratch:
    """A private writable directory, empty at the start and gone with the guest; bounded by `Limits.scratch_bytes` and
    `Limits.scratch_files`, which count all of the guest's scratch directories.

    >>> Scratch("/var/cache").target
    '/var/cache'
    """

    target: str
    noexec: bool = False

    def __init__(self, target: AnyPath, *, noexec: bool = False) -> None:
        target = guest_path(target, "scratch")
        if target == "/":
            raise PolicyError("scratch /: the root cannot be scratch")
        set_fields(self, target=target, noexec=bool(noexec))


@dataclass(frozen=True, init=False)
class File:
    """A read-only file whose content is bytes, or a function called without arguments at each open, in a worker thread,
    that returns bytes. `executable` makes it a program.

    >>> File("/work/in.json", b"{}").content
    b'{}'
    """

    target: str
    content: Content
    executable: bool = False

    def __init__(self, target: AnyPath, content: Content, *, executable: bool = False) -> None:
        target = guest_path(target, "file")
        if target == "/":
            raise PolicyError("file /: the root is a directory")
        if isinstance(content, (bytearray, memoryview)):
            content = bytes(content)
        if not isinstance(content, bytes) and not callable(content):
            raise PolicyError(f"file {target}: content is {type(content).__name__}, not bytes or a function")
        if callable(content) and executable:
            raise PolicyError(f"file {target}: a function's content cannot be executed")
        set_fields(self, target=target, content=content, executable=bool(executable))


FRACTIONS = ("wall_seconds", "connections_per_second")
"""Limits that need not be whole numbers."""


@dataclass(frozen=True)
class Limits:
    """What the whole guest may use; None is no limit. Bytes and seconds; `open_files` and `file_size` count for each
    process and file. Without a word `scratch_bytes` is 1 GiB, `scratch_files` 262144, and
    `output_bytes` 1 GiB: what the caller keeps of one command's output for it. Where the network has rules,
    `sockets` are those that it has made and holds at once; `connections` those to the outside, in total and by the
    second, of UDP each peer; `bytes_sent` and `bytes_received` what these and published ports carry, in total and by
    the second.

    >>> Limits(memory=64 << 20, wall_seconds=2.5).wall_seconds
    2.5
    """

    memory: int | None = None
    processes: int | None = None
    open_files: int | None = None
    file_size: int | None = None
    cpu_seconds: int | None = None
    wall_seconds: float | None = None
    scratch_bytes: int | None = None
    scratch_files: int | None = None
    output_bytes: int | None = None
    sockets: int | None = None
    connections: int | None = None
    connections_per_second: float | None = None
    bytes_sent: int | None = None
    bytes_received: int | None = None
    bytes_sent_per_second: int | None = None
    bytes_received_per_second: int | None = None

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            if value is not None:
                set_fields(self, **{entry.name: _limit(entry.name, value)})

    def over(self, base: Limits) -> Limits:
        """These limits, and those of `base` where these say nothing."""
        mine = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return Limits(**{name: getattr(base, name) if value is None else value for name, value in mine.items()})


def _limit(name: str, value: Any) -> int | float:
    kinds = (int, float) if name in FRACTIONS else (int,)
    if isinstance(value, bool) or not isinstance(value, kinds):
        raise PolicyError(f"limit {name}: {value!r} is no {'number' if name in FRACTIONS else 'whole number'}")
    if not (value > 0 and math.isfinite(value) and value < 1 << 63):
        raise PolicyError(f"limit {name}: {value!r} is not more than 0 and less than 2**63")
    return value
