"""Seccomp programs, composed from the table of csrc/syscalls.c with libseccomp.

A guest wears two. The outer one, put on first, knows which calls exist: everything else is ENOSYS. The listener's lets
pass what is native with the arguments at hand, gives the refusals their errno (seccomp(2) itself is one, which is why
they are here) and notifies everything else. The kernel takes the stricter answer of the two. In both, another
architecture and x32 numbers kill.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from functools import cache
from typing import Any

try:
    import pyseccomp as seccomp
except ImportError:  # Debian's module: the same functions
    import seccomp

from sandbox._core import Option, Route, Rule, guest_rules, sentry_rules, syscalls

__all__ = ["guest_programs", "proxy_program", "sentry_program"]

ALL = 0xFFFFFFFFFFFFFFFF


def guest_programs(options: int) -> tuple[bytes, bytes]:
    """The listener's program and the outer one, for a set of Option."""
    return _listener(int(options)), _outer()


@cache
def sentry_program() -> bytes:
    """What a sentry may do once it serves."""
    program = _program(seccomp.ERRNO(errno.ENOSYS))
    rules = _by_call(sentry_rules())
    for row in syscalls():
        if row.sentry:
            _allow(program, row.nr, rules.get(row.nr))
    return _export(program)


_PROXY: dict[str, tuple[tuple[int, int, int], ...]] = {
    **dict.fromkeys(("read", "write", "recvfrom", "recvmsg", "shutdown", "close", "getsockopt"), ()),
    **dict.fromkeys(("getsockname", "getpeername", "epoll_wait", "epoll_pwait", "epoll_ctl", "poll"), ()),
    **dict.fromkeys(("brk", "munmap", "mremap", "madvise", "futex", "clock_gettime", "clock_nanosleep"), ()),
    **dict.fromkeys(("getrandom", "rt_sigprocmask", "rt_sigreturn", "exit", "exit_group", "sched_yield"), ()),
    **dict.fromkeys(("getpid", "gettid", "restart_syscall"), ()),
    "sendto": ((4, ALL, 0),),  # no address: with MSG_FASTOPEN a socket that was reset would connect to it
    "setsockopt": ((1, ALL, 1), (2, ALL, 13)),  # SO_LINGER
    "ioctl": ((1, 0xFFFFFFFF, 0x5421),),  # FIONBIO
    "mmap": ((2, 4, 0), (3, 1, 0)),  # nothing that is executed, or shared, which no limit on data counts
    "mprotect": ((2, 4, 0),),
}
"""Calls of an HTTP proxy, and what their arguments must be: number, mask, value."""


@cache
def proxy_program() -> bytes:
    """What the HTTP proxy of a guest may do when it has begun: speak by the descriptors that it has and is given."""
    program = _program(seccomp.ERRNO(errno.ENOSYS))
    for name, comparisons in _PROXY.items():
        program.add_rule_exactly(seccomp.ALLOW, name, *(_compare(*each) for each in comparisons))
    return _export(program)


@cache
def _listener(options: int) -> bytes:
    program = _program(seccomp.NOTIFY)
    every = _by_call(guest_rules())
    for row in syscalls():
        if row.route is Route.NATIVE:
            rules = every.get(row.nr)
            _allow(program, row.nr, rules and [rule for rule in rules if rule.options in Option(options)])
        elif row.route is Route.REFUSED and row.error != errno.ENOSYS:
            program.add_rule_exactly(seccomp.ERRNO(row.error), row.nr)
    return _export(program)


@cache
def _outer() -> bytes:
    program = _program(seccomp.ERRNO(errno.ENOSYS))
    for row in syscalls():
        if row.route is not Route.REFUSED or row.error != errno.ENOSYS:
            program.add_rule_exactly(seccomp.ALLOW, row.nr)
    return _export(program)


def _by_call(rules: Iterable[Rule]) -> dict[int, list[Rule]]:
    table: dict[int, list[Rule]] = {}
    for rule in rules:
        table.setdefault(rule.nr, []).append(rule)
    return table


def _allow(program: Any, nr: int, rules: list[Rule] | None) -> None:
    """Allow a call: always (None, or a rule that compares nothing), or under each of the rules, or under none."""
    if rules is None or any(not rule.comparisons for rule in rules):
        program.add_rule_exactly(seccomp.ALLOW, nr)
        return
    for rule in rules:
        program.add_rule_exactly(seccomp.ALLOW, nr, *(_compare(*each) for each in rule.comparisons))


def _compare(arg: int, mask: int, value: int) -> Any:
    if mask == ALL:
        return seccomp.Arg(arg, seccomp.EQ, value)
    return seccomp.Arg(arg, seccomp.MASKED_EQ, mask, value)


def _program(default: int) -> Any:
    program = seccomp.SyscallFilter(default)
    program.set_attr(seccomp.Attr.ACT_BADARCH, seccomp.KILL_PROCESS)
    if hasattr(seccomp.Attr, "CTL_OPTIMIZE"):  # a tree instead of a list, libseccomp 2.5
        program.set_attr(seccomp.Attr.CTL_OPTIMIZE, 2)
    return program


def _export(program: Any) -> bytes:
    fd = os.memfd_create("seccomp", os.MFD_CLOEXEC)
    with open(fd, "w+b") as file:
        program.export_bpf(file)
        return os.pread(fd, os.fstat(fd).st_size, 0)
