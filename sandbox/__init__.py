"""Run Linux programs behind a served filesystem, under one policy and with an audit trail.

>>> run(["echo", "hello"], text=True).stdout
'hello\\n'
"""

from __future__ import annotations

from typing import TYPE_CHECKING as _TYPE_CHECKING

from ._async import arun
from ._audit import AuditFile, Event
from ._errors import CommandFailed, CommandTimeout, GuestFault, PolicyError, SandboxError, WallMissing
from ._explain.explanation import Explanation
from ._metrics import Metrics
from ._network import Allow, AllowHTTP, Deny, Header, Hosts, Publish, Resolvers
from ._policy import File, Limits, Mount, Policy, Scratch
from ._popen import Popen
from ._result import Result
from ._run import run
from ._sandbox import Sandbox
from ._supervisor import metrics

if _TYPE_CHECKING:
    from ._learn import Learned, learn

__all__ = [
    "Allow",
    "AllowHTTP",
    "AuditFile",
    "CommandFailed",
    "CommandTimeout",
    "Deny",
    "Event",
    "Explanation",
    "File",
    "GuestFault",
    "Header",
    "Hosts",
    "Learned",
    "Limits",
    "Metrics",
    "Mount",
    "Policy",
    "PolicyError",
    "Popen",
    "Publish",
    "Resolvers",
    "Result",
    "Sandbox",
    "SandboxError",
    "Scratch",
    "WallMissing",
    "arun",
    "learn",
    "metrics",
    "run",
]


def __getattr__(name: str) -> object:
    """Names that cost time to load, at their first use."""
    if name in ("Learned", "learn"):
        from . import _learn

        return getattr(_learn, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
