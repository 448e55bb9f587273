"""sandbox.learn: a policy from a native run under python-ptrace. Loaded at its first use."""

from __future__ import annotations

from ._learned import Learned
from ._run import learn

__all__ = ["Learned", "learn"]
