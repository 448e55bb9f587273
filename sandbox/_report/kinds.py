"""What a call did to what it names. A trail of before version 3 has no flags: that a file was opened is known, not what
for."""

from __future__ import annotations

import os
from functools import cache

from .. import _core
from .._audit.event import Event
from .._audit.format import WITHOUT_CALL

LOOKED, READ, WRITTEN, CHANGED, OPENED, RUN, REFUSED, FAILED = MARKS = (
    *("looked at", "read", "written", "changed", "opened", "run", "refused", "failed"),
)
NETWORK = "network"
_OPS = {
    RUN: ("exec",),
    OPENED: ("open",),
    CHANGED: (
        *("truncate", "rename", "mkdir", "unlink", "link", "symlink", "mknod"),
        *("chmod", "chown", "utimes", "setxattr", "removexattr"),
    ),
    NETWORK: ("socket", "connect", "accept", "sendmsg", "recvmsg", "bind", "listen", "sockname", "sockopt"),
}
_QUIET = frozenset({"sendmsg", "recvmsg", "sockname", "sockopt"})  # a busy server makes many


@cache
def _kinds() -> dict[str, str]:
    by_op = {op: kind for kind, ops in _OPS.items() for op in ops}
    kinds = {row.name: by_op.get(row.op, LOOKED) for row in _core.syscalls()}
    creating = {row.name: WRITTEN for row in _core.syscalls() if row.op == "open" and row.preset & os.O_CREAT}
    return {**kinds, **creating, **dict.fromkeys(WITHOUT_CALL, NETWORK)}


@cache
def _quiet() -> frozenset[str]:
    return frozenset(row.name for row in _core.syscalls() if row.op in _QUIET)


def kind(call: str) -> str:
    """LOOKED, OPENED, WRITTEN, CHANGED, RUN or NETWORK."""
    return _kinds().get(call, LOOKED)


def did(event: Event) -> str:
    """The kind of a call that was done, READ and what it was opened for included."""
    access = event.access
    return WRITTEN if "write" in access or "create" in access else READ if "read" in access else kind(event.call)


def mark(event: Event) -> str:
    """One of MARKS, for each path of a call that is not of the network."""
    if event.verdict == "done":
        return did(event)
    return FAILED if event.verdict == "failed" else REFUSED


def is_notable(event: Event) -> bool:
    """Is it shown by itself among the calls of its process?"""
    if event.verdict not in ("done", "failed") or not event.trusted:
        return True
    return event.verdict == "done" and did(event) in (RUN, WRITTEN, CHANGED, NETWORK) and event.call not in _quiet()
