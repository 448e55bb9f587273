"""What a sentry asks while a call of its guest waits, and what it is answered."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import lru_cache

from . import _core
from ._core import Message, MessageType
from ._memfd import sealed
from ._messages import NetAsk, ServeFile, ServeProc
from ._parts import Parts
from ._records import Records
from ._serving import Serving
from ._workers import Workers
from .services._names_of_sockets import shown
from .services._options import without_network

_ADDRESSED = ("bind", "connect", "send")


class Answers:
    """Of one guest. `post(messages)` sends, `count(size)` is told of the bytes of files that were made, `failed(error)`
    of what a service of the caller's raised."""

    def __init__(
        self,
        parts: Parts,
        workers: Workers,
        records: Records,
        post: Callable[[Sequence[Message]], None],
        count: Callable[[int], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._net, self._records = parts.net, records
        self._post, self._count = post, count
        self._serving = Serving(parts.files, parts.file_count, parts.proc, workers, self._content, failed)
        self.drop = self._serving.drop

    def serve(self, asked: ServeFile | ServeProc) -> None:
        self._serving.take(asked)

    def net(self, asked: NetAsk) -> None:
        try:
            answer = without_network(asked) if self._net is None else self._net.handle(asked)
        finally:
            if asked.fd is not None:
                os.close(asked.fd)
        if answer is None:
            raise _core.Malformed("a request to the network, which this guest has not")
        self._records.served(asked.request, _told(asked.kind, asked.address, answer.rule))
        fds = [] if answer.fd is None else [answer.fd]
        self._reply(asked.request, answer.value, fds, answer.address)

    def _content(self, request: int, name: bytes, content: bytes, error: int) -> None:
        self._records.served(request, name)
        if error:
            return self._reply(request, -error)
        self._count(len(content))
        self._reply(request, 0, [sealed(content, "sandbox-file")])

    def _reply(self, request: int, value: int, fds: Sequence[int] = (), text: bytes = b"") -> None:
        """The descriptors are given away."""
        try:
            self._post([Message(MessageType.REPLY, request, value, text=text, fds=list(fds))])
        finally:
            for fd in fds:
                os.close(fd)


@lru_cache(1024)
def _told(kind: str, address: bytes, rule: str) -> bytes:
    """What a record of a request to the network says: the call, the address that was judged, the rule."""
    judged = shown(address) if kind in _ADDRESSED else ""
    return f"net/{kind} {judged}".rstrip().encode() + b"\0" + rule.encode()
