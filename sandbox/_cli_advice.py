"""What doctor says to do about what is missing: the first row of a table that fits what this machine says of itself."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import NamedTuple

_PROC = "/proc/sys/"


def read(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


def _is(name: str, *values: str) -> Callable[[int], bool]:
    return lambda _: read(_PROC + name) in values


def _error(*numbers: int) -> Callable[[int], bool]:
    return lambda number: number in numbers


def _filtered(_: int) -> bool:
    lines = read("/proc/self/status").splitlines()
    return any(line.split() == ["Seccomp:", "2"] for line in lines)


def _always(_: int) -> bool:
    return True


class Row(NamedTuple):
    things: tuple[str, ...]
    fits: Callable[[int], bool]
    do: str


_NAMESPACES = ("userns", "pidns", "netns", "ipcns", "utsns", "mountns")
_LANDLOCK = ("landlock", "landlock-scope")
_CGROUP = ("cgroup",)
_RUN = ("commands",)

_ROWS = (
    Row(_NAMESPACES, _is("user/max_user_namespaces", "0"), "sysctl user.max_user_namespaces=10000"),
    Row(_NAMESPACES, _is("kernel/unprivileged_userns_clone", "0"), "sysctl kernel.unprivileged_userns_clone=1"),
    Row(
        _NAMESPACES,
        _is("kernel/apparmor_restrict_unprivileged_userns", "1"),
        "give this interpreter an AppArmor profile with `userns,`, or sysctl "
        "kernel.apparmor_restrict_unprivileged_userns=0",
    ),
    Row(_NAMESPACES, _error(errno.ENOSPC, errno.EUSERS), "raise the limits in /proc/sys/user (max_*_namespaces)"),
    Row(_NAMESPACES, _error(errno.ENOSYS, errno.EINVAL), "a kernel with CONFIG_NAMESPACES and CONFIG_USER_NS"),
    Row(
        _NAMESPACES,
        _filtered,
        "this process is under a filter, probably a container's: let it make namespaces and mounts (docker: "
        "--security-opt seccomp=unconfined --security-opt systempaths=unconfined, or a profile that allows it)",
    ),
    Row(
        ("mountns", "pidns"),
        _error(errno.EPERM, errno.EACCES),
        "let this user make user namespaces, and mount in them: a container must not cover parts of /proc (docker: "
        "--security-opt systempaths=unconfined)",
    ),
    Row(_NAMESPACES, _always, "let this user make user namespaces, or run with CAP_SYS_ADMIN"),
    Row(
        _LANDLOCK,
        _error(errno.EOPNOTSUPP),
        "Landlock is built in and not switched on: add landlock to lsm= on the kernel's command line",
    ),
    Row(
        ("landlock",),
        _filtered,
        "Linux 5.13 or later; this process is under a filter, probably a container's, that must allow landlock_*",
    ),
    Row(("landlock",), _always, "Linux 5.13 or later, with CONFIG_SECURITY_LANDLOCK"),
    Row(("landlock-scope",), _always, "Linux 6.12 or later (Landlock ABI 6)"),
    Row(
        _CGROUP,
        _always,
        "a cgroup that can be written: as root, or by systemd-run --user --scope -p Delegate=yes; version 2 needs "
        "memory and pids in its cgroup.subtree_control",
    ),
    Row(("pidfd_getfd",), _always, "works without, only slower; a container's filter would have to allow pidfd_getfd"),
    Row(_RUN, _is("kernel/yama/ptrace_scope", "2", "3"), "sysctl kernel.yama.ptrace_scope=1 (3 stays until a reboot)"),
    Row(
        _RUN,
        _filtered,
        "this process is under a filter, probably a container's: it must allow seccomp, clone3, pidfd_* and "
        "process_vm_* (docker: --security-opt seccomp=unconfined)",
    ),
    Row(_RUN, _error(errno.ENOENT, errno.EACCES), "install the package anew, where programs may be executed"),
    Row(_RUN, _always, "x86_64 Linux 5.19 or later, with CONFIG_SECCOMP_FILTER"),
)


def advise(thing: str, error: int = 0) -> str:
    """What to do about a wall, a limit, `pidfd_getfd` or `commands` that failed with an errno; empty where nobody can.

    >>> advise("landlock-scope")
    'Linux 6.12 or later (Landlock ABI 6)'
    """
    return next((row.do for row in _ROWS if thing in row.things and row.fits(error)), "")
