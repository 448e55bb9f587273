"""How much private memory has a sentry, and does it grow over a million calls?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ._build import build
from .measure import Samples, Setup

__all__ = ["bench"]

MILLION = 1_000_000
CALLS = ("stat", "open+close")


def bench(setup: Setup, calls: int = MILLION) -> Samples:
    samples = Samples("memory", "KiB")
    if "sandbox" in setup.runners:
        samples.attempt("sentry", "sandbox", _sandbox, samples, calls)
    return samples


def _sandbox(samples: Samples, calls: int) -> None:
    import sandbox

    program, known = build("calls"), set(_children())
    with sandbox.Sandbox(mounts={"/bench": str(program.parent)}) as box:
        for what, count in (("after 1 000 calls", 1000), (f"after {calls:,} more".replace(",", " "), calls)):
            box.run([f"/bench/{program.name}", "--count", str(count // len(CALLS)), *CALLS], check=True)
            samples.add(what, "sandbox", "idle", sum(private_kib(pid) for pid in set(_children()) - known))


def _children() -> Iterator[int]:
    """Processes that this one started, whatever they are called."""
    for task in Path("/proc/self/task").iterdir():
        yield from map(int, (task / "children").read_text().split())


def private_kib(pid: int) -> int:
    """Memory that is this process's alone, in KiB."""
    rows = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(row.split()[1]) for row in rows if row.startswith(("Private_Clean:", "Private_Dirty:")))
