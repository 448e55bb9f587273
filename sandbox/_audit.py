"""The audit trail: counts, a binary file, and events made of it.

The file is blocks, each `magic, guest, length` and that many bytes: `SBXH` tells of a guest (JSON), `SBXR` holds
its records as the sentry wrote them, `SBXS` names the requests that the Supervisor served for it. Blocks of
several guests may follow each other in any order, so files can be appended to and joined."""

from __future__ import annotations

import errno
import json
import os
import struct
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import IO, Any, Union

from . import _core
from ._errors import SandboxError
from ._paths import AnyPath, printable

AuditTarget = Union[AnyPath, IO[bytes]]
_BLOCK = struct.Struct("<4sQI")
_SERVED = struct.Struct("<QQ")
_VERDICTS = {int(verdict): verdict.name.lower() for verdict in _core.Verdict}
_BLOCK_MAX = 1 << 28


def call_name(nr: int) -> str:
    names = _names()
    return names.get(nr, f"call_{nr}")


def _names() -> Mapping[int, str]:
    """By number, and by the two places where the counts hold what has no place of its own (trail.c)."""
    if not _NAMES:
        _NAMES.update({row.nr: row.name for row in _core.syscalls()})
        _NAMES.update({510: "sandbox", 511: "other"})
    return _NAMES


_NAMES: dict[int, str] = {}
Counts = Mapping[int, "tuple[int, int, int]"]


@dataclass(frozen=True, repr=False)
class AuditSummary:
    """How many served calls there were: `done`, `failed` with Linux's own error, `denied` by the policy.

    `calls` has (denied, failed, done) by the call's name, `refused` the denied ones only.

    >>> AuditSummary({0: (0, 1, 5), 1: (2, 0, 0)}).total
    8
    """

    counts: Counts

    @cached_property
    def calls(self) -> dict[str, tuple[int, int, int]]:
        named: dict[str, tuple[int, int, int]] = {}
        for nr, row in sorted(self.counts.items()):
            old = named.get(call_name(nr), (0, 0, 0))
            named[call_name(nr)] = (old[0] + row[0], old[1] + row[1], old[2] + row[2])
        return named

    @property
    def denied(self) -> int:
        return sum(row[0] for row in self.counts.values())

    @property
    def failed(self) -> int:
        return sum(row[1] for row in self.counts.values())

    @property
    def done(self) -> int:
        return sum(row[2] for row in self.counts.values())

    @property
    def total(self) -> int:
        return self.denied + self.failed + self.done

    @property
    def refused(self) -> dict[str, int]:
        return {name: row[0] for name, row in self.calls.items() if row[0]}

    def since(self, earlier: AuditSummary) -> AuditSummary:
        """What was counted after `earlier`."""
        rows = {}
        for nr, row in self.counts.items():
            old = earlier.counts.get(nr, (0, 0, 0))
            rows[nr] = (row[0] - old[0], row[1] - old[1], row[2] - old[2])
        return AuditSummary({nr: row for nr, row in rows.items() if any(row)})

    def __repr__(self) -> str:
        return f"<AuditSummary: {self}>"

    def __str__(self) -> str:
        text = f"{self.total} calls served: {self.done} done, {self.failed} failed, {self.denied} denied"
        named = ", ".join(f"{name} {count}" for name, count in self.refused.items())
        return f"{text} ({named})" if named else text


class Sink:
    """Where the blocks of one guest go. A path is appended to; a file object stays the caller's."""

    def __init__(self, target: AuditTarget, guest: int, about: Mapping[str, object]) -> None:
        self._guest = guest
        self._own = isinstance(target, (str, bytes, os.PathLike))
        self._file: Any = open(target, "ab", buffering=0) if self._own else target  # type: ignore[arg-type]  # noqa: SIM115
        self._put(b"SBXH", json.dumps({"version": 1, "time": time.time(), **about}).encode())

    def _put(self, magic: bytes, data: bytes) -> None:
        block = _BLOCK.pack(magic, self._guest, len(data)) + data
        written = self._file.write(block)
        while written is not None and written < len(block):
            block = block[written:]
            written = self._file.write(block)

    def records(self, data: bytes) -> None:
        if data:
            self._put(b"SBXR", data)

    def served(self, request: int, name: bytes) -> None:
        self._put(b"SBXS", _SERVED.pack(request, time.time_ns()) + name)

    def close(self) -> None:
        if self._own:
            self._file.close()
        else:
            self._file.flush()


