"""The rows and argument rules of csrc/syscalls.c and csrc/rules.c."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from .binding import ffi, lib, text
from .enums import Option, Route


@dataclass(frozen=True)
class Syscall:
    """One row: `op` and `roles` are the names of csrc/core.h without their prefix, in lower case."""

    nr: int
    name: str
    route: Route
    op: str
    sentry: bool
    error: int
    roles: tuple[str, ...]
    preset: int
    reason: str


class Comparison(NamedTuple):
    """(argument & mask) == value."""

    arg: int
    mask: int
    value: int


class Rule(NamedTuple):
    """One alternative under which a call passes: all comparisons hold, and all `options` stand."""

    nr: int
    options: Option
    comparisons: tuple[Comparison, ...]


def _elements(enum: str, prefix: str) -> dict[int, str]:
    return {value: name[len(prefix) :].lower() for value, name in ffi.typeof(enum).elements.items()}


@cache
def syscalls() -> tuple[Syscall, ...]:
    """Every row of the table, sorted by number."""
    ops = _elements("enum sbx_op", "SBX_OP_")
    roles = _elements("enum sbx_role", "SBX_ROLE_")
    count = ffi.new("uint32_t *")
    rows = lib.sbx_syscalls(count)
    return tuple(
        Syscall(
            nr=row.nr,
            name=text(row.name),
            route=Route(row.route),
            op=ops[row.op],
            sentry=bool(row.sentry),
            error=row.error,
            roles=tuple(roles[role] for role in row.role),
            preset=row.preset,
            reason=text(row.reason),
        )
        for row in (rows[i] for i in range(count[0]))
    )


def _rules(rows: Any, count: int) -> tuple[Rule, ...]:
    return tuple(
        Rule(
            row.nr,
            Option(row.options),
            tuple(Comparison(c.arg, c.mask, c.value) for c in (row.compare[i] for i in range(row.count))),
        )
        for row in (rows[i] for i in range(count))
    )


@cache
def guest_rules() -> tuple[Rule, ...]:
    """When a native call of a guest passes; a native row without a rule always does."""
    count = ffi.new("uint32_t *")
    return _rules(lib.sbx_argument_rules(count), count[0])


@cache
def sentry_rules() -> tuple[Rule, ...]:
    """When a call of a sentry passes; a row marked `sentry` without a rule always does."""
    count = ffi.new("uint32_t *")
    return _rules(lib.sbx_sentry_rules(count), count[0])
