"""Events out of batches: a record, its guest's mounts, and what the Supervisor has served for it, put together."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from typing import IO, Any

from .. import _core
from .._paths import AnyPath
from .decided import address, rule, served
from .event import ANY, Event, call_name
from .format import NAMED, RECORDS, WITHOUT_CALL, decision
from .guest import Guest
from .opened import opens
from .reader import Reader

_VERDICTS = {int(verdict): verdict.name.lower() for verdict in _core.Verdict}


def events(file: IO[bytes], name: str = "?", guests: dict[int, Guest] | None = None) -> Iterator[Event]:
    """The events of an audit file, in the order of each guest. What a broken sentry wrote, or left out, is an event
    with the verdict `damaged`; the other guests' events follow. AuditDamage where the file itself is broken."""
    for guest, frame in Reader(file, name, guests):
        yield from of_block(guest, frame.magic, frame.data)


def of_block(guest: Guest, magic: bytes, data: bytes) -> Iterator[Event]:
    """The events of a block, of whatever kind."""
    if magic == RECORDS:
        yield from joined(guest, data)
    elif magic in WITHOUT_CALL.values():
        yield _without_call(guest, magic, data)


def _without_call(guest: Guest, magic: bytes, data: bytes) -> Event:
    """An HTTP request, or a question for a name; it follows the calls that are known."""
    when, allowed, text, by = decision(data)
    call, error, paths, served = "http", "EACCES", [os.fsdecode(text)], None
    if magic == NAMED:
        kind, *paths = os.fsdecode(text).split(" ", 2)
        call, error, served = "resolve", "EAI_NONAME", f"name/{kind}"
    return Event(
        guest.number,
        when / 1e9,
        guest.sequence,
        0,
        call,
        tuple(paths),
        None,
        "done" if allowed else "denied",
        None if allowed else error,
        0.0,
        None,
        served=served,
        rule=os.fsdecode(by),
    )


def joined(guest: Guest, data: bytes) -> Iterator[Event]:
    """The events of a batch of records."""
    try:
        for record in _core.records(data):
            if record.sequence != guest.sequence + 1:
                yield _damaged(guest, f"record {record.sequence} follows {guest.sequence}")
            guest.sequence = record.sequence
            yield _event(guest, record)
    except _core.Malformed as error:
        yield _damaged(guest, str(error))


def _damaged(guest: Guest, why: str) -> Event:
    return Event(guest.number, 0.0, guest.sequence, 0, "?", (), None, "damaged", why, 0.0, None, trusted=False)


def _event(guest: Guest, record: _core.Record) -> Event:
    service, call, paths = record.service or None, call_name(record.nr), tuple(map(os.fsdecode, record.paths))
    by, trusted = None, True
    if service is not None:
        name = guest.served.pop(service, None)  # a request is part of one call
        by = None if name is None else served(name)
        trusted = by is not None and address(by.what) in ("", *paths)
    return Event(
        guest.number,
        record.time_ns / 1e9,
        record.sequence,
        record.pid,
        call,
        paths,
        _mount(guest, record.mount),
        _VERDICTS.get(record.verdict) or f"verdict_{record.verdict}",
        errno.errorcode.get(record.error, str(record.error)) if record.error else None,
        record.duration_ns / 1e9,
        service,
        trusted,
        record.flags if call in opens() else None,
        None if by is None else by.what,
        rule(guest, record, by),
    )


def _mount(guest: Guest, number: int | None) -> str | None:
    if number is None:
        return None
    return guest.mounts[number] if number < len(guest.mounts) else f"#{number}"


def load(path: AnyPath, wanted: Any = ANY) -> Iterator[Event]:
    return load_all([path], wanted)


def load_all(paths: Iterable[AnyPath], wanted: Any = ANY) -> Iterator[Event]:
    """Of files that follow each other, the oldest first."""
    guests: dict[int, Guest] = {}
    for path in paths:
        with open(path, "rb") as file:
            found = events(file, os.fsdecode(path), guests)
            yield from found if wanted == ANY else filter(wanted, found)