@dataclass(frozen=True)
class Event:
    """One served call of a guest. `time` in seconds since 1970, `duration` in seconds; `paths` as the guest gave them.

    `service` is the request that the Supervisor served as a part of it, or None; `trusted` is False where the sentry
    claims a request that the Supervisor has not served."""

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

    def to_json(self) -> str:
        row = {**self.__dict__, "guest": f"{self.guest:016x}", "paths": list(self.paths)}
        return json.dumps(row)

    def __str__(self) -> str:
        clock = time.strftime("%H:%M:%S", time.gmtime(self.time)) + f"{self.time % 1:.6f}"[1:]
        paths = " ".join(f'"{printable(path)}"' for path in self.paths)
        verdict = self.verdict if self.error is None else f"{self.verdict} {self.error}"
        where = f" [{printable(self.mount)}]" if self.mount else ""
        doubt = "" if self.trusted else " NOT SERVED BY THE SUPERVISOR"
        took = f"{self.duration * 1e6:>8.1f}us"
        return f"{clock} {self.pid:>7} {self.call:<16} {verdict:<16} {took} {paths}{where}{doubt}"


def _blocks(file: IO[bytes], name: str) -> Iterator[tuple[bytes, int, bytes]]:
    while head := file.read(_BLOCK.size):
        if len(head) < _BLOCK.size:
            raise SandboxError(f"audit file {name}: ends within a block")
        magic, guest, length = _BLOCK.unpack(head)
        if magic not in (b"SBXH", b"SBXR", b"SBXS") or length > _BLOCK_MAX:
            raise SandboxError(f"audit file {name}: no audit file, or damaged")
        data = file.read(length)
        if len(data) < length:
            raise SandboxError(f"audit file {name}: ends within a block")
        yield magic, guest, data


@dataclass
class _Guest:
    mounts: list[str] = field(default_factory=list)
    served: set[int] = field(default_factory=set)
    sequence: int = 0


def events(file: IO[bytes], name: str = "?") -> Iterator[Event]:
    """The events of an audit file that can be read twice, in the order of each guest. What a broken sentry wrote, or
    left out, is an event with the verdict `damaged`; the other guests' events follow."""
    guests: dict[int, _Guest] = {}
    start = file.tell()
    for magic, guest, data in _blocks(file, name):
        about = guests.setdefault(guest, _Guest())
        try:
            if magic == b"SBXH":
                about.mounts = [str(mount) for mount in json.loads(data).get("mounts", [])]
            elif magic == b"SBXS":
                about.served.add(_SERVED.unpack_from(data)[0])
        except (ValueError, AttributeError, TypeError, RecursionError, struct.error):
            raise SandboxError(f"audit file {name}: no audit file, or damaged") from None
    file.seek(start)
    for magic, guest, data in _blocks(file, name):
        if magic == b"SBXR":
            yield from _events(guest, guests[guest], data)


def _events(guest: int, about: _Guest, data: bytes) -> Iterator[Event]:
    try:
        for record in _core.records(data):
            if record.sequence != about.sequence + 1:
                yield _damage(guest, about, f"record {record.sequence} follows {about.sequence}")
            about.sequence = record.sequence
            yield _event(guest, about, record)
    except _core.Malformed as error:
        yield _damage(guest, about, str(error))


def _damage(guest: int, about: _Guest, why: str) -> Event:
    return Event(guest, 0.0, about.sequence, 0, "?", (), None, "damaged", why, 0.0, None, trusted=False)


def _event(guest: int, about: _Guest, record: _core.Record) -> Event:
    mount, service = record.mount, record.service or None
    trusted = service is None or service in about.served
    about.served.discard(record.service)  # a request is part of one call
    return Event(
        guest=guest,
        time=record.time_ns / 1e9,
        sequence=record.sequence,
        pid=record.pid,
        call=call_name(record.nr),
        paths=tuple(map(os.fsdecode, record.paths)),
        mount=None if mount is None else about.mounts[mount] if mount < len(about.mounts) else f"#{mount}",
        verdict=_VERDICTS.get(record.verdict, f"verdict_{record.verdict}"),
        error=errno.errorcode.get(record.error, str(record.error)) if record.error else None,
        duration=record.duration_ns / 1e9,
        service=service,
        trusted=trusted,
    )


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


def lines(chosen: Iterable[Event], as_json: bool) -> Iterator[str]:
    for event in chosen:
        yield event.to_json() if as_json else str(event)


def load(path: AnyPath, wanted: Any = Filter()) -> Iterator[Event]:
    with open(path, "rb") as file:
        yield from filter(wanted, events(file, os.fsdecode(path)))
