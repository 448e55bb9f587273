"""What `sandbox audit` does: print, sum up, verify, tell its schema."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from ._audit import show
from ._audit.event import Event, Filter
from ._audit.format import AuditDamage
from ._audit.join import load_all
from ._audit.schema import SCHEMA
from ._audit.summary import summary
from ._audit.verify import verify
from ._errors import SandboxError
from ._paths import printable

NOT_WHOLE = 1


class Readable:
    """Events up to the first damage, which is raised when what there was has been shown."""

    def __init__(self, events: Iterator[Event]) -> None:
        self._events = events
        self._damage: AuditDamage | None = None

    def __iter__(self) -> Iterator[Event]:
        try:
            yield from self._events
        except AuditDamage as damage:
            self._damage = damage

    def check(self) -> None:
        sys.stdout.flush()
        if self._damage is not None:
            raise self._damage


def _wanted(options: argparse.Namespace) -> Readable:
    wanted = Filter(options.pid, options.call, options.path, options.verdict)
    return Readable(load_all(options.files, wanted))


def _print(options: argparse.Namespace) -> int:
    events = _wanted(options)
    show.show(events, options.json)
    events.check()
    return 0


def _summary(options: argparse.Namespace) -> int:
    events = _wanted(options)
    show.show_summary(summary(events), options.json)
    events.check()
    return 0


def _verify(options: argparse.Namespace) -> int:
    whole = True
    try:
        for part in verify(options.files):
            whole = whole and part.ok
            _say({**asdict(part), "ok": part.ok}, f"{part.file}: {part}", options.json)
    except AuditDamage as damage:
        whole = False
        told = {"file": damage.name, "state": "broken", "offset": damage.offset, "record": damage.record}
        guest = None if damage.guest is None else f"{damage.guest:016x}"
        _say({**told, "guest": guest, "why": damage.why, "ok": False}, str(damage), options.json)
    return 0 if whole else NOT_WHOLE


def _say(values: dict[str, Any], text: str, as_json: bool) -> None:
    print(json.dumps(values) if as_json else printable(text))


def _schema(_: argparse.Namespace) -> int:
    print(json.dumps(SCHEMA, indent=2))
    return 0


def run(options: argparse.Namespace) -> int:
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    modes = {"schema": _schema, "verify": _verify, "summary": _summary}
    mode = next((mode for name, mode in modes.items() if getattr(options, name)), _print)
    if not options.files and mode is not _schema:
        raise SandboxError("audit: there is no file")
    try:
        return mode(options)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise SandboxError(f"{error.filename or 'audit file'}: {error.strerror}") from None
