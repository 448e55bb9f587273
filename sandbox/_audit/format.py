"""An audit file as bytes: blocks, and the chain that binds those of a guest.

A block is `magic, guest, length` and that many bytes:

    SBXH  JSON that tells of a guest: version, time, pid, mounts, rules, network; after a rotation also part, previous,
          sequence and served
    SBXR  its records, as the sentry wrote them
    SBXS  request, time and name of what the Supervisor has served for it; to the
          network after a NUL the rule that it went by
    SBXQ  time, verdict, text and rule of an HTTP request, as its proxy judged it
    SBXN  the same of a question for a name, and of each address that its answer is not told; the text is its type, the
          name and the address
    SBXE  JSON: nothing more of this guest is in this file, and why
    SBXC  SHA-256 of the guest's last chain value and of the block before

Every block but the last kind is a batch, written at once with the SBXC that seals it. Blocks of several guests may
follow each other in any order, so files can be appended to and joined. Version 1 had neither SBXE nor SBXC: its files
are read, and cannot be verified. Version 2 had neither the flags of a call nor rules.

The chain has no key. It shows damage, and every change by who cannot write the rest of the file anew; who keeps the
last value elsewhere sees any change."""

from __future__ import annotations

import hashlib
import os
import struct
from typing import NamedTuple

from .._errors import SandboxError

VERSION = 3
HEADER, RECORDS, SERVED, ASKED, NAMED = b"SBXH", b"SBXR", b"SBXS", b"SBXQ", b"SBXN"
END, CHAIN = b"SBXE", b"SBXC"
WITHOUT_CALL = {"http": ASKED, "resolve": NAMED}
"""What is decided for a guest without a call, by the word of its event."""
BLOCK = struct.Struct("<4sQI")
REQUEST = struct.Struct("<QQ")
_DECISION = struct.Struct("<Q?")
START = bytes(32)  # the chain value before the first block
SEAL = BLOCK.size + len(START)
LARGEST = 1 << 26  # bytes of a block; a batch of records is at most the trail's ring
LARGEST_TEXT = 1 << 24  # of one that is JSON: 1 024 mounts and their rules


class AuditDamage(SandboxError):
    """An audit file that cannot be read beyond `offset` (bytes). `guest` is whose block is there and `record` the
    number of its first record that is lost or not vouched for; None where that is not known."""

    def __init__(self, name: str, offset: int, why: str, guest: int | None = None, record: int | None = None) -> None:
        super().__init__(name, offset, why, guest, record)
        self.name, self.offset, self.why = name, offset, why
        self.guest, self.record = guest, record

    def __str__(self) -> str:
        whose = "" if self.guest is None else f", guest {self.guest:016x}"
        where = "" if self.record is None else f", record {self.record}"
        return f"audit file {self.name}: broken at byte {self.offset}{whose}{where}: {self.why}"


def follow(value: bytes, head: bytes, data: bytes) -> bytes:
    """The chain value after a block."""
    digest = hashlib.sha256(value)
    digest.update(head)
    digest.update(data)
    return digest.digest()


class Batch(NamedTuple):
    """A block and its seal. `value` is the chain's when it is written."""

    parts: list[bytes]
    size: int
    value: bytes


def batch(guest: int, value: bytes, magic: bytes, data: bytes) -> Batch:
    """What is to be written at once, after the chain value `value`."""
    if len(data) > LARGEST:
        raise SandboxError(f"audit: a block of {len(data)} bytes, more than {LARGEST}")
    head = BLOCK.pack(magic, guest, len(data))
    after = follow(value, head, data)
    return Batch([head, data, BLOCK.pack(CHAIN, guest, len(after)) + after], len(head) + len(data) + SEAL, after)


def write_all(fd: int, batch: Batch) -> None:
    written = os.writev(fd, batch.parts)
    rest = memoryview(b"".join(batch.parts))[written:] if written < batch.size else memoryview(b"")
    while rest:
        rest = rest[os.write(fd, rest) :]


def is_seal(data: bytes) -> bool:
    return len(data) == SEAL and BLOCK.unpack_from(data)[::2] == (CHAIN, len(START))


def request(data: bytes) -> tuple[int, bytes]:
    """The number of a request that was served, and its name."""
    return int(REQUEST.unpack_from(data)[0]), data[REQUEST.size :]


class Decision(NamedTuple):
    """What was decided without a call. `text` is the guest's, and may hold a NUL."""

    time_ns: int
    allowed: bool
    text: bytes
    rule: bytes


def decision(data: bytes) -> Decision:
    """Out of a block; struct.error where it is none."""
    text, _, rule = data[_DECISION.size :].rpartition(b"\0")
    time_ns, allowed = _DECISION.unpack_from(data)
    return Decision(time_ns, allowed, text, rule)


def of_decision(made: Decision) -> bytes:
    return _DECISION.pack(made.time_ns, made.allowed) + made.text + b"\0" + made.rule
