"""A policy as lines, each with the reason that it has: derived, merged, and made a Policy again."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from typing import Any, NamedTuple

from sandbox._grants import File, Limits, Mount, Scratch
from sandbox._network import Rule
from sandbox._paths import printable
from sandbox._policy import Policy

from . import _peers, _places, _variables
from ._fold import under
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


def _limits(seen: Seen) -> Iterator[Line]:
    """Twice what was seen, and not less than any small program needs; processor time ten times, and none for a
    server."""
    least = {"memory": 256 * _MIB, "processes": 32, "open_files": 256, "cpu_seconds": 60}
    steps = {"memory": 64 * _MIB, "processes": 16, "open_files": 64, "cpu_seconds": 30}
    for name, peak in sorted(seen.peaks.items(), key=lambda item: list(least).index(item[0])):
        if name != "cpu_seconds" or not seen.servers:
            wanted = peak * (10 if name == "cpu_seconds" else 2)
            limit = max(least[name], math.ceil(wanted / steps[name]) * steps[name])
            shown = f"{math.ceil(peak / _MIB)} MiB" if name == "memory" else str(peak)
            yield Line("limits", name, limit, f"seen: {shown}")


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


# ---- a policy as lines --------------------------------------------------------------------------------------------


def lines_of(policy: Policy, why: Mapping[tuple[str, str], str]) -> list[Line]:
    """The lines of a policy, with reasons by table and key."""
    rules = [policy.network] if isinstance(policy.network, str) else list(policy.network)
    limits = {entry.name: getattr(policy.limits, entry.name) for entry in fields(Limits)}
    found = [
        *(Line("require", name, name) for name in policy.require),
        *(Line("network", str(rule), rule) for rule in rules if rule != "none"),
        *(Line("limits", name, value) for name, value in limits.items() if value is not None),
        *(Line("env", name, value) for name, value in policy.env.items()),
        *(Line("mounts", mount.target, mount) for mount in policy.mounts),
        *(Line("scratch", scratch.target, scratch) for scratch in policy.scratch),
        *(Line("files", file.target, file) for file in policy.files),
    ]
    return [line._replace(why=why.get((line.table, line.key), "")) for line in found]


def policy_of(found: Iterable[Line]) -> Policy:
    tables: dict[str, dict[str, Any]] = {}
    for line in found:
        tables.setdefault(line.table, {})[line.key] = line.value
    network: list[str | Rule] = list(tables.get("network", {}).values())
    return Policy(
        mounts=tuple(tables.get("mounts", {}).values()),
        scratch=tuple(tables.get("scratch", {}).values()),
        files=tuple(tables.get("files", {}).values()),
        limits=Limits(**tables.get("limits", {})),
        env=tables.get("env", {}),
        require=tuple(tables.get("require", {}).values()),
        network=network or "none",
    )


def merged(old: list[Line], new: list[Line]) -> list[Line]:
    """What either has: of limits the greater, of a mount the writable one, of other things the old."""
    found = {(line.table, line.key): line for line in old if not _is_covered(line, new)}
    for line in new:
        before = found.get((line.table, line.key))
        if before is not None:
            found[line.table, line.key] = _both(before, line)
        elif not _is_covered(line, old):
            found[line.table, line.key] = line
    several = sum(table == "network" for table, _ in found) > 1
    return [line for line in found.values() if not (several and line.value == "loopback")]


def _both(old: Line, new: Line) -> Line:
    if old.table == "limits":
        return max(old, new, key=lambda line: float(line.value))
    if old.table == "mounts" and new.value.writable and not old.value.writable:
        mount: Mount = old.value
        made = Mount(old.key, mount.source, writable=True, noexec=mount.noexec, hide=mount.hide)
        return old._replace(value=made, why=new.why)
    return old._replace(why=old.why or new.why)


def _is_covered(line: Line, others: list[Line]) -> bool:
    """Is it granted already by a line above its path?"""
    if line.table not in ("mounts", "scratch"):
        return False
    places: dict[str, Any] = {each.key: each.value for each in others if isinstance(each.value, (Mount, Scratch, File))}
    top = under(line.key, {key for key in places if key != line.key})
    if top is None:
        return line.table == "scratch" and any(key.startswith(line.key + "/") for key in places)
    if not isinstance(line.value, Mount):
        return True
    above = places[top]
    same = isinstance(above, Mount) and line.value.source == above.source.rstrip("/") + line.key[len(top.rstrip("/")) :]
    return same and (above.writable or not line.value.writable) and not line.value.hide and not above.hide
