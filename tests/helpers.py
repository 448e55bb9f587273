"""The same command natively and inside, on equal directories, at one path."""

from __future__ import annotations

import ctypes
import difflib
import os
import resource
import secrets
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Optional, Union

import pytest

import sandbox

PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 24, 38
Command = Union[str, Sequence[Any]]
PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"


@dataclass(frozen=True)
class Run:
    """What a command left: exit status (negative: signal) and output."""

    status: int
    stdout: bytes
    stderr: bytes


@lru_cache(maxsize=1)
def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def give_up_privileges() -> None:
    """In a child before exec: no capability and no new privilege, as a guest has none."""
    for capability in range(64):
        _libc().prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    _libc().prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getuid() == 0:
        os.setgroups([])
    resource.setrlimit(resource.RLIMIT_CORE, (1, 1))


def interpreter() -> str:
    """The Python that runs the tests, by a path that needs no virtual environment."""
    return os.path.realpath(sys.executable)


def program(name: str, *places: str) -> str:
    """Path of a program, or skip the test."""
    path = shutil.which(name, path=os.pathsep.join([*places, PATH]))
    if path is None:
        pytest.skip(f"no {name} on this machine")
    return path


def free_port(address: str = "127.0.0.1", kind: int = socket.SOCK_STREAM) -> int:
    """One that nobody has, of those that the kernel chooses for nobody: other tests run at the same time."""
    six = ":" in address
    while True:
        port = 10240 + secrets.randbelow(32768 - 10240)
        with socket.socket(socket.AF_INET6 if six else socket.AF_INET, kind) as sock, suppress(OSError):
            sock.bind(("::" if six else "", port))
            return port


def shell(script: str) -> list[str]:
    return ["/bin/sh", "-c", script]


def tree(top: Union[str, Path]) -> dict[bytes, tuple[Any, ...]]:
    """Every name below `top`: type and mode, number of links, and content or target."""
    found: dict[bytes, tuple[Any, ...]] = {}
    root = os.fsencode(top)

    def failed(error: OSError) -> None:
        found[os.path.relpath(os.fsencode(error.filename), root)] = ("unreadable", error.errno)

    for folder, folders, files in os.walk(root, onerror=failed):
        for name in (*folders, *files):
            path = os.path.join(folder, name)
            found[os.path.relpath(path, root)] = _entry(path)
    return found


def _entry(path: bytes) -> tuple[Any, ...]:
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode):
        return ("link", os.readlink(path))
    if stat.S_ISREG(status.st_mode):
        try:
            content: Any = Path(os.fsdecode(path)).read_bytes()
        except PermissionError:
            content = status.st_size
        return (oct(status.st_mode), status.st_nlink, content)
    return (oct(status.st_mode), status.st_nlink)


def difference(native: bytes, inside: bytes, normal: Callable[[bytes], bytes] = bytes) -> list[str]:
    """The lines that differ: - natively, + inside."""
    texts = [normal(text).decode(errors="backslashreplace").splitlines() for text in (native, inside)]
    return [line[:300] for line in difflib.unified_diff(*texts, "natively", "inside", lineterm="", n=1)]


@dataclass
class Twin:
    """Two equal directories: the native command works in `here`; the guest sees `there` at the same path."""

    here: Path
    there: Path
    env: dict[str, str]
    mounts: dict[str, str] = field(default_factory=dict)
    limits: Optional[sandbox.Limits] = None
    network: Any = None

    def write(self, name: str, data: Union[str, bytes], mode: int = 0o644) -> Path:
        """A file in both directories; its path as a command sees it."""
        for top in (self.here, self.there):
            path = top / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data.encode() if isinstance(data, str) else data)
            path.chmod(mode)
        return self.here / name

    def copy(self, source: Union[str, Path], name: str) -> Path:
        """A file or directory copied into both."""
        for top in (self.here, self.there):
            (top / name).parent.mkdir(parents=True, exist_ok=True)
            if os.path.isdir(source):
                shutil.copytree(source, top / name, symlinks=True)
            else:
                shutil.copy2(source, top / name)
        return self.here / name

    def environment(self, env: Optional[Mapping[str, str]]) -> dict[str, str]:
        return {**self.env, **(env or {})}

    def native(self, cmd: Command, *, input: bytes = b"", env: Optional[Mapping[str, str]] = None,
               timeout: float = 120) -> Run:  # fmt: skip
        args = shell(cmd) if isinstance(cmd, str) else [str(part) for part in cmd]
        done = subprocess.run(args, cwd=self.here, env=self.environment(env), input=input, capture_output=True,
                              timeout=timeout, preexec_fn=give_up_privileges)  # fmt: skip
        return Run(done.returncode, done.stdout, done.stderr)

    def inside(self, cmd: Command, *, input: bytes = b"", env: Optional[Mapping[str, str]] = None,
               timeout: float = 120, **options: Any) -> Run:  # fmt: skip
        args = shell(cmd) if isinstance(cmd, str) else [str(part) for part in cmd]
        done = sandbox.run(args, cwd=str(self.here), env=self.environment(env), input=input, timeout=timeout,
                           writable={str(self.here): str(self.there)}, mounts=self.mounts, limits=self.limits,
                           network=self.network, **options)  # fmt: skip
        return Run(done.returncode, done.stdout, done.stderr)

    def same(self, cmd: Command, *, status: Optional[int] = 0, errors: bool = True, trees: bool = True,
             normal: Callable[[bytes], bytes] = bytes, **options: Any) -> Run:  # fmt: skip
        """Run natively, which must end with `status`, then inside: status, output and (with `errors`) error output are
        equal after `normal`, and so are the two directories (with `trees`). Returns what ran inside."""
        there = self.native(cmd, **options)
        assert status is None or there.status == status, f"natively: {there}"
        here = self.inside(cmd, **options)
        told = difference(there.stdout, here.stdout, normal)
        if errors or here.status != there.status or told:
            told += difference(there.stderr, here.stderr, normal)
        if here.status != there.status:
            told.insert(0, f"status natively {there.status}, inside {here.status}")
        assert not told, "\n".join(told)
        if trees:
            assert tree(self.there) == tree(self.here)
        return here
