"""Run Linux programs behind a served filesystem, under one policy and with an audit trail.

>>> run(["echo", "hello"], text=True).stdout
'hello\\n'
"""

from __future__ import annotations

from ._async import arun
from ._audit import AuditFile, Event
from ._errors import CommandFailed, CommandTimeout, GuestFault, PolicyError, SandboxError, WallMissing
from ._network import Allow, Deny, Hosts, Publish
from ._policy import File, Limits, Mount, Policy, Scratch
from ._popen import Popen
from ._result import Result
from ._run import run
from ._sandbox import Sandbox

__all__ = [
    "Allow",
    "AuditFile",
    "CommandFailed",
    "CommandTimeout",
    "Deny",
    "Event",
    "File",
    "GuestFault",
    "Hosts",
    "Limits",
    "Mount",
    "Policy",
    "PolicyError",
    "Popen",
    "Publish",
    "Result",
    "Sandbox",
    "SandboxError",
    "Scratch",
    "WallMissing",
    "arun",
    "run",
]
