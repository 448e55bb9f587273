"""A program that was loaded by the stub finds everything about itself as the kernel would have left it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.helpers import Twin

SOURCE = Path(__file__).with_name("native") / "stub_facts.c"
WAYS = {
    "pie": ["gcc"],
    "fixed address": ["gcc", "-no-pie"],
    "static": ["gcc", "-static"],
    "static pie": ["gcc", "-static-pie"],
    "executable stack": ["gcc", "-zexecstack"],
    "large pages": ["gcc", "-Wl,-z,max-page-size=0x200000"],
    "large pages, static": ["gcc", "-static", "-Wl,-z,max-page-size=0x200000"],
    "one segment of code": ["gcc", "-Wl,-z,noseparate-code"],
    "musl": ["musl-gcc"],
    "musl, static": ["musl-gcc", "-static"],
}
ENV = {"ONE": "1", "LONG": "x" * 3000}


def facts(twin: Twin, way: str, name: str = "facts") -> Path:
    """The program, linked in one of WAYS, in both directories."""
    if shutil.which(WAYS[way][0]) is None:
        pytest.skip(f"no {WAYS[way][0]} on this machine")
    subprocess.run([*WAYS[way], "-O1", "-o", str(twin.here / name), str(SOURCE)], check=True)
    shutil.copy2(twin.here / name, twin.there / name)
    return twin.here / name


def without_random_heap(output: bytes) -> bytes:
    """Linux puts the heap of a static-pie elsewhere than behind it; we behind it."""
    return output.replace(b"heap behind the program 0", b"heap behind the program 1")


@pytest.mark.parametrize("way", WAYS)
def test_program(twin: Twin, way: str) -> None:
    program = facts(twin, way)
    twin.same([program, "one", "two words", "", "y" * 5000], status=7, env=ENV, normal=without_random_heap)


@pytest.mark.parametrize("depth", range(1, 7))
def test_script(twin: Twin, depth: int) -> None:
    """argv and the strings of nested scripts, which the stub puts on the stack; six are too many."""
    facts(twin, "pie", "level0")
    for level in range(1, depth + 1):
        twin.write(f"level{level}", f"#!{twin.here}/level{level - 1} {'argument ' * (level % 2)}\n", 0o755)
    status = 7 if depth < 6 else 127  # the shell says why, in its own words
    twin.same(f"./level{depth} one 'two words' ''", status=status, env=ENV, normal=without_random_heap)


def test_script_with_long_strings(twin: Twin) -> None:
    """The longest prefix moves the initial stack down by the most."""
    folder = twin.here
    for _ in range(15):
        folder = folder / ("d" * 250)
    folder.mkdir(parents=True)
    path = folder / "script"
    (twin.there / path.relative_to(twin.here)).parent.mkdir(parents=True)
    facts(twin, "static", "level0")
    twin.write(str(path.relative_to(twin.here)), f"#!{twin.here}/level0 {'a' * 150}\n", 0o755)
    twin.same([path, "one"], status=7, normal=without_random_heap)
    twin.same(["/usr/bin/env", "-i", path], status=7, normal=without_random_heap)
