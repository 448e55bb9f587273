"""sandbox audit: its options. Exit status: 0; 1 where --verify finds what is not whole; 125 where a file cannot be
read, or is broken and was read up to that place."""

from __future__ import annotations

import argparse
from typing import Any


def add(commands: Any) -> None:
    parser = commands.add_parser("audit", help="print, sum up or verify audit files")
    parser.add_argument("files", nargs="*", metavar="FILE", help="files of a rotated trail: the oldest first")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--summary", action="store_true", help="a table by call, access, directory, verdict and time")
    what.add_argument("--verify", action="store_true", help="is it what was written, and whole?")
    what.add_argument("--schema", action="store_true", help="print the JSON Schema of --json")
    parser.add_argument("--json", action="store_true", help="JSON lines")
    parser.add_argument("--pid", type=int, help="only calls of this thread")
    parser.add_argument("--call", help="only this system call, by name")
    parser.add_argument("--path", help="only calls with this text in a path")
    parser.add_argument("--verdict", choices=("done", "failed", "denied", "damaged"), help="only calls so ended")


def run(options: argparse.Namespace) -> int:
    from . import _cli_audit_modes  # here: every `sandbox run` would pay for it

    return _cli_audit_modes.run(options)
