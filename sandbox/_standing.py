"""Which walls stand around a guest, and whether these are enough."""

from __future__ import annotations

import os

from ._errors import GuestFault, SandboxError, WallMissing
from ._messages import Ready
from ._parts import Parts


def standing(parts: Parts, ready: Ready) -> tuple[str, ...]:
    """Those of the sentry, and ours."""
    ours = (*parts.spawned_walls, *(("cgroup",) if parts.cgroup else ()))
    return tuple(dict.fromkeys((*ready.walls, *ours)))


def lack(parts: Parts, walls: tuple[str, ...], ready: Ready) -> SandboxError | None:
    """Why the guest may not run behind them."""
    for wall in parts.require:
        if wall not in walls:
            number = ready.missing.get(wall, 0)
            return WallMissing(wall, os.strerror(number) if number else "cannot be had here")
    lacking = [wall for wall in parts.assumed if wall not in walls]
    if lacking:
        return GuestFault(f"walls that the filter relies on do not stand: {', '.join(lacking)}")
    return None
