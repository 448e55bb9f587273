"""Our ends of a guest's pipes and terminals, which a forked child of the caller's must not keep open."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterable
from typing import Any


class Pipes:
    """They are closed with their streams, or when these are garbage."""

    def __init__(self) -> None:
        self._streams: list[weakref.ref[Any]] = []

    def hold(self, streams: Iterable[Any]) -> None:
        self._streams = [ref for ref in self._streams if ref() is not None]
        self._streams += [weakref.ref(stream) for stream in streams if stream is not None]

    def forget_after_fork(self) -> None:
        """In the child: objects that own a descriptor keep one, of nothing."""
        streams = [stream for ref in self._streams if (stream := ref()) is not None and not stream.closed]
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        for stream in streams:
            os.dup2(null, stream.fileno(), inheritable=False)
        os.close(null)
