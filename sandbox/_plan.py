"""A policy compiled for one guest: its mounts in order, the contents and functions behind them, its limits."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from . import _core, _view
from ._errors import PolicyError
from ._network import is_served
from ._policy import Limits, Policy
from ._view import Kind, Place
from .services.proc import Mounted

SCRATCH_BYTES = 1 << 30
SCRATCH_FILES = 1 << 18
OUTPUT_BYTES = 1 << 30
_FLAGS = (
    ("writable", _core.MountFlag.WRITABLE),
    ("executable", _core.MountFlag.EXEC),
    ("device", _core.MountFlag.DEVICE),
    ("sticky", _core.MountFlag.STICKY),
    ("optional", _core.MountFlag.COPY),
)


@dataclass(frozen=True)
class Plan:
    """`places` are in the order of the sentry's mounts; a BYTES place's handle counts in `contents`, a SERVICE place's
    in `functions`."""

    places: tuple[Place, ...]
    mounts: tuple[_core.PlanMount, ...]
    contents: tuple[bytes, ...]
    functions: tuple[Callable[[], bytes], ...]
    function_names: tuple[str, ...]
    limits: _core.Limits
    wall_seconds: float | None
    network: _core.Network

    def pack(
        self,
        *,
        filters: tuple[bytes, bytes, bytes],
        tag: int,
        required: int,
        scratch: str,
        cgroup: str,
        audit: bool,
        slice_: int = 0,
        resolver: int = 0,
        address: int = 0,
        publishes: Sequence[tuple[bytes, int, int]] = (),
    ) -> bytes:
        """The bytes of struct sbx_plan."""
        return _core.build_plan(
            self.mounts,
            self.limits,
            filters=filters,
            tag=tag,
            required=required,
            scratch_host=os.fsencode(scratch),
            cgroup=os.fsencode(cgroup),
            descriptors=len(self.contents),
            audit=audit,
            network=self.network,
            slice_=slice_,
            resolver=resolver,
            address=address,
            publishes=publishes,
        )

    def mounted(self, scratch: str) -> list[Mounted]:
        """The mounts as services/proc.py knows them, with both names that the kernel may have for each."""
        rows = enumerate(self.places)
        return [_mounted(index, place, scratch) for index, place in rows if place.kind not in (Kind.LINK, Kind.TTY)]


def _mounted(index: int, place: Place, scratch: str) -> Mounted:
    own = {
        Kind.HOST: place.source,
        Kind.SCRATCH: f"{scratch}/scratch/{index}",
        Kind.BYTES: f"{scratch}/base/{index}",
        Kind.SKELETON: f"{scratch}/base/{index}" if index else f"{scratch}/skeleton",
    }.get(place.kind)
    kinds = {Kind.SCRATCH: b"tmpfs", Kind.SKELETON: b"tmpfs", Kind.PROC: b"proc", Kind.PTS: b"devpts"}
    prefixes = [f"/m/{index}"] + ([own] if own and own != "/" else [])
    return Mounted(
        os.fsencode(place.guest),
        tuple(map(os.fsencode, prefixes)),
        b"rw" if place.writable or place.kind in (Kind.PROC, Kind.PTS) else b"ro",
        kinds.get(place.kind, b"sandbox"),
    )


def _there(place: Place) -> bool:
    """Is the source there, and may a guest have it? What only the default view has may be missing."""
    try:
        mode = os.stat(place.source).st_mode
    except OSError as error:
        if place.optional:
            return False
        raise PolicyError(f"mount {place.guest}: {place.source}: {(error.strerror or '?').lower()}") from None
    if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode) or place.device):
        raise PolicyError(f"mount {place.guest}: {place.source}: neither a directory nor a regular file")
    if place.hide and not stat.S_ISDIR(mode):
        raise PolicyError(f"mount {place.guest}: {place.source}: hide needs a directory")
    for name in place.hide:
        parent = os.path.dirname(os.path.join(place.source, name))
        if (real := os.path.realpath(parent)) != parent:  # what is hidden by a link's name is still there by its own
            raise PolicyError(f"mount {place.guest}: hide {name}: {parent} leads to {real}: name the true path")
    if place.guest == "/" and not stat.S_ISDIR(mode):
        raise PolicyError(f"mount /: {place.source}: not a directory")
    return True


def _mount(place: Place, handle: int) -> _core.PlanMount:
    flags = sum(int(flag) for name, flag in _FLAGS if getattr(place, name))
    return _core.PlanMount(
        guest=os.fsencode(place.guest),
        kind=int(_core.MountKind[place.kind.name]),
        flags=flags,
        source=os.fsencode(place.source),
        hide=tuple(map(os.fsencode, place.hide)),
        handle=handle,
    )


_known_mount = lru_cache(maxsize=256)(_mount)  # of the default view, over and over; a caller's content is not kept


def plan_limits(limits: Limits) -> _core.Limits:
    return _core.Limits(
        memory=limits.memory or 0,
        processes=limits.processes or 0,
        open_files=limits.open_files or 0,
        file_size=limits.file_size or 0,
        cpu_seconds=limits.cpu_seconds or 0,
        scratch_bytes=limits.scratch_bytes or SCRATCH_BYTES,
        scratch_files=limits.scratch_files or SCRATCH_FILES,
    )


def compile_policy(policy: Policy) -> Plan:
    """The plan of a policy. PolicyError where a source is missing or is no file that a guest may have."""
    places = sorted(_view.places(policy), key=lambda place: os.fsencode(place.guest))
    contents: list[bytes] = []
    functions: list[Callable[[], bytes]] = []
    names: list[str] = []
    mounts = []
    kept = []
    for place in places:
        handle = 0
        if place.kind is Kind.HOST:
            if not _there(place):
                continue
        elif isinstance(place.content, bytes) and place.kind is Kind.BYTES:
            handle = len(contents)
            contents.append(place.content)
        elif not isinstance(place.content, bytes):
            handle = len(functions)
            functions.append(place.content)
            names.append(place.guest)
        kept.append(place)
        mounts.append(_known_mount(place, handle) if place.content == b"" else _mount(place, handle))
    return Plan(
        tuple(kept),
        tuple(mounts),
        tuple(contents),
        tuple(functions),
        tuple(names),
        plan_limits(policy.limits),
        policy.limits.wall_seconds,
        _core.Network.SERVED if is_served(policy.network) else _core.Network[str(policy.network).upper()],
    )
