"""Files of a policy whose content a function makes."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence

from .._messages import Refused, Request


class FileService:
    """Calls the function of the File with the request's number, at each open.

    >>> FileService([lambda: b"hello"]).content(Request(handle=0, name=b""))
    b'hello'
    """

    def __init__(self, functions: Sequence[Callable[[], bytes]], names: Sequence[str] = ()) -> None:
        self._functions = tuple(functions)
        self._names = tuple(names) or tuple(map(str, range(len(functions))))

    def content(self, request: Request) -> bytes:
        if not 0 <= request.handle < len(self._functions):
            raise Refused(errno.ENOENT)
        made = self._functions[request.handle]()
        if isinstance(made, (bytearray, memoryview)):
            return bytes(made)
        if not isinstance(made, bytes):
            name = self._names[request.handle]
            raise TypeError(f"file {name}: the function returned {type(made).__name__}, not bytes")
        return made
