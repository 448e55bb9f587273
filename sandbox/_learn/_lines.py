"""A policy as lines, each with the reason that it has."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from sandbox._grants import Mount, Scratch
from sandbox._paths import printable

from . import _peers, _places, _variables
from ._seen import Seen

_SHOWN, _LONGEST = 3, 60
_MIB = 1 << 20


class Line(NamedTuple):
    """`value` is what the Policy has in `table` under `key`: a Mount, Scratch, File, rule or word, number or text."""

    table: str
    key: str
    value: Any
    why: str = ""


def lines(seen: Seen) -> tuple[list[Line], list[str]]:
    """What a run needs, and notes."""
    granted, left = _places.grants(seen)
    env, secret = _variables.kept(seen, {grant.path for grant in granted})
    unsaid = (f"left out, it looks like a secret: {name}" for name in secret)
    notes = sorted({*seen.notes, *left, *_peers.notes(seen), *unsaid})
    found = [
        *_network(seen),
        *_limits(seen),
        *(Line("env", name, value, why) for name, (value, why) in env.items()),
        *(_place(grant) for grant in granted),
    ]
    return found, notes


def _network(seen: Seen) -> Iterator[Line]:
    rules = _peers.rules(seen)
    if not rules and (seen.peers or seen.servers or seen.fleeting):
        by = set().union(*seen.peers.values(), *seen.servers.values(), *seen.fleeting.values())
        yield Line("network", "loopback", "loopback", _callers(by))
    for rule, by in rules:
        yield Line("network", str(rule), rule, _callers(by))


class _Bound(NamedTuple):
    """A limit is the peak times `factor`, in whole steps, and not less than `least`."""

    factor: int
    least: int
    step: int


_BOUNDS = {
    "memory": _Bound(2, 256 * _MIB, 64 * _MIB),
    "processes": _Bound(2, 32, 16),
    "open_files": _Bound(2, 256, 64),
    "cpu_seconds": _Bound(10, 60, 30),
}


def _limits(seen: Seen) -> Iterator[Line]:
    """Processor time is not bounded for a server. Memory is what a process asked for, too: without a cgroup it is that
    which is limited."""
    for name, (factor, least, step) in _BOUNDS.items():
        if name not in seen.peaks or (name == "cpu_seconds" and seen.servers):
            continue
        peak = seen.peaks[name]
        wanted = max(peak * factor, seen.peaks.get("data", 0) if name == "memory" else 0, least)
        shown = f"{math.ceil(peak / _MIB)} MiB" if name == "memory" else str(peak)
        yield Line("limits", name, math.ceil(wanted / step) * step, f"seen: {shown}")


def _place(grant: _places.Grant) -> Line:
    why = _used(grant)
    if grant.scratch:
        return Line("scratch", grant.path, Scratch(grant.path), why)
    return Line("mounts", grant.path, Mount(grant.path, grant.path, writable=grant.writable), why)


# ---- reasons ------------------------------------------------------------------------------------------------------


def _used(grant: _places.Grant) -> str:
    by = _callers(set().union(*(access.by for access in grant.used.values())))
    below = sorted(path[len(grant.path) + 1 :] for path in grant.used if path != grant.path)
    shown = [printable(name)[:_LONGEST] for name in below[:_SHOWN]]
    more = f" and {len(below) - _SHOWN} more" if len(below) > _SHOWN else ""
    return by + (f": {', '.join(shown)}{more}" if shown else "")


def _callers(by: Iterable[str]) -> str:
    """ "git openat", "git stat" and "sh stat" as one text."""
    calls: dict[str, list[str]] = {}
    for each in sorted(by):
        program, _, call = each.rpartition(" ") if not each.endswith(")") else each.partition(" ")
        calls.setdefault(printable(program)[:_LONGEST], []).append(call)
    texts = [f"{program} {_few(names)}" for program, names in calls.items()]
    return "; ".join(texts[:_SHOWN]) + (f"; {len(texts) - _SHOWN} more programs" if len(texts) > _SHOWN else "")


def _few(calls: list[str]) -> str:
    return ", ".join(calls[:_SHOWN]) + (", …" if len(calls) > _SHOWN else "")
