"""What decided a call: the mount or rule that `sandbox explain` names, too, as far as a trail tells."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import NamedTuple

from .. import _core
from .guest import Guest

TABLE = "system calls"  # the table of `sandbox surface`
_TELLS = 3  # the first version whose header tells of rules


class Served(NamedTuple):
    """What the Supervisor did for a call, and the rule of the network that it went by."""

    what: str
    rule: str | None


def served(name: bytes) -> Served:
    """Out of the name of a request: what, and to the network after a NUL by which rule; before version 3 a space.

    >>> served(b"net/connect 192.0.2.1:80\\0allow 192.0.2.1"), served(b"proc/self/status")
    (Served(what='net/connect 192.0.2.1:80', rule='allow 192.0.2.1'), Served(what='proc/self/status', rule=None))
    """
    text, old = os.fsdecode(name), name.startswith(b"net/") and b"\0" not in name
    what, _, rule = text.partition(" " if old else "\0")
    return Served(what, rule or None)


def address(what: str) -> str:
    """That the Supervisor saw in a request to the network, or nothing."""
    return what.partition(" ")[2] if what.startswith("net/") else ""


@lru_cache(maxsize=1)
def _network() -> frozenset[int]:
    """The calls that ask for a socket or give an address."""
    return frozenset(row.nr for row in _core.syscalls() if row.op in ("socket", "bind", "connect", "sendmsg"))


def rule(guest: Guest, record: _core.Record, by: Served | None) -> str | None:
    """None where nothing was decided, or a trail of before version 3 does not tell."""
    if by is not None and by.rule:
        return by.rule
    if record.mount is not None:
        return guest.rules[record.mount] if record.mount < len(guest.rules) else None
    if guest.version < _TELLS:
        return None
    denied = record.verdict == _core.Verdict.DENIED
    if guest.network and record.nr in _network() and (denied or record.paths):
        return guest.network
    return TABLE if denied else None
