"""csrc/core.h becomes the module sandbox._ffi: the header itself is the cdef."""

from __future__ import annotations

import re
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).resolve().parent
# The mechanism that the Supervisor's side shares with the sentry, and what only the Supervisor needs.
SOURCES = ["syscalls.c", "rules.c", "plan.c", "sweep.c", "spawn.c", "send.c", "drain.c"]


def declarations(header: str) -> str:
    """The header without its guard and includes, of the preprocessor only `#define NAME number`."""
    header = re.sub(r"/\*.*?\*/", " ", header, flags=re.DOTALL)
    kept = []
    for line in header.splitlines():
        if not line.startswith("#"):
            kept.append(line)
        elif match := re.fullmatch(r"#define (\w+) (\d+|0x[0-9a-fA-F]+)\s*", line):
            kept.append(f"#define {match[1]} {match[2]}")
    return "\n".join(kept)


builder = FFI()
builder.cdef(declarations((HERE / "core.h").read_text()))
builder.set_source(
    "sandbox._ffi",
    '#include "core.h"',
    sources=[f"csrc/{name}" for name in SOURCES],  # relative to setup.py, as setuptools wants
    include_dirs=["csrc"],
    depends=[f"csrc/{path.name}" for path in HERE.glob("*.h")],
    define_macros=[("_GNU_SOURCE", None)],
    extra_compile_args=["-std=gnu11", "-O2", "-fstack-protector-strong"],
)
