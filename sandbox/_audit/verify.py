"""Is a trail what was written? By the chain, guest by guest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .format import END, HEADER, RECORDS
from .guest import Guest
from .reader import Reader

_STATES = {
    "ended": "whole",
    "rotated": "whole, goes on in the next file",
    "open": "NO END: it still runs, or its caller was killed, or the file was cut off here",
    "unchained": "NO CHAIN: of version 1, which had none",
}


@dataclass(frozen=True)
class Part:
    """What a file holds of a guest: `records` of them up to number `last`. `chain` is the last chain value, to compare
    with one that was kept elsewhere; the next part names it."""

    file: str
    guest: str
    part: int
    records: int
    last: int
    state: str
    chain: str

    @property
    def ok(self) -> bool:
        return self.state in ("ended", "rotated")

    def __str__(self) -> str:
        records = f"{self.records} records up to {self.last}" if self.records else "no records"
        return f"guest {self.guest} part {self.part}: {records}, {_STATES[self.state]}, chain {self.chain}"


class _Count:
    def __init__(self, guest: Guest) -> None:
        self.guest, self.records = guest, 0

    def part(self, file: str, state: str) -> Part:
        guest = self.guest
        state = state if guest.version > 1 else "unchained"
        chain = guest.value.hex() if guest.version > 1 else ""
        return Part(file, f"{guest.number:016x}", guest.part, self.records, guest.sequence, state, chain)


def verify(files: Iterable[str]) -> Iterator[Part]:
    """Each guest's part of each file, when it ends there. AuditDamage at the first place where a file is broken, or
    does not go on from the one before."""
    guests: dict[int, Guest] = {}
    for name in files:
        with open(name, "rb") as file:
            yield from parts(Reader(file, name, guests), name)


def parts(reader: Reader, name: str) -> Iterator[Part]:
    """Those of one file."""
    counts: dict[int, _Count] = {}
    for guest, frame in reader:
        if frame.magic == HEADER and guest.number in counts:
            yield counts.pop(guest.number).part(name, "open")
        count = counts.setdefault(guest.number, _Count(guest))
        if frame.magic == RECORDS:
            count.records += guest.pass_over(frame.data)
        elif frame.magic == END:
            yield counts.pop(guest.number).part(name, "rotated" if guest.rotated else "ended")
    for count in counts.values():
        yield count.part(name, "open")
