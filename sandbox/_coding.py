"""What the streams of a command carry, in the terms of subprocess: text or bytes."""

from __future__ import annotations

import io
from typing import IO, Any


class Coding:
    """Bytes, unless something asks for text: UTF-8 where no `encoding` is named, and every end of a line is \\n."""

    def __init__(
        self, universal_newlines: bool | None, text: bool | None, encoding: str | None, errors: str | None
    ) -> None:
        if text is not None and universal_newlines is not None and bool(text) != bool(universal_newlines):
            raise ValueError("text and universal_newlines contradict each other")
        self._text = bool(text or universal_newlines or encoding or errors)
        self._encoding, self._errors = encoding or "utf-8", errors

    def open(self, fd: int, bufsize: int, *, written: bool) -> IO[Any]:
        """Our end of a pipe; `bufsize` 1 is by lines."""
        raw: IO[Any] = open(fd, "wb" if written else "rb", -1 if bufsize == 1 else bufsize)  # noqa: SIM115
        if not self._text:
            return raw
        options: dict[str, Any] = {"write_through": True, "line_buffering": bufsize == 1} if written else {}
        return io.TextIOWrapper(raw, encoding=self._encoding, errors=self._errors, **options)

    def encoded(self, data: Any) -> bytes:
        if data is None:
            return b""
        if not self._text:
            return bytes(memoryview(data))
        return str(data).encode(self._encoding, self._errors or "strict")

    def decoded(self, data: bytes | None) -> Any:
        if data is None or not self._text:
            return data
        text = data.decode(self._encoding, self._errors or "strict")
        return text.replace("\r\n", "\n").replace("\r", "\n")
