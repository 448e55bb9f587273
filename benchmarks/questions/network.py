"""What does the network cost: its calls, its data, and servers under load? Within the guest's own loopback, which is a network namespace's
or, for `sandbox-rules`, a slice of the host's; each beside the floor with as many hops."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Callable

from . import work_shell
from .calls import NETWORK_CALLS, call_case
from .case import Case, Question, Setup
from .work import Work, work_case

__all__ = ["NETWORK"]

SERVERS = (
    Work("redis-benchmark, one at a time", partial(work_shell.redis_rate, pipelined=1), work_shell.REDIS_NEEDS, (), (), work_shell.rated, "µs per request"),
    Work("redis-benchmark, 16 at a time", partial(work_shell.redis_rate, pipelined=16), work_shell.REDIS_NEEDS, (), (), work_shell.rated, "µs per request"),
    Work("nginx and wrk, kept alive", work_shell.nginx, ("nginx", "wrk"), (), (), work_shell.served, "µs per request"),
)


def _cases(setup: Setup) -> Iterator[tuple[str, Callable[[], Case]]]:
    for name in NETWORK_CALLS:
        yield name, partial(call_case, setup, name)
    for work in SERVERS:
        yield work.name, partial(work_case, setup, work)


NETWORK = Question("network", "The network", _cases, cores=("idle", "busy"), without=("floor", "floor-unpinned", "sandbox-cli"))
