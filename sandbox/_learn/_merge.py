"""A policy as lines and lines as a policy; what two of them grant together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from sandbox._grants import File, Limits, Mount, Scratch
from sandbox._network import Rule
from sandbox._policy import Policy

from ._fold import under
from ._lines import Line


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
    """What either has: of limits the greater, of a mount the writable one, of other things the old. What has a reason
    was learned, and an empty directory that was learned gives way to a mount."""
    kept = [line for line in old if not _gives_way(line, new)]
    found = {_key(line): line for line in kept}
    for line in new:
        before = found.get(_key(line))
        if before is not None:
            found[_key(line)] = _both(before, line)
        elif not _is_covered(line, kept):
            found[_key(line)] = line
    several = sum(line.table == "network" for line in found.values()) > 1
    return [line for line in found.values() if not (several and line.value == "loopback")]


def _key(line: Line) -> tuple[str, str]:
    """A guest path is given once, whatever it is."""
    return ("" if isinstance(line.value, (Mount, Scratch, File)) else line.table, line.key)


def _both(old: Line, new: Line) -> Line:
    if old.table == "limits":
        return max(old, new, key=lambda line: float(line.value))
    if isinstance(old.value, Mount) and isinstance(new.value, Mount) and new.value.writable and not old.value.writable:
        made = Mount(old.key, old.value.source, writable=True, noexec=old.value.noexec, hide=old.value.hide)
        return old._replace(value=made, why=new.why)
    return old._replace(why=old.why or new.why)


def _gives_way(line: Line, new: list[Line]) -> bool:
    if not isinstance(line.value, (Mount, Scratch)):
        return False
    mounts: dict[str, Mount] = {each.key: each.value for each in new if isinstance(each.value, Mount)}
    top = under(line.key, mounts)
    if isinstance(line.value, Scratch):
        return bool(line.why) and top is not None
    plain = not (line.value.noexec or line.value.hide)
    return plain and top is not None and top != line.key and _shows(mounts[top], line.value)


def _is_covered(line: Line, kept: list[Line]) -> bool:
    """Is it granted already by a line above its path, or hidden there? An empty directory is there above any place."""
    if not isinstance(line.value, (Mount, Scratch)):
        return False
    places: dict[str, Any] = {each.key: each.value for each in kept if isinstance(each.value, (Mount, Scratch, File))}
    top = under(line.key, places)
    if isinstance(line.value, Scratch):
        return top is not None or any(key.startswith(line.key + "/") for key in places)
    return top is not None and isinstance(places[top], Mount) and _shows(places[top], line.value)


def _shows(above: Mount, mount: Mount) -> bool:
    """Does a mount have another's source at that one's target, as writable?"""
    rest = mount.target[len(above.target.rstrip("/")) :]
    return mount.source == above.source.rstrip("/") + rest and (above.writable or not mount.writable)
