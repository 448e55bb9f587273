"""What the others are measured by: the command itself, and the least that serving its calls can cost."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Iterator, Sequence
from typing import Callable

from .._build import BUILD, build
from .base import WAYS, Job, Outcome, Runner, Safety
from .commands import CommandRunner

__all__ = ["YARDSTICKS"]


class Native(CommandRunner):
    @contextlib.contextmanager
    def standing(self, job: Job) -> Iterator[Callable[[], Outcome]]:
        """A native command needs nothing that stands."""
        yield lambda: self.run(job)


def _floor_version(_: str) -> str:
    build("floor")
    return "guests/floor.c"


def _floor(*options: str) -> Callable[[Job], Sequence[str]]:
    return lambda _: [str(BUILD / "floor"), *options, "--"]


ALL = tuple(WAYS)
NOTHING = Safety("no", "no", "no", "everything that its user can", ALL)
YARDSTICK = Safety("stat and open are served, nothing is refused", "no", "no", "everything: a yardstick and no sandbox", ALL)
ADDRESSES = Safety("no", "calls with an address are served, nothing is refused", "no", "everything: a yardstick and no sandbox", ALL)
YARDSTICKS: tuple[Runner, ...] = (
    Native("native", "", lambda _: (), NOTHING, says=lambda _: f"Linux {platform.release()}", outside=True),
    *(
        CommandRunner(name, "", _floor(*options), safety, says=_floor_version, outside=True)
        for name, options, safety in (
            ("floor", (), YARDSTICK),
            ("floor-unpinned", ("--no-pin",), YARDSTICK),
            ("floor-two", ("--no-pin", "--threads", "2"), YARDSTICK),
            ("floor-network", ("--network",), ADDRESSES),
            ("floor-served", ("--served",), ADDRESSES),
        )
    ),
)
