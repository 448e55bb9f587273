"""Run a command on a kernel that refuses something:

    python -m tests.refusing NAME... -- COMMAND...

Everything that COMMAND starts is refused, too: the Supervisor, the sentry and the guest."""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

try:
    import pyseccomp as seccomp
except ImportError:
    import seccomp  # type: ignore[no-redef]

NAMESPACES = {
    "newcgroup": 0x02000000,
    "newuts": 0x04000000,
    "newipc": 0x08000000,
    "newuser": 0x10000000,
    "newpid": 0x20000000,
    "newnet": 0x40000000,
    "newns": 0x00020000,
}
SYNC_WAKE_UP = 0x40082104  # SECCOMP_IOCTL_NOTIF_SET_FLAGS
EXECVE_CHECK = 0x10000
MOUNTS = ("mount", "umount2", "pivot_root", "open_tree", "move_mount", "fsopen", "fsmount", "mount_setattr")
LANDLOCK = (444, 445, 446)
NEWEST_OF_5_19 = 450

Rule = tuple[Any, ...]  # call, errno, comparisons...


def _bits(call: str, flags: int) -> Rule:
    return (call, errno.EPERM, seccomp.Arg(0, seccomp.MASKED_EQ, flags, flags))


def _rules(name: str) -> Iterator[Rule]:
    if name == "namespaces":
        yield ("unshare", errno.EPERM)
        yield ("setns", errno.EPERM)
        yield ("clone3", errno.ENOSYS)
        for flags in NAMESPACES.values():
            yield _bits("clone", flags)
    elif name == "pretended":
        yield ("unshare", 0)
    elif name in NAMESPACES:
        yield ("clone3", errno.ENOSYS)
        yield _bits("clone", NAMESPACES[name])
        yield _bits("unshare", NAMESPACES[name])
    elif name == "mounts":
        for call in MOUNTS:
            yield (call, errno.EPERM)
    elif name == "landlock":
        for number in LANDLOCK:
            yield (number, errno.ENOSYS)
    elif name == "landlock-off":  # compiled in, not enabled
        yield (444, errno.EOPNOTSUPP)
    elif name == "pidfd_getfd":
        yield ("pidfd_getfd", errno.EPERM)
    elif name == "sync_wake_up":
        yield ("ioctl", errno.EINVAL, seccomp.Arg(1, seccomp.MASKED_EQ, 0xFFFFFFFF, SYNC_WAKE_UP))
    elif name == "execve_check":
        yield ("execveat", errno.EINVAL, seccomp.Arg(4, seccomp.MASKED_EQ, EXECVE_CHECK, EXECVE_CHECK))
    elif name == "newer":  # every call that Linux 5.19 does not have
        for number in range(NEWEST_OF_5_19 + 1, 480):
            yield (number, errno.ENOSYS)
    else:
        raise SystemExit(f"cannot refuse {name}")


def hide_cgroups() -> None:
    """Nobody below us finds a cgroup to write; needs root."""
    if os.getuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    made = libc.unshare(NAMESPACES["newns"]) == 0 and libc.mount(b"none", b"/", None, 0x44000, None) == 0
    if not made or libc.mount(b"none", b"/sys/fs/cgroup", b"tmpfs", 1, None) != 0:
        raise SystemExit(f"cannot hide cgroups: {os.strerror(ctypes.get_errno())}")


ALL = (*NAMESPACES, "namespaces", "mounts", "landlock", "landlock-off", "pidfd_getfd", "sync_wake_up", "execve_check", "newer", "cgroup")


def refuse(*names: str) -> None:
    """Load the filters into this process."""
    for name in names:
        if name == "cgroup":
            hide_cgroups()
            continue
        rules = seccomp.SyscallFilter(seccomp.ALLOW)
        for call, error, *comparisons in _rules(name):
            rules.add_rule(seccomp.ERRNO(error), call, *comparisons)
        rules.load()


def old_landlock() -> Path:
    """A program that makes its command believe in an older Landlock: old_landlock ABI COMMAND..."""
    source = Path(__file__).with_name("old_landlock.c")
    program = Path(tempfile.mkdtemp(prefix="sandbox-old-landlock-")) / "old_landlock"
    compiler = ["gcc", "-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-O1", "-o", str(program), str(source)]
    subprocess.run(compiler, check=True)
    program.parent.chmod(0o755)
    return program


def main() -> None:
    at = sys.argv.index("--")
    refuse(*sys.argv[1:at])
    os.execvp(sys.argv[at + 1], sys.argv[at + 1 :])


if __name__ == "__main__":
    main()
