"""Heads of messages: a request is read with suspicion, and what one hop says to the next is not passed on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from .._http_paths import normal_path
from .._http_rules import FRAMING
from .judge import Origin

Fields = list[tuple[bytes, bytes]]

FIELDS_MAX = 64 << 10
"""Bytes of all fields of one message."""
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(rb"[\t -~\x80-\xff]*")
_METHOD = re.compile(r"[A-Z][A-Z0-9_-]{0,15}")
_HOP = frozenset(name.encode() for name in FRAMING)
_ELSEWHERE = (b"alt-svc",)  # names a QUIC server, which no guest reaches
_OVERRIDES = (
    *(b"x-http-method", b"x-http-method-override", b"x-method-override"),
    *(b"x-original-url", b"x-rewrite-url", b"x-override-url", b"x-forwarded-uri"),
    *(b"x-forwarded-host", b"x-forwarded-server", b"x-host", b"x-http-host-override", b"x-original-host", b"forwarded"),
)
"""By which some servers take another method, path or host than the request's, which were judged."""
_DROPPED = _HOP | {*_ELSEWHERE, *_OVERRIDES}
_DIGITS_MAX = 20
_UNJUDGED = ("CONNECT", "TRACE")


class Bad(Exception):
    """A request that is not passed on: `status` is the answer, `reason` for people."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


class Asked(NamedTuple):
    """A request's line, as it is judged and sent."""

    method: str
    origin: Origin
    target: str


def read_asked(method: bytes, target: bytes, authorities: Iterable[bytes], origins: Iterable[Origin]) -> Asked:
    """What is asked, of one of the origins that this connection may be for. Bad: it is ambiguous, or of none."""
    name = method.decode("latin-1")
    if not _METHOD.fullmatch(name) or name in _UNJUDGED:
        raise Bad(405 if name in _UNJUDGED else 400, "the method is not one that is passed on")
    named = {authority.decode("latin-1").lower() for authority in authorities}
    if len(named) != 1:
        raise Bad(400, "the request names no host, or several")
    authority = named.pop()
    origin = next((origin for origin in origins if origin.is_named_by(authority)), None)
    if origin is None:
        raise Bad(421, "the request is for another host than its connection")
    try:
        return Asked(name, origin, normal_path(target.decode("latin-1")))
    except ValueError as error:
        raise Bad(400, f"the path {error}") from None


def check(fields: Iterable[tuple[bytes, bytes]]) -> Fields:
    """INVARIANT one-field-one-line: nothing in a field ends it. Bad: something does."""
    listed = [(bytes(name), bytes(value)) for name, value in fields]
    if sum(len(name) + len(value) + 4 for name, value in listed) > FIELDS_MAX:
        raise Bad(431, "the fields are too long")
    for name, value in listed:
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise Bad(400, "a field is none")
    return listed


def without(fields: Fields, names: Iterable[bytes]) -> Fields:
    """INVARIANT one-name: many servers read `_` in a name as `-`, so it is the same name here."""
    dropped = {_same(name) for name in names}
    return [pair for pair in fields if _same(pair[0]) not in dropped]


def _same(name: bytes) -> bytes:
    return name.strip().lower().replace(b"_", b"-")


def end_to_end(fields: Fields) -> Fields:
    """Without what concerns one hop, or would undo the judgement."""
    named = (value for name, value in fields if name.lower() == b"connection")
    return without(fields, [*_DROPPED, *(word for value in named for word in value.split(b","))])


def with_added(fields: Fields, added: Mapping[bytes, tuple[bytes, bytes]]) -> Fields:
    """INVARIANT injected-last: none of the guest's fields stands beside one that is added."""
    return without(fields, added) + list(added.values())


def body_length(fields: Fields, *, ended: bool) -> int | None:
    """What the content-length of HTTP/2 says; `ended`: there is no body. Bad: servers read it in different ways."""
    lengths = [value for name, value in fields if name.lower() == b"content-length"]
    if len(lengths) > 1 or not all(value.isdigit() and len(value) < _DIGITS_MAX for value in lengths):
        raise Bad(400, "the length of the body is ambiguous")
    length = int(lengths[0]) if lengths else None
    if ended and length:
        raise Bad(400, "the request has no body, but a length")
    return length


def words(fields: Fields, wanted: bytes) -> list[bytes]:
    """The words of a field, in lower case."""
    values = (value for name, value in fields if name.lower() == wanted)
    return [word.strip().lower() for value in values for word in value.split(b",")]


def refusal(reason: str) -> bytes:
    return f"sandbox: {reason}\n".encode("ascii", "backslashreplace")
