"""The table of csrc/syscalls.c for readers, and the two counts that matter.

How many calls may a guest pass straight to the kernel, and how many may a sentry make? `sandbox surface` prints both.
"""

from __future__ import annotations

import errno
from typing import NamedTuple

from sandbox._core import Option, Route, Rule, Syscall, guest_rules, sentry_rules, syscalls

__all__ = ["Counts", "counts", "summary", "table"]

EVERY_OPTION = Option.EMPTY_ROOT | Option.PID_NAMESPACE | Option.IPC_NAMESPACE | Option.LOOPBACK
EVERY_OPTION |= Option.NETWORK | Option.PLAIN_LISTEN | Option.NETWORK_NAMESPACE


class Counts(NamedTuple):
    native: int  # always passed to the kernel
    ruled: int  # passed with some arguments, else served
    served: int  # always served
    denied: int  # of those served, always with an error
    refused: int  # answered by the filter
    sentry: int  # calls that a sentry may make
    sentry_ruled: int  # of those, with some arguments only

    @property
    def guest(self) -> int:
        """Calls that a guest may pass straight to the kernel."""
        return self.native + self.ruled


def counts(options: Option = EVERY_OPTION) -> Counts:
    """Counts of the table under a set of options; by default the largest surface there is."""
    routes = [_route(row, options) for row in syscalls()]
    ruled_for_sentry = {rule.nr for rule in sentry_rules()}
    return Counts(
        native=routes.count("native"),
        ruled=routes.count("native by arguments"),
        served=sum(route.startswith("served") for route in routes),
        denied=sum(route.startswith("served:") for route in routes),
        refused=sum(route.startswith("refused") for route in routes),
        sentry=sum(row.sentry for row in syscalls()),
        sentry_ruled=sum(row.sentry and row.nr in ruled_for_sentry for row in syscalls()),
    )


def table(options: Option = EVERY_OPTION) -> str:
    """Every row, and the counts, as text."""
    lines = [f"{'nr':>5} {'call':24} {'sentry':6} {'route':28} reason"]
    for row in syscalls():
        sentry = "may" if row.sentry else ""
        lines.append(f"{row.nr:>5} {row.name:24} {sentry:6} {_route(row, options):28} {row.reason}")
    return "\n".join([*lines, "", summary(options)])


def summary(options: Option = EVERY_OPTION) -> str:
    """The counts in words."""
    total = counts(options)
    return (
        f"A guest may pass {total.guest} calls straight to the kernel: {total.native} always, {total.ruled} with some"
        f" arguments only.\n{total.served} are served, {total.denied} of them always with an error; {total.refused} are"
        " refused by the filter; every other number is ENOSYS.\n"
        f"A sentry may make {total.sentry} calls, {total.sentry_ruled} of them with some arguments only."
    )


def _route(row: Syscall, options: Option) -> str:
    if row.route is Route.REFUSED:
        return f"refused {_errno(row.error)}"
    rules = [rule for rule in guest_rules() if rule.nr == row.nr]
    if row.route is Route.NATIVE and (not rules or any(_always(rule, options) for rule in rules)):
        return "native"
    if any(rule.options in options for rule in rules):
        return "native by arguments"
    return f"served: {_errno(row.error)}" if row.op == "deny" else "served"


def _always(rule: Rule, options: Option) -> bool:
    return rule.options in options and not rule.comparisons


def _errno(number: int) -> str:
    return errno.errorcode.get(number, str(number))
