"""GOAWAY in HTTP/2: a peer takes no new streams, and goes on with those that it has taken (RFC 9113, 6.8)."""

from __future__ import annotations

_HEAD = 9  # bytes of a frame before its payload: length, type, flags, stream
_GOAWAY, _LEAST, _MOST = 7, 8, 16384


class Farewell:
    """Takes a peer's GOAWAY frames out of what it sends: h2 knows no stream any more once it has read one."""

    def __init__(self, preface: int) -> None:
        """`preface`: bytes that it sends before its first frame."""
        self.last: int | None = None
        """the last stream that the peer goes on with; None: it has not said goodbye"""
        self.code = 0
        self._kept, self._through = b"", preface

    def rest(self, data: bytes) -> bytes:
        """What came but for these frames; the beginning of a frame waits for its rest. One that is malformed stays."""
        data, at, rest = self._kept + data, 0, bytearray()
        while at < len(data):
            if not self._through and not self._begins(data[at : at + _HEAD]):
                if not self._takes(data[at:]):
                    break
                at += _HEAD + int.from_bytes(data[at : at + 3], "big")
                continue
            piece = data[at : at + self._through]
            rest += piece
            at += len(piece)
            self._through -= len(piece)
        self._kept = data[at:]
        return bytes(rest)

    def _begins(self, head: bytes) -> bool:
        """Does a frame begin that is passed through?"""
        size = int.from_bytes(head[:3], "big")
        if len(head) < _HEAD or (head[3] == _GOAWAY and not any(head[5:]) and _LEAST <= size <= _MOST):
            return False
        self._through = _HEAD + size
        return True

    def _takes(self, data: bytes) -> bool:
        """Is a whole GOAWAY there? A second one names fewer streams, never more."""
        if len(data) < _HEAD or len(data) < _HEAD + int.from_bytes(data[:3], "big"):
            return False
        last, code = (int.from_bytes(data[_HEAD + at : _HEAD + at + 4], "big") for at in (0, 4))
        last &= 0x7FFFFFFF
        self.last, self.code = last if self.last is None else min(last, self.last), code
        return True
