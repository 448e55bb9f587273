"""A guest as its trail tells of it, and the header that tells."""

from __future__ import annotations

import json
import os
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .._core import numbers
from .format import START, VERSION

_SERVED_MAX = 1 << 11  # between requests and their records: no sentry has more threads
_TOLD_MAX = 1 << 16  # bytes of names in a header, as JSON has them at most
_NUMBER_MAX = (1 << 64) - 1
_NAME_MAX = 512  # bytes of a request's name: an address, and a rule with a name of 253
_ENDED, _ROTATED = "ended", "rotated"


@dataclass
class Guest:
    """What is known of a guest at a place in its trail: the last chain value, the last record, and the requests that
    were served and have no record yet. `part` counts the files of a rotated trail."""

    number: int
    about: Mapping[str, Any] = field(default_factory=dict)
    version: int = VERSION
    part: int = 1
    value: bytes = START
    sequence: int = 0
    served: OrderedDict[int, bytes] = field(default_factory=OrderedDict)
    rotated: bool = False

    def __post_init__(self) -> None:
        self.mounts, self.rules = ([str(text) for text in self.about.get(key, ())] for key in ("mounts", "rules"))
        self.network = str(self.about.get("network", ""))

    def has_served(self, request: int, name: bytes) -> None:
        self.served[request] = name[:_NAME_MAX]
        if len(self.served) > _SERVED_MAX:
            self.served.popitem(last=False)

    def pass_over(self, data: bytes) -> int:
        """Know of a batch what the next part has to know. Returns how many records it holds."""
        count = 0
        for self.sequence, service in numbers(data):
            count += 1
            if service:
                self.served.pop(service, None)
        return count

    def header(self) -> bytes:
        began = {"version": VERSION, "time": time.time(), **self.about, "part": self.part}
        on = {"previous": self.value.hex(), "sequence": self.sequence, "served": self._told()}
        return json.dumps({**began, **(on if self.part > 1 else {})}).encode()

    def _told(self) -> list[tuple[int, str]]:
        """The latest of `served`, as far as there is room: their names may be a broken sentry's."""
        told, room = [], _TOLD_MAX
        for request, name in reversed(self.served.items()):
            room -= 32 + 6 * len(name)
            if room < 0:
                break
            told.append((request, os.fsdecode(name)))
        return told[::-1]

    def end(self, *, rotated: bool) -> bytes:
        return json.dumps({"why": _ROTATED if rotated else _ENDED, "time": time.time()}).encode()


def is_rotated(end: bytes) -> bool:
    return bool(json.loads(end)["why"] == _ROTATED)


def guest_of(number: int, header: bytes) -> Guest:
    """The guest that a header tells of; ValueError or what else Python raises where it is none."""
    about = json.loads(header)
    version, part = _number(about["version"], 1), _number(about.get("part", 1), 1)
    guest = Guest(number, about, version, part, sequence=_number(about.get("sequence", 0), 0))
    if guest.part > 1:
        guest.value = bytes.fromhex(about["previous"])
    for request in about.get("served", ()):
        number, name = request if isinstance(request, list) else (request, "")  # version 2 had no names
        guest.has_served(_number(number, 1), os.fsencode(name))
    return guest


def _number(value: Any, least: int) -> int:
    if type(value) is not int or not least <= value <= _NUMBER_MAX:
        raise ValueError
    return value
