"""sandbox learn: its options. Exit status: the command's, 128+n for signal n; 125 to 127 as of sandbox run."""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ._errors import PolicyError
from ._paths import printable

if TYPE_CHECKING:
    from ._learn import Learned

CANNOT_RUN, NOT_FOUND = 126, 127


def add(commands: Any, assignment: Callable[[str], tuple[str, str]]) -> None:
    usage = "sandbox learn [options] -- command [argument ...]"
    parser = commands.add_parser("learn", help="run a trusted command natively and derive its policy", usage=usage)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("-o", "--output", metavar="FILE", help="write the policy there")
    where.add_argument("--into", metavar="FILE", help="merge with the policy there, and write it back")
    parser.add_argument("--merge", action="append", default=[], metavar="FILE", help="grant what that grants, too")
    parser.add_argument("--dry-run", action="store_true", help="write nothing; print what would change in FILE")
    parser.add_argument("--cwd", metavar="DIR", help="where the command runs; else here")
    variable = {"type": assignment, "metavar": "NAME=VALUE", "help": "set a variable for the command"}
    parser.add_argument("--env", action="append", default=[], **variable)
    parser.add_argument("--stop-after", type=float, metavar="S", help="end the command after S seconds by SIGTERM")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="what runs, behind --")


def run(options: argparse.Namespace) -> int:
    from ._learn import learn  # here: every `sandbox run` would pay for it

    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        raise PolicyError("learn: there is no command")
    target = options.output or options.into
    if options.dry_run and not (target or options.merge):
        raise PolicyError("learn: --dry-run needs -o, --into or --merge")
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's goes to the command, and it decides
    try:
        env = {**os.environ, **dict(options.env)}
        learned = learn(command, cwd=options.cwd, env=env, stop_after=options.stop_after, _chosen=dict(options.env))
    except OSError as error:
        print(f"sandbox: {printable(os.fsdecode(error.filename or command[0]))}: {error.strerror}", file=sys.stderr)
        return NOT_FOUND if error.errno == errno.ENOENT else CANNOT_RUN
    finally:
        signal.signal(signal.SIGINT, before)
    for path in (*options.merge, *([options.into] if options.into and os.path.exists(options.into) else [])):
        learned = learned.merge_file(path)
    if options.dry_run:
        print(learned.difference(target or options.merge[-1]), end="")
    else:
        _write(learned, target)
    return learned.returncode if learned.returncode >= 0 else 128 - learned.returncode


def _write(learned: Learned, target: str | None) -> None:
    """All of it or nothing."""
    if target is None:
        print(learned.to_toml(), end="")
        return
    try:
        folder = os.path.dirname(target) or "."
        with tempfile.NamedTemporaryFile("w", dir=folder, encoding="utf-8", delete=False) as file:
            file.write(learned.to_toml())
        os.chmod(file.name, 0o644)
        os.replace(file.name, target)
    except OSError as error:
        raise PolicyError(f"{target}: {error.strerror}") from None


