"""The Python face of csrc/core.h: the only part that imports the compiled module.

Everything that crosses to C or to a sentry is packed, unpacked and checked here; what it means is decided elsewhere.
"""

from __future__ import annotations

from .binding import Malformed
from .enums import (
    CommandFlag,
    Exceeded,
    Fetch,
    MessageType,
    MountFlag,
    MountKind,
    NetOp,
    Network,
    Option,
    Route,
    Serve,
    Verdict,
    Wall,
)
from .messages import (
    MESSAGE_FDS,
    TEXT_MAX,
    Message,
    Net,
    Ready,
    Usage,
    receive,
    send,
    unpack_net,
    unpack_ready,
    unpack_usage,
)
from .plans import COMMAND_FDS, Limits, PlanMount, build_plan, check_plan, find_mount, pack_command
from .processes import spawn, sweep
from .records import Record, numbers, records
from .table import Comparison, Rule, Syscall, guest_rules, sentry_rules, syscalls
from .trail import Trail

__all__ = [
    "COMMAND_FDS",
    "MESSAGE_FDS",
    "TEXT_MAX",
    "CommandFlag",
    "Comparison",
    "Exceeded",
    "Fetch",
    "Limits",
    "Malformed",
    "Message",
    "MessageType",
    "MountFlag",
    "MountKind",
    "Net",
    "NetOp",
    "Network",
    "Option",
    "PlanMount",
    "Ready",
    "Record",
    "Route",
    "Rule",
    "Serve",
    "Syscall",
    "Trail",
    "Usage",
    "Verdict",
    "Wall",
    "build_plan",
    "check_plan",
    "find_mount",
    "guest_rules",
    "numbers",
    "pack_command",
    "receive",
    "records",
    "send",
    "sentry_rules",
    "spawn",
    "sweep",
    "syscalls",
    "unpack_net",
    "unpack_ready",
    "unpack_usage",
]
