"""What can go wrong, as one tree.

    SandboxError                      everything that this package raises of its own
     ├─ CommandFailed                 check=True and the command failed; also a subprocess.CalledProcessError
     ├─ CommandTimeout                timeout= ran out; also a subprocess.TimeoutExpired, with the output so far
     ├─ PolicyError                   a policy that cannot be: also a ValueError
     ├─ WallMissing                   Policy(require=...) names a wall that does not stand here
     └─ GuestFault                    the guest or its sentry broke, or a File's function raised (then __cause__)

A program that cannot be executed raises what subprocess raises: FileNotFoundError, PermissionError or another OSError.

>>> issubclass(CommandTimeout, TimeoutError) or issubclass(CommandTimeout, SandboxError)
True
"""

from __future__ import annotations

import subprocess
from typing import Any

__all__ = [
    "CommandFailed",
    "CommandTimeout",
    "GuestFault",
    "PolicyError",
    "SandboxError",
    "WallMissing",
]


class SandboxError(Exception):
    """Base of every error of this package."""


class CommandFailed(SandboxError, subprocess.CalledProcessError):
    """A command ended with another status than 0 and `check` was set.

    `returncode`, `cmd`, `output` (= `stdout`) and `stderr` are those of `subprocess.CalledProcessError`; `exceeded`
    names the limit that ended the guest, or is None.
    """

    def __init__(
        self, returncode: int, cmd: Any, output: Any = None, stderr: Any = None, exceeded: str | None = None
    ) -> None:
        subprocess.CalledProcessError.__init__(self, returncode, cmd, output, stderr)
        self.exceeded = exceeded

    def __str__(self) -> str:
        text = subprocess.CalledProcessError.__str__(self)
        return f"{text[:-1]} (limit {self.exceeded} exceeded)." if self.exceeded else text


class CommandTimeout(SandboxError, subprocess.TimeoutExpired):
    """A command did not end in `timeout` seconds.

    Raised by `run` after everything that the command started was killed, with `output` and `stderr` so far; raised by
    `Popen.wait` and `Popen.communicate` while the command still runs, as by `subprocess`.
    """

    def __init__(self, cmd: Any, timeout: float, output: Any = None, stderr: Any = None) -> None:
        subprocess.TimeoutExpired.__init__(self, cmd, timeout, output, stderr)


class PolicyError(SandboxError, ValueError):
    """A policy, mount, limit or policy file that cannot be: the message names the place and the reason."""


class WallMissing(SandboxError):
    """A wall that `Policy(require=...)` names does not stand here. `wall` names it, `reason` says why."""

    def __init__(self, wall: str, reason: str) -> None:
        super().__init__(wall, reason)
        self.wall = wall
        self.reason = reason

    def __str__(self) -> str:
        return f"required wall {self.wall} does not stand: {self.reason}"


class GuestFault(SandboxError):
    """A guest was ended because it, its sentry or a function that serves it broke; `__cause__` is that function's."""
