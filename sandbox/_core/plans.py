"""What a sentry is given to work with: the plan of its guest, and commands."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from .binding import ffi, lib, text
from .enums import Network

COMMAND_FDS: int = lib.SBX_COMMAND_FDS


class PlanMount(NamedTuple):
    guest: bytes
    kind: int
    flags: int = 0
    source: bytes = b""
    hide: tuple[bytes, ...] = ()
    handle: int = 0


class Limits(NamedTuple):
    """struct sbx_limits; 0 is no limit."""

    memory: int = 0
    processes: int = 0
    open_files: int = 0
    file_size: int = 0
    cpu_seconds: int = 0
    scratch_bytes: int = 0
    scratch_files: int = 0


class _Strings:
    """NUL-terminated strings behind the fixed part of a plan, each text once."""

    def __init__(self, base: int) -> None:
        self._base = base
        self._offsets: dict[tuple[bytes, ...], int] = {}
        self.data = bytearray()

    def add(self, *texts: bytes) -> int:
        if texts not in self._offsets:
            if any(b"\0" in text for text in texts):
                raise ValueError("a NUL byte in a path")
            self._offsets[texts] = self._base + len(self.data)
            self.data += b"".join(text + b"\0" for text in texts)
        return self._offsets[texts]


def build_plan(
    mounts: Sequence[PlanMount],
    limits: Limits,
    *,
    filters: tuple[bytes, bytes, bytes],
    tag: int,
    required: int,
    scratch_host: bytes = b"",
    cgroup: bytes = b"",
    descriptors: int = 0,
    audit: bool = True,
    network: Network = Network.NONE,
    slice_: int = 0,
    resolver: int = 0,
    address: int = 0,
    publishes: Sequence[tuple[bytes, int, int]] = (),
) -> bytes:
    """A checked plan. `filters`: the listener's program, the outer one, the sentry's. ValueError says what is wrong."""
    ordered = tuple(sorted(mounts))
    body = _body(ordered, filters)
    strings = _Strings(len(body))
    plan = ffi.new("struct sbx_plan *")
    plan.version = lib.SBX_VERSION
    plan.mounts, plan.mount_count = _HEADER, len(ordered)
    at_filters = _after_mounts(len(ordered))
    plan.guest_filter = [at_filters, at_filters + len(filters[0])]
    plan.guest_filter_count = [len(filters[0]) // 8, len(filters[1]) // 8]
    plan.sentry_filter = at_filters + len(filters[0]) + len(filters[1])
    plan.sentry_filter_count = len(filters[2]) // 8
    plan.scratch_host, plan.cgroup = strings.add(scratch_host), strings.add(cgroup)
    plan.required, plan.tag, plan.descriptors = required, tag, descriptors
    plan.audit, plan.network, plan.slice, plan.resolver = audit, network, slice_, resolver
    plan.address = address
    plan.publish_count = len(publishes)
    for at, row in enumerate(publishes):
        plan.publish[at] = row
    plan.limits = tuple(limits)
    plan.size = len(body) + len(strings.data)
    data: bytes = ffi.buffer(plan)[:] + body[_HEADER:] + bytes(strings.data)
    check_plan(data)
    return data


_HEADER: int = ffi.sizeof("struct sbx_plan")


def _after_mounts(count: int) -> int:
    end: int = _HEADER + count * ffi.sizeof("struct sbx_mount")
    return -(-end // 8) * 8


@lru_cache(maxsize=8)
def _body(mounts: tuple[PlanMount, ...], filters: tuple[bytes, bytes, bytes]) -> bytes:
    """A plan with an empty header and without what is one guest's alone: the same for all guests of a policy."""
    at_filters = _after_mounts(len(mounts))
    strings = _Strings(at_filters + sum(map(len, filters)))
    rows = ffi.new("struct sbx_mount[]", [_mount_row(mount, strings) for mount in mounts])
    fixed = (bytes(_HEADER) + ffi.buffer(rows)[:]).ljust(at_filters, b"\0")
    return bytes(fixed + b"".join(filters) + strings.data)


def _mount_row(mount: PlanMount, strings: _Strings) -> tuple[int, ...]:
    hide = sorted(set(mount.hide))
    at_hide = strings.add(*hide) if hide else strings.add(b"")
    at_guest, at_source = strings.add(mount.guest), strings.add(mount.source)
    return (at_guest, len(mount.guest), at_source, at_hide, len(hide), mount.handle, mount.kind, mount.flags, 0)


def check_plan(plan: bytes) -> None:
    """ValueError unless the plan is well formed."""
    why = ffi.new("const char **")
    if lib.sbx_plan_check(_aligned(plan), len(plan), why) != 0:
        raise ValueError(f"plan: {text(why[0])}")


def find_mount(plan: bytes, guest_path: bytes) -> tuple[int, bytes] | None:
    """Index of the mount (in order of guest path) that holds a normal guest path, and the rest; None: hidden."""
    check_plan(plan)
    copy, rest = _aligned(plan), ffi.new("uint32_t *")  # a cast does not keep the copy
    found: int = lib.sbx_plan_find(ffi.cast("struct sbx_plan *", copy), guest_path, rest)
    return (found, guest_path[rest[0] :]) if found >= 0 else None


def _aligned(data: bytes) -> Any:
    copy = ffi.new("uint64_t[]", len(data) // 8 + 1)
    ffi.memmove(copy, data, len(data))
    return copy


def pack_command(
    args: Sequence[bytes],
    env: Sequence[bytes],
    *,
    program: bytes,
    cwd: bytes,
    umask: int = 0o022,
    flags: int = 0,
    fds: Sequence[int] = (),
) -> bytes:
    """The content of the memfd of SBX_MSG_RUN. `env`: b"NAME=value"; `fds`: the numbers that the descriptors get."""
    texts = [*args, *env, cwd, program]
    if any(b"\0" in text for text in texts):
        raise ValueError("embedded null byte")
    if len(fds) > COMMAND_FDS:
        raise ValueError(f"more than {COMMAND_FDS} descriptors")
    head = ffi.new("struct sbx_command *")
    base = ffi.sizeof("struct sbx_command")
    data = b"".join(text + b"\0" for text in texts)
    if base + len(data) > 0xFFFFFFFF:
        raise ValueError("arguments too long")
    head.argc, head.envc, head.fd_count, head.umask, head.flags = len(args), len(env), len(fds), umask, flags
    head.strings = base
    head.program = base + len(data) - len(program) - 1
    head.cwd = head.program - len(cwd) - 1
    head.fd = list(fds)
    return bytes(ffi.buffer(head)[:] + data)
