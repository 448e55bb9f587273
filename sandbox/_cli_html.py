"""sandbox report: a page of HTML made of audit files. Exit status: 0; 125 where a file cannot be read, or is broken and
the page shows what is before that place."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from ._errors import SandboxError


def add(commands: Any) -> None:
    parser = commands.add_parser("report", help="make one HTML page of audit files")
    parser.add_argument("files", nargs="+", metavar="FILE", help="files of a rotated trail: the oldest first")
    parser.add_argument("-o", "--output", metavar="FILE", help="where the page goes; else to the standard output")


def run(options: argparse.Namespace) -> int:
    from ._report.report import Report  # here: every `sandbox run` would pay for it

    report = Report()
    try:
        _check_output(options)
        report.read(options.files)
        _write(report, options.output)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise SandboxError(f"{error.filename or options.output or 'report'}: {error.strerror}") from None
    if report.damage is not None:
        raise report.damage
    return 0


def _check_output(options: argparse.Namespace) -> None:
    if options.output is None or not os.path.exists(options.output):
        return
    for name in options.files:
        if os.path.samefile(name, options.output):
            raise SandboxError(f"report: {name}: is the trail, and cannot be the page too")


def _write(report: Any, output: str | None) -> None:
    from ._report.page import page

    if output is None:
        sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
        sys.stdout.writelines(page(report))
        return
    with open(output, "w", encoding="utf-8", newline="\n") as file:
        file.writelines(page(report))
