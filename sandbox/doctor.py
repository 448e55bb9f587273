"""What stands here and what does not: kernel, walls, limits, and what a broken sentry would reach.
`python -m sandbox doctor` prints it."""

from __future__ import annotations

import json
import os
import platform
import secrets
from dataclasses import asdict, dataclass
from typing import Any

from . import _cgroup, _core
from ._errors import SandboxError
from ._messages import WALLS
from ._policy import Policy
from ._run import run
from ._supervisor import start_guest

_FEATURES = (
    ("5.19", "signals do not interrupt a call that is being served (WAIT_KILLABLE_RECV)"),
    ("6.6", "a served call stays on its processor (SYNC_WAKE_UP)"),
    ("6.12", "no answered call is restarted (cce436aafc2a, or a kernel that has it)"),
    ("6.14", "running a program that is being written fails with ETXTBSY (AT_EXECVE_CHECK)"),
)


@dataclass(frozen=True)
class Report:
    """`walls` has an empty text for a wall that stands, else the reason why not; `limits` says what keeps each limit;
    `reach` is what a sentry that a guest has taken over could do. `error` is empty where commands run."""

    kernel: str
    machine: str
    user: int
    error: str
    features: dict[str, bool]
    walls: dict[str, str]
    landlock_abi: int
    borrow: str
    limits: dict[str, str]
    reach: dict[str, str]

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2)

    def __str__(self) -> str:
        return "\n".join(_text(self))


def _version(text: str) -> tuple[int, ...]:
    numbers = []
    for part in text.replace("-", ".").split(".")[:2]:
        numbers.append(int(part) if part.isdigit() else 0)
    return tuple(numbers)


def _tried() -> str:
    """Why /bin/true does not run here; empty where it does."""
    try:
        result = run(["/bin/true"])
    except (SandboxError, OSError) as error:
        return str(error)
    return f"/bin/true ended with {result.returncode}" if result.returncode else ""


def _yama() -> str:
    try:
        with open("/proc/sys/kernel/yama/ptrace_scope", encoding="ascii") as file:
            scope = file.read().strip()
    except OSError:
        return ""
    return f"Yama ptrace_scope is {scope}: no program can be started here" if scope in ("2", "3") else ""


def _limits(walls: dict[str, str]) -> dict[str, str]:
    group = _cgroup.create(secrets.randbits(31) + 1 << 32, _core.Limits(memory=1 << 30, processes=1 << 10))
    kept = f"cgroup version {group.version}, by the kernel" if group else ""
    if group:
        group.remove()
    exact = not walls["mountns"]
    own_user = os.geteuid() != 0 and not walls["userns"]
    counted = "counted by the sentry every 50 ms, then killed"
    return {
        "memory": kept or f"RLIMIT_DATA for each process; the guest's sum {counted}",
        "processes": kept or ("RLIMIT_NPROC in its user namespace" if own_user else counted),
        "open_files": "RLIMIT_NOFILE, for each process",
        "file_size": "RLIMIT_FSIZE, for each file",
        "cpu_seconds": "RLIMIT_CPU, for each process",
        "wall_seconds": "the Supervisor's clock, then killed",
        "scratch_bytes": "tmpfs, by the kernel" if exact else f"RLIMIT_FSIZE for each file; the sum {counted}",
        "scratch_files": "tmpfs, by the kernel" if exact else counted,
    }


def _reach(walls: dict[str, str]) -> dict[str, str]:
    """What the walls leave to a sentry in a guest's hands. Its own filter and the lack of capabilities always stand."""
    stands = {name for name, reason in walls.items() if not reason}
    user = f"user {os.geteuid()}"
    if "mountns" in stands:
        files = "what the policy grants, nothing else has a name"
    elif "landlock" in stands:
        files = (
            f"content of what the policy grants; names, sizes and times of what {user} may look at; it may change the "
            f"rights and times of what {user} owns"
        )
    else:
        files = f"everything that {user} may open without capabilities"
    if "pidns" in stands:
        processes = "its guest's"
    elif "landlock-scope" in stands:
        processes = "its guest's; it sees that others exist"
    else:
        processes = f"signals to any process of {user}" + ("" if "landlock" in stands else ", and tracing of them")
    paths = f"UNIX sockets that {user} may connect to by path"
    return {
        "files": files,
        "processes": processes,
        "network": "UNIX sockets of its guest's" if "mountns" in stands else paths,
        "shared memory": "its guest's" if "ipcns" in stands else f"System V objects of {user}",
        "Supervisor": "the messages of csrc/core.h, each checked; a wrong one ends its guest",
    }


def examine() -> Report:
    """Look: starts one guest and one command."""
    walls = dict.fromkeys(WALLS, "unknown")
    abi, borrow, error = 0, "unknown", ""
    try:
        guest = start_guest(Policy())
        try:
            guest.wait_ready()
            ready = guest.ready
            assert ready is not None
            for name in WALLS:
                number = ready.missing.get(name, 0)
                why = f"{os.strerror(number)}" if number else "cannot be had here"
                walls[name] = "" if name in guest.walls else why
            abi = ready.landlock_abi
            borrow = "pidfd_getfd" if ready.borrow else "sent by the guest's own thread (pidfd_getfd is refused)"
        finally:
            guest.end()
            guest.wait_ended()
    except (SandboxError, OSError) as raised:
        error = str(raised)
    limits = _limits(walls)
    walls["cgroup"] = "" if limits["memory"].startswith("cgroup") else "no hierarchy can be written"
    release = os.uname().release
    return Report(
        kernel=release,
        machine=platform.machine(),
        user=os.geteuid(),
        error=error or _yama() or _tried(),
        features={what: _version(release) >= _version(since) for since, what in _FEATURES},
        walls=walls,
        landlock_abi=abi,
        borrow=borrow,
        limits=limits,
        reach=_reach(walls),
    )


def _section(title: str, rows: dict[str, Any]) -> list[str]:
    width = max(map(len, rows))
    return ["", title, *(f"  {name.ljust(width)}  {value}" for name, value in rows.items())]


def _text(report: Report) -> list[str]:
    verdict = f"commands do not run here: {report.error}" if report.error else "commands run here"
    lines = [f"Linux {report.kernel} {report.machine}, user {report.user}: {verdict}"]
    lines += _section("kernel", {what: "yes" if there else "no" for what, there in report.features.items()})
    lines += _section("walls", {name: f"no: {why}" if why else "stands" for name, why in report.walls.items()})
    lines += [f"  Landlock ABI {report.landlock_abi}; a guest's descriptors are borrowed by {report.borrow}"]
    lines += _section("limits", report.limits)
    lines += _section("a broken sentry would reach", report.reach)
    if report.user == 0 and report.walls["mountns"] and report.walls["landlock"]:
        lines += ["", "warning: root with neither a mount namespace nor Landlock"]
    return lines
