"""A decision against a call."""

from __future__ import annotations

import errno


class Refused(OSError):
    """EACCES, by a rule."""

    def __init__(self, rule: str) -> None:
        super().__init__(errno.EACCES, rule)
        self.rule = rule
