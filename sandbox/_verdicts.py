"""Judging by rules: which of the Allow and Deny that cover an address or a name decides.

Rank: what is exact beats what is longer beats what is shorter; then a named protocol beats none; then fewer ports; at
equal rank a Deny. A name's pattern and an address's prefix have no common length, so between those protocol and ports
decide, and then a Deny. The best rule of the address, if it is a Deny, holds whatever names the address has. Where an
Allow has been found, an AllowHTTP that is as exact takes its place: requests are judged, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ._addresses import Address, Prefixes, kind_of, within
from ._network import Allow, AllowHTTP, Deny
from ._targets import Ranges, Target, parse_target

DEFAULT = "default"
_PUBLIC, _OTHER, _LOOPBACK, _EXACT = range(4)

_NEEDS = {
    "public": (_PUBLIC, ""),
    **dict.fromkeys(("private", "multicast", "reserved"), (_OTHER, "a name's rule reaches it with private=True only")),
    **dict.fromkeys(("loopback", "unspecified"), (_LOOPBACK, "the host's; only a rule of it reaches it")),
    **dict.fromkeys(("link-local", "metadata"), (_EXACT, "only a rule of exactly this address reaches it")),
}
"""What the reach of an Allow must be for each kind of address, and why."""

_HOST = ("*", "0.0.0.0/0", "::/0", "127.0.0.0/8", "::1", "0.0.0.0/8", "::")
_BY_HOST, _BY_MANY, _BY_ONE = range(3)


@dataclass(frozen=True)
class Verdict:
    """`rule` is the text of the rule that decided: "allow example.org:443", "deny 10.0.0.0/8", "host"; or "default",
    or "default: private" and other kinds of address, where no Allow reaches. `reason` says why, for people. `http`:
    only requests that rules of HTTP allow."""

    allowed: bool
    rule: str
    reason: str
    http: bool = field(default=False, repr=False)


@dataclass(frozen=True)
class Entry:
    """A rule made ready. Of two entries that cover the same, that with the greater `rank` decides."""

    allow: bool
    target: Target
    text: str
    reach: int
    rank: tuple[int, int, bool, int, bool, str]
    http: bool = False

    @property
    def rank_across(self) -> tuple[int, bool, int, bool]:
        """Rank between a rule of a name and one of an address."""
        return (self.rank[0], *self.rank[2:5])

    def verdict(self) -> Verdict:
        what = "the address" if self.target.block else "a name"
        does = "allows requests to" if self.http else "allows" if self.allow else "denies"
        return Verdict(self.allow, self.text, f"{does} {what}", self.http)


def _entry(rule: Allow | AllowHTTP | Deny, text: str = "") -> Entry:
    """A rule of HTTP names no protocol: TCP is a part of what it says, and a Deny of its port is narrower."""
    target, allow, http = parse_target(rule.target, "rule"), not isinstance(rule, Deny), isinstance(rule, AllowHTTP)
    tier = _BY_HOST if text else _BY_ONE if target.exact else _BY_MANY
    named = bool(target.protocol) and not http
    rank = (tier, target.length, named, -target.port_count, not allow, text or str(rule))
    return Entry(allow, target, text or str(rule), _reach(rule, target), rank, http)


def _reach(rule: Allow | AllowHTTP | Deny, target: Target) -> int:
    if isinstance(rule, Deny):
        return _EXACT
    if target.block is None:
        return _LOOPBACK if rule.private else _PUBLIC
    if target.exact:
        return _EXACT
    return _LOOPBACK if within(target.block, "loopback") or within(target.block, "unspecified") else _OTHER


class Judge:
    """The Allow and Deny of a guest, to be found by address and by name."""

    def __init__(self, rules: Iterable[Allow | AllowHTTP | Deny], *, host: bool) -> None:
        entries = [_entry(rule) for rule in rules] + [_entry(Allow(text), "host") for text in _HOST if host]
        self._blocks = Prefixes([(entry.target.block, entry) for entry in entries if entry.target.block])
        self._names: dict[str, list[Entry]] = {}
        for entry in entries:
            if entry.target.block is None:
                self._names.setdefault(entry.target.what, []).append(entry)

    def _naming(self, name: str) -> Iterator[Entry]:
        yield from self._names.get(name, ())
        while name:
            name = name.partition(".")[2]
            yield from self._names.get(f"*.{name}" if name else "*", ())

    def address(self, protocol: str, address: Address, port: int, names: Iterable[str]) -> Verdict:
        """May this be reached? `names` are names that stand for the address."""
        kind = kind_of(address)
        need, why = _NEEDS[kind]
        found = [entry for entry in self._blocks.covering(address) if entry.target.covers(protocol, port)]
        named = [entry for name in names for entry in self._naming(name) if entry.target.covers(protocol, port)]
        decides = _stronger(_best(found, need), _best(named, need))
        if decides is not None:
            return self._requests(decides, protocol, port, names)
        if found or named:
            return Verdict(False, f"{DEFAULT}: {kind}", f"{kind} address: {why}")
        return Verdict(False, DEFAULT, "no rule allows it")

    def _requests(self, decides: Entry, protocol: str, port: int, names: Iterable[str]) -> Verdict:
        """INVARIANT http-is-not-bypassed: an Allow gives way to the AllowHTTP of a name of the address that is as exact
        or more, at its ports by UDP, too: QUIC carries requests that nobody judges."""
        level = decides.rank[: 1 if decides.target.block else 2]
        every = (entry for name in names for entry in self._naming(name) if entry.http)
        found = [entry for entry in every if entry.target.covers("tcp", port) and entry.rank[: len(level)] >= level]
        http = _best(found, _PUBLIC) if decides.allow else None
        if http is None:
            return decides.verdict()
        return http.verdict() if protocol == "tcp" else Verdict(False, http.text, "allows requests by TCP, no QUIC")

    def name(self, name: str) -> Verdict:
        """Is there a protocol and port that this name may be reached at?"""
        ranked = sorted(self._naming(name), key=lambda entry: entry.rank, reverse=True)
        denials = [entry for entry in ranked if not entry.allow]
        for entry in ranked:
            if entry.allow and _leaves(entry, denials):
                return entry.verdict()
        return denials[0].verdict() if denials else Verdict(False, DEFAULT, "no rule allows the name")


def _best(entries: Iterable[Entry], need: int) -> Entry | None:
    return max((entry for entry in entries if entry.reach >= need), key=lambda entry: entry.rank, default=None)


def _stronger(by_address: Entry | None, by_name: Entry | None) -> Entry | None:
    if by_address is None or by_name is None:
        return by_address or by_name
    return max(by_address, by_name, key=lambda entry: entry.rank_across) if by_address.allow else by_address


def _leaves(allow: Entry, denials: Iterable[Entry]) -> bool:
    """Do the denials of higher rank leave a port of any protocol?"""
    above = [deny.target for deny in denials if deny.rank > allow.rank]
    return any(
        _is_left(allow.target.ports, [target.ports for target in above if protocol in target.protocols])
        for protocol in allow.target.protocols
    )


def _is_left(ports: Ranges, taken: Iterable[Ranges]) -> bool:
    ordered = sorted(ports_range for ranges in taken for ports_range in ranges)
    return any(_after(first, ordered) <= last for first, last in ports)


def _after(port: int, taken: Iterable[tuple[int, int]]) -> int:
    """The first port from `port` on that no range takes; the ranges are sorted."""
    for first, last in taken:
        port = max(port, last + 1) if first <= port else port
    return port
