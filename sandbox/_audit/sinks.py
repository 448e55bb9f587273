"""Where the records of a guest go: a kind of keeper by what `audit=` is."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import IO, TYPE_CHECKING, Any, Protocol, Union

from .._errors import PolicyError
from .._paths import AnyPath
from .blocks import Blocks, Descriptor, FileObject
from .calls import Calls, logged
from .event import Event
from .file import AuditFile, Shared
from .format import RECORDS, REQUEST, SERVED

if TYPE_CHECKING:
    import logging


class Follower(Protocol):
    """Gets the events of one guest, and is closed behind the last."""

    def __call__(self, event: Event) -> object: ...

    def close(self) -> object: ...


class PerGuest(Protocol):
    """Makes a Follower of each guest (otel.py)."""

    def for_guest(self, guest: int, about: Mapping[str, object]) -> Follower: ...


AuditTarget = Union[AnyPath, IO[bytes], AuditFile, PerGuest, Callable[[Event], object], "logging.Logger"]


class Keeper(Protocol):
    def begin(self, wake: Callable[[], None]) -> None: ...

    def full(self) -> bool: ...

    def put(self, magic: bytes, data: bytes) -> None: ...

    def close(self) -> None: ...


def _followed(target: PerGuest, guest: int, about: Mapping[str, object]) -> Calls:
    made = target.for_guest(guest, about)
    return Calls(made, guest, about, made.close)


_Make = Callable[[Any, int, Mapping[str, object]], Keeper]
_KINDS: tuple[tuple[Callable[[Any], bool], _Make], ...] = (
    (lambda target: isinstance(target, (str, bytes, os.PathLike)), lambda path, *of: Blocks(Descriptor(path), *of)),
    (lambda target: isinstance(target, AuditFile), lambda target, *of: Blocks(Shared(target), *of)),
    (lambda target: hasattr(target, "for_guest"), _followed),
    (lambda target: hasattr(target, "isEnabledFor"), lambda logger, *of: Calls(logged(logger), *of)),
    (lambda target: hasattr(target, "write"), lambda file, *of: Blocks(FileObject(file), *of)),
    (callable, Calls),
)


def _keeper(target: Any, guest: int, about: Mapping[str, object]) -> Keeper:
    for fits, make in _KINDS:
        if fits(target):
            return make(target, guest, about)
    raise PolicyError(f"audit: {target!r} is no path, AuditFile, binary file, function, logger or otel.Spans")


class Sink:
    """What keeps the records of one guest. It may raise whatever keeps it from that."""

    def __init__(self, target: AuditTarget, guest: int, about: Mapping[str, object]) -> None:
        self._keeper = _keeper(target, guest, about)
        self.begin, self.full, self.close = self._keeper.begin, self._keeper.full, self._keeper.close

    def records(self, data: bytes) -> None:
        if data:
            self._keeper.put(RECORDS, data)

    def served(self, request: int, name: bytes) -> None:
        self._keeper.put(SERVED, REQUEST.pack(request, time.time_ns()) + name)

    def decided(self, magic: bytes, data: bytes) -> None:
        self._keeper.put(magic, data)
