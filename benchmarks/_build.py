"""The C programs of guests/, built once into build/."""

from __future__ import annotations

import subprocess
from pathlib import Path

__all__ = ["BUILD", "HERE", "build", "compile_c"]

HERE = Path(__file__).resolve().parent
BUILD = HERE / "build"
FLAGS = ("-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror", "-static", "-pthread")
PROGRAMS = {
    "calls": ("calls.c", "calls_files.c", "calls_network.c", "calls_other.c", "modes.c"),
    "floor": ("floor.c", "floor_network.c"),
}


def compile_c(program: Path, command: list[str], depends: list[Path]) -> Path:
    """`command -o program`, unless the program is newer than all that it depends on. Moved into place: another run may use it."""
    newest = max(path.stat().st_mtime for path in depends)
    if not program.exists() or newest > program.stat().st_mtime:
        program.parent.mkdir(exist_ok=True)
        fresh = program.with_suffix(".new")
        subprocess.run([*command, "-o", str(fresh)], check=True)
        fresh.replace(program)
    return program


def build(name: str) -> Path:
    """The path of that guest program, compiled anew if a source is newer."""
    sources = [HERE / "guests" / source for source in PROGRAMS[name]]
    return compile_c(BUILD / name, ["gcc", *FLAGS, *map(str, sources)], [*sources, *(HERE / "guests").glob("*.h")])
