"""What a run was made on: as pyperf collects it, without what names the machine or the interpreter's build."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyperf  # type: ignore[import-untyped]

from ._build import HERE

__all__ = ["describe"]

LEFT_OUT = {
    "hostname",
    "python_executable",
    "python_cflags",
    "python_config_args",
    "mem_max_rss",
    "perf_version",
    "date",
}
TOOLS = {
    **dict.fromkeys(("gcc", "git", "make", "node", "npm", "redis-server", "valgrind", "strace"), "--version"),
    **dict.fromkeys(("nginx", "wrk"), "-v"),
}


def describe() -> dict[str, Any]:
    collected = pyperf.Run([1.0]).get_metadata()
    about = {name: value for name, value in collected.items() if name not in LEFT_OUT}
    return {
        "revision": _revision(),
        "kernel": platform.release(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_mib": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20,
        "uid": os.getuid(),
        "distribution": _distribution(),
        "steadiness": _steadiness(),
        "tools": {tool: version for tool, option in TOOLS.items() if (version := _said(tool, option))},
        **about,
    }


def _revision() -> str:
    """Of this tree; "unknown" where it is no checkout."""
    said = subprocess.run(["git", "-C", str(HERE), "describe", "--always", "--dirty", "--abbrev=12"], capture_output=True, text=True)
    return said.stdout.strip() or "unknown"


def _distribution() -> str:
    rows = Path("/etc/os-release").read_text().splitlines() if Path("/etc/os-release").exists() else []
    return next((row.partition("=")[2].strip('"') for row in rows if row.startswith("PRETTY_NAME=")), "unknown")


def _steadiness() -> list[str]:
    """What pyperf finds of the system that makes figures unsteady, and what it would change."""
    said = subprocess.run([sys.executable, "-m", "pyperf", "system", "show"], capture_output=True, text=True).stdout
    return [line for line in said.splitlines() if ": " in line]


def _said(program: str, *arguments: str) -> str:
    """The first line; "": it is not here. wrk tells its version with status 1."""
    try:
        said = subprocess.run([program, *arguments], capture_output=True, text=True)
    except OSError:
        return ""
    return (said.stdout or said.stderr).partition("\n")[0].strip()[:80]
