"""A command as the caller gives it, in the terms of subprocess, checked and packed for the sentry."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import _core, _view
from ._policy import clean_env

_SENSELESS: dict[str, tuple[Any, str]] = {
    "close_fds": (True, "nothing is ever inherited; name descriptors in pass_fds"),
    "creationflags": (0, "is of Windows"),
    "extra_groups": (None, "a guest has none"),
    "group": (None, "a guest has the caller's"),
    "preexec_fn": (None, "no code of the caller runs in a guest"),
    "process_group": (None, "a command always leads its own"),
    "restore_signals": (True, "they always are"),
    "startupinfo": (None, "is of Windows"),
    "user": (None, "a guest has the caller's"),
}


def refuse_senseless(options: Mapping[str, Any], where: str) -> None:
    """TypeError for what subprocess has and makes no sense here, and for what nobody has."""
    for name, value in options.items():
        if name not in _SENSELESS:
            raise TypeError(f"{where}() got an unexpected keyword argument {name!r}")
        allowed, why = _SENSELESS[name]
        if value is not allowed and value != allowed:
            raise TypeError(f"{where}(): {name}={value!r} makes no sense in a sandbox: {why}")


@dataclass(frozen=True)
class Spec:
    """`args` as given, and what they mean: argv, program, environment, all bytes."""

    args: Any
    argv: tuple[bytes, ...]
    program: bytes
    cwd: bytes
    env: tuple[bytes, ...]
    umask: int
    new_session: bool

    def pack(self, numbers: Sequence[int], *, terminal: bool) -> bytes:
        """The memfd's content of SBX_MSG_RUN; `numbers` are those of the descriptors in the guest."""
        flags = _core.CommandFlag(0)
        if b"/" not in self.program:
            flags |= _core.CommandFlag.SEARCH
        if self.new_session:
            flags |= _core.CommandFlag.NEW_SESSION
        if terminal:
            flags |= _core.CommandFlag.TERMINAL
        return _core.pack_command(
            self.argv,
            self.env,
            program=self.program,
            cwd=self.cwd,
            umask=self.umask,
            flags=int(flags),
            fds=numbers,
        )


def _argv(args: Any, shell: bool) -> list[bytes]:
    if isinstance(args, (str, bytes, os.PathLike)):
        listed = [os.fsencode(args)]
    elif isinstance(args, Sequence) or hasattr(args, "__iter__"):
        listed = [os.fsencode(arg) for arg in args]
    else:
        raise TypeError(f"args: {args!r} is no list of text")
    if not listed or not listed[0]:
        raise ValueError("args: there is no program")
    return [b"/bin/sh", b"-c", *listed] if shell else listed


def _environment(env: Mapping[Any, Any] | None, extra: Mapping[str, str]) -> list[bytes]:
    chosen = {**_view.environment(), **extra} if env is None else clean_env(env, "env")
    return [os.fsencode(f"{name}={value}") for name, value in chosen.items()]


def make_spec(
    args: Any,
    *,
    executable: Any = None,
    shell: bool = False,
    cwd: Any = None,
    env: Mapping[Any, Any] | None = None,
    policy_env: Mapping[str, str] | None = None,
    umask: int = -1,
    start_new_session: bool = False,
) -> Spec:
    argv = _argv(args, shell)
    program = os.fsencode(executable) if executable is not None else argv[0]
    if shell and executable is not None:
        argv[0] = program
    folder = os.fsencode(cwd) if cwd is not None else _view.WORK.encode()
    if not folder.startswith(b"/"):
        folder = _view.WORK.encode() + b"/" + folder
    if not -1 <= umask <= 0o777:
        raise ValueError(f"umask: {umask!r} is none")
    packed = _environment(env, policy_env or {})
    for text in (*argv, *packed, program, folder):
        if b"\0" in text:
            raise ValueError("embedded null byte")
    return Spec(
        args, tuple(argv), program, folder, tuple(packed), 0o022 if umask == -1 else umask, bool(start_new_session)
    )
