"""sandbox explain: its options. Exit status: 0 allowed; 1 refused, fails or depends; 125 where it cannot be said."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ._console import show
from ._errors import SandboxError
from ._explain.explain import CALLS, MODES, MOVES
from ._policy import Policy
from ._supervisor import start_guest

_STYLES = {
    r"\A.*: ": "bold",
    r"(?m)(?<=: )allowed$": "bold green",
    r"(?m)(?<=: )refused E\w+$": "bold red",
    r"(?m)(?<=: )(fails E\w+|depends)$": "yellow",
    r"(?m)^  [a-z ]+: +": "dim",
}
_USAGE = "sandbox explain [options] CALL WHAT [MODE or TO]"


def add(commands: Any, grants: Callable[[argparse.ArgumentParser], None]) -> None:
    """`grants` adds the options of a policy."""
    parser = commands.add_parser("explain", help="what a policy says of one call, and why", usage=_USAGE)
    grants(parser)
    parser.add_argument("--cwd", metavar="DIR", default="/work", help="where a relative path starts")
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    parser.add_argument("call", metavar="CALL", choices=CALLS, help=", ".join(CALLS))
    parser.add_argument("subject", metavar="WHAT", help="a guest path, HOST:PORT, a name, or 'METHOD URL'")
    text = "of open as Python's: r, w, a, x, +; of access: r, w, x; of link and rename: the new path"
    parser.add_argument("detail", metavar="MODE", nargs="?", help=text)


def run(options: argparse.Namespace, policy: Policy) -> int:
    if options.detail is not None and options.call not in (*MODES, *MOVES):
        raise ValueError(f"explain {options.call}: has no mode and no other path")
    key = "to" if options.call in MOVES else "mode"
    detail = {} if options.detail is None else {key: options.detail}
    said = policy.explain(options.call, options.subject, **detail, cwd=options.cwd)
    if options.json:
        print(said.to_json())
    else:
        show(said.text(standing() if said.decision == "refused" else ()), _STYLES)
    return 0 if said.allowed else 1


def standing() -> tuple[str, ...] | None:
    """The walls that stand on this machine, as a guest shows; None where none can be made."""
    with suppress(SandboxError, OSError):
        guest = start_guest(Policy())
        try:
            guest.wait_ready()
            return guest.walls
        finally:
            guest.end()
            guest.wait_ended()
    return None
