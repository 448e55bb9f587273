"""Peers that build walls once and then stand aside: namespaces, mounts, filters; and those that translate calls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from .base import Job, Runner, Safety
from .commands import PEERS, CommandRunner, FolderRunner, find, seen

__all__ = ["JAILS"]


def _each(option: str, values: Sequence[str], *, twice: bool = False) -> Iterator[str]:
    return chain.from_iterable([option, value, value] if twice else [option, value] for value in values)


def _bubblewrap(job: Job) -> list[str]:
    top = str(job.directory)
    return [
        *(find("bwrap"), "--unshare-all", "--die-with-parent", "--new-session"),
        *("--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"),
        *_each("--ro-bind", seen(job), twice=True),
        *("--bind", top, top, "--chdir", top),
    ]


def _nsjail(job: Job) -> list[str]:
    devices = [f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom")]
    return [
        *(find("nsjail"), "-Mo", "--really_quiet", "--keep_env", "--disable_rlimits"),
        *("--time_limit", "0", "--nice_level", "0", "--tmpfsmount", "/tmp", "--tmpfsmount", "/dev/shm"),
        *_each("--bindmount", devices),
        *_each("--bindmount_ro", seen(job)),
        *("--bindmount", str(job.directory), "--cwd", str(job.directory), "--"),
    ]


def _nsjail_version(_: str) -> str:
    """It says none itself; install_peers.sh writes down what it has put there."""
    note = PEERS / "nsjail.version"
    return note.read_text().strip() if note.exists() else "of unknown version"


def _firejail(job: Job) -> list[str]:
    top = str(job.directory)
    return [
        *(find("firejail"), "--quiet", "--noprofile", "--net=none", "--caps.drop=all", "--nonewprivs", "--seccomp"),
        *("--keep-var-tmp", "--private-tmp", "--read-only=/", f"--read-write={top}", f"--private-cwd={top}", "--"),
    ]


def _gvisor(job: Job) -> list[str]:
    return [
        *(find("runsc"), "--network=none", "--platform=systrap", "--ignore-cgroups"),
        *("do", "-quiet", "-force-overlay=false", "-cwd", str(job.directory)),
    ]


def _proot(job: Job, root: Path) -> list[str]:
    shown = [*seen(job), "/proc", "/dev", "/tmp", str(job.directory)]
    return [find("proot"), "-r", str(root), *_each("-b", shown), "-w", str(job.directory), *job.command]


def _by_mounts(reach: str, *reaches: str) -> Safety:
    return Safety("by mounts, once, at the start", "by a network namespace, all or none", "no", reach, reaches)


_GRANTED = ("the system's directories to read, the job's to write, all of the host's kernel", "shadow")
JAILS: tuple[Runner, ...] = (
    CommandRunner("bubblewrap", "bwrap", _bubblewrap, _by_mounts(*_GRANTED)),
    CommandRunner("nsjail", "nsjail", _nsjail, _by_mounts(*_GRANTED), says=_nsjail_version),
    CommandRunner(
        "firejail",
        "firejail",
        _firejail,
        _by_mounts("every file of the host to read, the job's to write; its kernel but for a list of calls", "read", "shadow"),
    ),
    CommandRunner(
        "gvisor",
        "runsc",
        _gvisor,
        Safety(
            "every call, by a kernel of its own",
            "every call, by a network stack of its own",
            "no",
            "every file of the host to read and write: the overlay of `do` is off, so that results can be compared",
            ("read", "write", "shadow"),
        ),
    ),
    FolderRunner(
        "proot",
        "proot",
        lambda _: (),
        Safety(
            "paths are translated, nothing is refused",
            "no",
            "no",
            "what its user can: it says that it is no wall",
            ("shadow", "loopback", "see", "end"),
        ),
        outside=True,
        whole=_proot,
    ),
)
