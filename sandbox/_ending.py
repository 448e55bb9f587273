"""What is left to do when a sentry is gone."""

from __future__ import annotations

import os
import select
import time
from contextlib import suppress

from . import _core
from ._messages import Usage
from ._parts import Parts
from ._remove import remove_tree


def has_ended(parts: Parts) -> bool:
    poll = select.poll()
    poll.register(parts.pidfd, select.POLLIN)
    return bool(poll.poll(0))


def reap(parts: Parts) -> tuple[str, Usage]:
    """Take the sentry's status, unless the caller's own handler of SIGCHLD has; its usage counts for the guest."""
    try:
        os.waitid(os.P_PIDFD, parts.pidfd, os.WEXITED | os.WNOWAIT)
        _, status, used = os.wait4(parts.pid, 0)
    except ChildProcessError:
        return "status unknown", Usage()
    usage = Usage(used.ru_utime, used.ru_stime)  # ru_maxrss is that of the caller, before the exec
    return f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"status {os.WEXITSTATUS(status)}", usage


def takes_time(parts: Parts, walls: tuple[str, ...]) -> bool:
    """May what is left search processes, remove files or wait?"""
    if parts.net is not None and parts.net.lingers:
        return True
    return parts.cgroup is not None or parts.sink is not None or not {"pidns", "mountns"} <= set(walls)


def clear(parts: Parts) -> int:
    """INVARIANT nothing-lives-on: kill what is left of the guest's processes, remove its directory and its cgroup.
    Returns the peak of its memory in bytes, 0 where it is not known."""
    if parts.cgroup is not None:
        parts.cgroup.kill()
    if "pidns" not in parts.spawned_walls:
        with suppress(OSError):
            _core.sweep(parts.tag)
    remove_tree(parts.scratch)
    if parts.cgroup is None:
        return 0
    peak = parts.cgroup.peak()
    for _ in range(50):  # its processes are dead, but not all of them gone
        if parts.cgroup.remove():
            break
        time.sleep(0.01)
    return peak
