"""What a finished command gives back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ._audit import AuditSummary
from ._errors import CommandFailed
from ._messages import Usage


@dataclass(frozen=True)
class Result:
    """A command that has ended.

    `returncode` is negative for a signal; `stdout` and `stderr` are bytes, or text where asked for, or None where not
    captured; `duration` in seconds; `usage` has processor seconds and the peak of memory in bytes; `audit` counts the
    served calls; `walls` names the walls that stood; `exceeded` names the limit that ended the guest, or is None.

    >>> Result(["true"], 0).check_returncode()
    >>> Result(["false"], 1).check_returncode()
    Traceback (most recent call last):
    ...
    sandbox._errors.CommandFailed: Command '['false']' returned non-zero exit status 1.
    """

    args: Any
    returncode: int
    stdout: Any = None
    stderr: Any = None
    duration: float = 0.0
    usage: Usage = Usage()
    audit: AuditSummary = AuditSummary({})
    walls: tuple[str, ...] = ()
    exceeded: str | None = None

    def check_returncode(self) -> None:
        """Raise CommandFailed unless the command ended with 0."""
        if self.returncode:
            raise CommandFailed(self.returncode, self.args, self.stdout, self.stderr, self.exceeded)
