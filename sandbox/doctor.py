"""What stands here and what does not: kernel, walls, limits, and what a broken sentry would reach.
`python -m sandbox doctor` prints it."""

from __future__ import annotations

import os
import platform
import secrets
from contextlib import suppress
from typing import NamedTuple

from . import _cgroup, _core
from ._cli_advice import advise
from ._cli_report import Report
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
_BORROW = {
    True: "pidfd_getfd",
    False: "sent by the guest's own thread (pidfd_getfd is refused)",
    None: "unknown",
}


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
        "output_bytes": "the Supervisor, as it reads: then killed",
        "sockets": "the Supervisor refuses more",
        **dict.fromkeys(("connections", "connections_per_second"), "the Supervisor refuses more"),
        **dict.fromkeys(("bytes_sent", "bytes_received"), "the Supervisor, by which all passes: then reset"),
        **dict.fromkeys(("bytes_sent_per_second", "bytes_received_per_second"), "the Supervisor, by which all passes"),
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
            f"rights, times and extended attributes of what {user} owns"
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


class _Seen(NamedTuple):
    """What a guest says of where it is. `walls`: why not, and the errno of that; empty and 0 where one stands."""

    walls: dict[str, tuple[str, int]] = dict.fromkeys(WALLS, ("unknown", 0))
    landlock_abi: int = 0
    borrow: bool | None = None
    error: str = ""
    number: int = 0


def _seen() -> _Seen:
    try:
        guest = start_guest(Policy())
    except (SandboxError, OSError) as raised:
        return _Seen(error=str(raised), number=_number(raised))
    try:
        guest.wait_ready()
        assert guest.ready is not None
        missing = {name: guest.ready.missing.get(name, 0) for name in WALLS if name not in guest.walls}
        walls = {name: _why(missing[name]) if name in missing else ("", 0) for name in WALLS}
        return _Seen(walls, guest.ready.landlock_abi, bool(guest.ready.borrow))
    except (SandboxError, OSError) as raised:
        return _Seen(error=str(raised), number=_number(raised))
    finally:
        guest.end()
        guest.wait_ended()


def _why(number: int) -> tuple[str, int]:
    return os.strerror(number) if number else "cannot be had here", number


def _number(error: BaseException) -> int:
    """The errno of what was raised, or of what that came from."""
    return getattr(error, "errno", None) or getattr(error.__cause__, "errno", None) or 0


def _versions() -> dict[str, str]:
    from importlib import metadata  # here: half of the time of `import sandbox`

    found = {"python": platform.python_version()}
    for name in ("sandbox", "cffi", "pyseccomp", "rich"):
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _advice(seen: _Seen, error: str, features: dict[str, bool], cgroup: bool) -> dict[str, str]:
    walls = {} if seen.error else seen.walls
    lacking = {name: number for name, (why, number) in walls.items() if why and name != "cgroup"}
    lacking.update({} if cgroup else {"cgroup": 0})
    lacking.update({"pidfd_getfd": 0} if seen.borrow is False else {})
    lacking.update({"commands": seen.number} if error else {})
    newer = {what: f"Linux {since} or later" for since, what in _FEATURES if not features[what]}
    return {**newer, **{name: advise(name, number) for name, number in lacking.items()}}


def examine() -> Report:
    """Look: starts one guest and one command."""
    seen = _seen()
    walls = {name: why for name, (why, _) in seen.walls.items()}
    limits = _limits(walls)
    cgroup = limits["memory"].startswith("cgroup")
    walls["cgroup"] = "" if cgroup else "no hierarchy can be written"
    release = os.uname().release
    error = seen.error or _yama() or _tried()
    features = {what: _version(release) >= _version(since) for since, what in _FEATURES}
    return Report(
        kernel=release,
        machine=platform.machine(),
        user=os.geteuid(),
        error=error,
        versions=_versions(),
        features=features,
        walls=walls,
        landlock_abi=seen.landlock_abi,
        borrow=_BORROW[seen.borrow],
        limits=limits,
        reach=_reach(walls),
        advice=_advice(seen, error, features, cgroup),
    )
