"""Attack programs: compiled here, run natively and inside, with the walls that a test names."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import pytest

import sandbox
import sandbox._open
from tests.helpers import give_up_privileges

WON, LOST, UNFIT = 42, 43, 44
HERE = Path(__file__).resolve().parent
LANDLOCK = ("landlock", "landlock-scope")
NAMESPACES = ("userns", "pidns", "netns", "ipcns", "utsns", "mountns")
WALLS: dict[str, tuple[str, ...]] = {
    "every wall": (*LANDLOCK, *NAMESPACES, "cgroup"),
    "no Landlock": NAMESPACES,
    "no namespaces": LANDLOCK,
    "no wall": (),
}
"""Walls that may stand. Without any, what the sentry itself decides is all that holds."""
every_wall = pytest.mark.parametrize("walls", WALLS)
ordinary = pytest.mark.filterwarnings("ignore:sandbox. the caller is root:RuntimeWarning")


@functools.lru_cache(maxsize=1)
def _folder() -> Path:
    """Outside of what the default view shows, and kept for the session."""
    made = tempfile.TemporaryDirectory(prefix="sandbox-escape-", dir="/var/tmp")
    _kept.append(made)
    os.chmod(made.name, 0o755)
    return Path(made.name)


_kept: list[Any] = []


@functools.cache
def build(source: str, *flags: str) -> Path:
    """A static program of this C text, which follows attack.h."""
    name = hashlib.sha256(repr((source, flags)).encode()).hexdigest()[:16]
    folder = _folder() / name
    folder.mkdir(exist_ok=True)
    program = folder / "attack"
    arguments = ["gcc", "-O1", "-std=gnu11", "-w", "-static", "-pthread", f"-I{HERE}", "-include", "attack.h", *flags]
    subprocess.run([*arguments, "-x", "c", "-", "-o", str(program)], input=source.encode(), check=True)
    program.chmod(0o755)
    return program


@dataclass(frozen=True)
class Outcome:
    """How an attack ended: `status` (negative: signal) and the lines it printed as name=number."""

    status: int
    stdout: bytes
    stderr: bytes

    @property
    def told(self) -> dict[str, int]:
        pairs = (line.partition("=") for line in self.stdout.decode(errors="replace").splitlines())
        return {name: int(value) for name, sep, value in pairs if sep and value.lstrip("-").isdigit()}

    @property
    def won(self) -> bool:
        assert self.status in (WON, LOST), self
        return self.status == WON


def native(program: Path, *args: object, stdin: Any = subprocess.DEVNULL, **options: Any) -> Outcome:
    """The attack without the sandbox, as a process without privileges: it must not harm the machine of the tests."""
    command = [str(program), *map(str, args)]
    done = subprocess.run(
        command, stdin=stdin, capture_output=True, timeout=120, preexec_fn=give_up_privileges, **options
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


_OWN = ["unshare", "--user", "--map-root-user", "--mount", "--uts", "--ipc", "--net", "--pid", "--fork", "--kill-child"]


def in_a_world_of_its_own(program: Path, *args: object) -> Outcome:
    """The attack with every capability, but in a new user namespace with a mount, UTS, IPC, network and PID namespace below
    it: it owns these, and nothing of the machine. Never run an attack with the caller's own privileges."""
    probe = subprocess.run([*_OWN, "true"], stdin=subprocess.DEVNULL, capture_output=True)
    if probe.returncode:
        pytest.skip("no user namespaces here")
    command = [*_OWN, str(program), *map(str, args)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=120)
    return Outcome(done.returncode, done.stdout, done.stderr)


@contextlib.contextmanager
def standing(walls: Optional[str]) -> Iterator[None]:
    """Guests made meanwhile have these walls at most."""
    real = sandbox._open.start_guest
    chosen = None if walls is None else WALLS[walls]
    sandbox._open.start_guest = functools.partial(real, walls=chosen)
    try:
        yield
    finally:
        sandbox._open.start_guest = real


def inside(
    program: Path,
    *args: object,
    walls: Optional[str] = None,
    mounts: Optional[Mapping[str, Any]] = None,
    timeout: float = 120,
    **options: Any,
) -> Outcome:
    """The attack in a sandbox of its own, as /attack/attack."""
    with standing(walls):
        done = sandbox.run(
            ["/attack/attack", *map(str, args)],
            mounts={"/attack": program.parent, **(mounts or {})},
            timeout=timeout,
            **options,
        )
    return Outcome(done.returncode, done.stdout, done.stderr)


@contextlib.contextmanager
def box(walls: Optional[str] = None, program: Optional[Path] = None, **options: Any) -> Iterator[sandbox.Sandbox]:
    """A Sandbox with these walls; the program is /attack/attack."""
    if program is not None:
        options["mounts"] = {"/attack": program.parent, **options.get("mounts", {})}
    with standing(walls):
        made = sandbox.Sandbox(**options)
    with made:
        yield made


_CLIENT = "import socket, sys\nfor _ in range(20): socket.create_connection(('127.0.0.1', int(sys.argv[1]))).close()"


def assert_neighbour_is_served(walls: Optional[str]) -> None:
    """Another guest with these walls connects, again and again; the time-out ends a hang."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server:
        port = server.getsockname()[1]
        with box(walls, network=[sandbox.Allow(f"tcp://127.0.0.1:{port}")]) as other:
            done = other.run([sys.executable, "-c", _CLIENT, str(port)], timeout=60)
    assert done.returncode == 0, done


def sentry_of(made: sandbox.Sandbox) -> int:
    """Process id of the sentry, in our numbers."""
    return int(made._guest.parts.pid)


def children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


def alive(pid: int) -> bool:
    """Is there such a process, no zombie?"""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def open_files(pid: int) -> int:
    """How many descriptors a process has; of one that we may not look into, the size of its table, which only grows."""
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except PermissionError:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("FDSize"))


def works(program: Sequence[str] = ("/bin/true",), **options: Any) -> bool:
    """Does a new sandbox run a command as it should?"""
    return sandbox.run(list(program), timeout=60, **options).returncode == 0


def wins(attempt: Callable[[], Outcome], tries: int = 20) -> bool:
    """Does an attack that depends on luck work in the end?"""
    return any(attempt().won for _ in range(tries))


def refused(
    program: Path, expected: Mapping[str, int], *args: object, walls: Optional[str] = None, **options: Any
) -> None:
    """Inside, each call is answered with the errno that is expected of it."""
    outcome = inside(program, *args, walls=walls, **options)
    assert outcome.told == dict(expected), outcome


def answered_natively(program: Path, expected: Mapping[str, int], *args: object) -> None:
    """Without the filter the kernel looks at these calls: at least one does something else than to refuse it so. With
    privileges over namespaces of its own only, since some of them would change the machine."""
    outcome = in_a_world_of_its_own(program, *args)
    if outcome.told == dict(expected):
        pytest.skip("this kernel, or what we run in, refuses the same calls in the same way")
