"""What a guest is made of, and what is known of its commands."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from . import _core
from ._audit import Sink
from ._cgroup import Cgroup
from ._messages import NetService, Service, Usage


@dataclass
class Command:
    """A command of a guest. `ended` is set last; `lost`: its guest was ended, not it."""

    number: int
    started: bool = False
    ended: bool = False
    pid: int = 0
    error: int = 0
    at_cwd: bool = False
    returncode: int = 0
    exceeded: str | None = None
    usage: Usage = Usage()
    lost: bool = False


@dataclass(frozen=True)
class Parts:
    """What the Supervisor has made for a guest."""

    socket: socket.socket
    pid: int
    pidfd: int
    tag: int
    spawned_walls: tuple[str, ...]
    scratch: str
    cgroup: Cgroup | None
    trail: _core.Trail
    sink: Sink | None
    files: Service
    file_count: int
    proc: Service
    require: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()  # walls without which the guest's filter would let too much pass
    wall_seconds: float | None = None
    output_bytes: int = 0
    watch_memory: bool = False
    net: NetService | None = None
