"""Runs one function on many inputs: the kept seeds first, then for a time what atheris finds by coverage, or, where it
is not installed, what hypothesis draws and makes of the seeds. Usage of a target: fuzz_<name>.py SECONDS."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

try:
    import atheris
except ImportError:
    atheris = None

HERE = Path(__file__).resolve().parent


class Input:
    """Bytes taken one after the other; when none are left, zeros."""

    def __init__(self, data: bytes) -> None:
        self.left = data

    def take(self, size: int) -> bytes:
        taken, self.left = self.left[:size], self.left[size:]
        return taken

    def number(self, size: int = 1, signed: bool = False) -> int:
        return int.from_bytes(self.take(size).ljust(size, b"\0"), "little", signed=signed)

    def rest(self) -> bytes:
        taken, self.left = self.left, b""
        return taken


def instrumented() -> AbstractContextManager[object]:
    """Around the imports of what is to be covered."""
    return atheris.instrument_imports(include=["sandbox"]) if atheris else nullcontext()


def lowest_free() -> int:
    """The lowest free descriptor number: it moves where something was left open."""
    fd = os.dup(0)
    os.close(fd)
    return fd


def run(name: str, test: Callable[[bytes], None]) -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    seeds = [path.read_bytes() for path in sorted((HERE / "corpus" / name).iterdir())]
    for seed in seeds:
        test(seed)
    if seconds <= 0:
        return
    if atheris:
        found = HERE / "build" / "corpus" / name
        found.mkdir(parents=True, exist_ok=True)
        limits = [f"-max_total_time={int(seconds)}", "-timeout=10", f"-artifact_prefix={HERE}/build/crashes/{name}-"]
        atheris.Setup([name, *limits, str(found), str(HERE / "corpus" / name)], test)
        atheris.Fuzz()
    else:
        _draw(seconds, seeds, test)


def _draw(seconds: float, seeds: list[bytes], test: Callable[[bytes], None]) -> None:
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st

    edits = st.lists(st.tuples(st.integers(0, 400), st.binary(max_size=9)), max_size=4)
    runs, end = 0, time.monotonic() + seconds

    def edited(seed: bytes, changes: list[tuple[int, bytes]]) -> bytes:
        for at, new in changes:
            seed = seed[:at] + new + seed[at + len(new) :]
        return seed

    @settings(max_examples=500, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.one_of(st.binary(max_size=4096), st.builds(edited, st.sampled_from(seeds), edits)))
    def once(data: bytes) -> None:
        nonlocal runs
        runs += 1
        test(data)

    while time.monotonic() < end:
        once()
    print(f"Done {runs} runs in {seconds:.0f} second(s)")
