"""The C programs of guests/, built once into build/."""

from __future__ import annotations

import subprocess
from pathlib import Path

__all__ = ["BUILD", "HERE", "build"]

HERE = Path(__file__).resolve().parent
BUILD = HERE / "build"
FLAGS = ["-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror", "-static"]
PROGRAMS = {"calls": ["calls.c", "calls_table.c"], "floor": ["floor.c"]}


def build(name: str) -> Path:
    """The path of that program, compiled anew if its source is newer."""
    sources = [HERE / "guests" / source for source in PROGRAMS[name]]
    program = BUILD / name
    if not program.exists() or any(source.stat().st_mtime > program.stat().st_mtime for source in sources):
        BUILD.mkdir(exist_ok=True)
        subprocess.run(["gcc", *FLAGS, "-o", str(program), *map(str, sources)], check=True)
    return program
