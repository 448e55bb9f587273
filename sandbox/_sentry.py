"""A sentry: how one is started, and what it is sent first."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from . import _core
from ._core import Message, MessageType
from ._errors import SandboxError
from ._memfd import memfd, sealed

SENTRY = str(Path(__file__).with_name("sentry"))
STUB = str(Path(__file__).with_name("stub"))


def spawn(sock: int, walls: int) -> tuple[int, int, int]:
    """Its pid, its pidfd and the walls that it was started behind."""
    try:
        own_mounts = os.stat("/proc/thread-self/ns/mnt").st_ino  # this thread is cloned
        return _core.spawn(SENTRY, sock, walls, ("sandbox-sentry", str(walls), str(own_mounts)))
    except OSError as error:
        raise SandboxError(f"sentry {SENTRY}: cannot be started: {error.strerror}") from error


def discard(pid: int, pidfd: int) -> None:
    with suppress(OSError):
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.waitpid(pid, 0)
    os.close(pidfd)


def setup(plan: bytes, contents: Sequence[bytes], trail: int, undo: ExitStack) -> tuple[list[Message], list[int]]:
    """The first messages to a sentry, and the descriptors that are to be closed when they are sent; where they are not,
    by `undo`."""
    fds: list[int] = []

    def own(fd: int) -> int:
        undo.callback(os.close, fd)
        fds.append(fd)
        return fd

    first = [own(sealed(plan, "sandbox-plan")), own(os.open(STUB, os.O_RDONLY | os.O_CLOEXEC)), trail]
    first.append(own(os.pidfd_open(os.getpid())))
    files = [own(memfd(content, "sandbox-bytes")) for content in contents]
    messages = [Message(MessageType.SETUP, fds=first)]
    for at in range(0, len(files), _core.MESSAGE_FDS):
        messages.append(Message(MessageType.FILES, fds=files[at : at + _core.MESSAGE_FDS]))
    return messages, fds
