"""Names of a guest: its questions are answered under its rules, from the policy or by asking upstream.

No name that the rules do not allow is asked for, so that names carry nothing out; no address that the rules refuse is
told, so that names lead nowhere else; and what is told is remembered, because rules of names are judged by it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from typing import NamedTuple

import dns.exception
import dns.rcode
import dns.rdata
import dns.rdatatype
import dns.reversename
import dns.rrset

from .._addresses import Address, plain
from .._loop import Loop
from .._network import Judged
from .._rules import Rules
from .._targets import PROTOCOLS, parse_target
from .._verdicts import DEFAULT, Verdict
from .names_messages import VERSIONS, Answer, Query, address_records, name_records, read_query
from .names_upstream import NameLimits, Question, Server, Upstream, host_servers, trim

__all__ = ["NameDecision", "NameLimits", "Resolver"]

Reply = Callable[[bytes], None]

FORWARDED = {
    **dict.fromkeys(VERSIONS, "each address is judged before it is told"),
    dns.rdatatype.CNAME: "a name, which is judged when it is asked for",
    dns.rdatatype.MX: "names of mail servers",
    dns.rdatatype.SRV: "names and ports of databases, directories and chat",
    dns.rdatatype.TXT: "options of such services, proofs of ownership",
}
"""Types that are asked upstream for an allowed name, and what clients need of them. No other exists for a guest: HTTPS
and SVCB hold addresses that clients use at once, NS, SOA, CAA and the keys of DNSSEC are for servers, ANY is all."""

LEAST_COVER = 60.0
"""Seconds for which an answer stands for its addresses at least: a client may resolve now and connect later."""
MOST_ADDRESSES = 64
"""Of one answer; each is judged."""
NAMES_PER_ADDRESS = 32
LOOPBACK = (ip_address("127.0.0.1"), ip_address("::1"))
DEFAULT_LIMITS = NameLimits()


class NameDecision(NamedTuple):
    """A question of a guest, or an `address` that is left out of its answer, and the rule that decided. `name` has
    neither spaces nor control characters."""

    name: str
    type: str
    allowed: bool
    rule: str
    address: str = ""


@dataclass(frozen=True)
class _Decided:
    """`rcode` is None where upstream is to be asked."""

    allowed: bool
    rule: str
    rcode: dns.rcode.Rcode | None = dns.rcode.NOERROR
    records: Sequence[dns.rrset.RRset] = ()


class _Ruled:
    """Rules, and what is asked of them here made ready."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.named: dict[Address | None, list[str]] = {}
        for name, address in ((name, each) for name, found in rules.hosts.items() for each in found):
            self.named.setdefault(address, []).append(name)
        judged = [parse_target(rule.target, "rule") for rule in rules.rules if isinstance(rule, Judged)]
        edges = [port for target in judged for first, last in target.ports for port in (first, last + 1)]
        self._ports = tuple(dict.fromkeys([*edges, 1]))  # between two of them nothing changes

    def reach(self, address: bytes, names: Sequence[str]) -> Verdict:
        """May the guest reach the address of these names, at any port by any protocol?"""
        refused = Verdict(False, DEFAULT, "no rule allows it")
        for port, protocol in ((port, protocol) for port in self._ports for protocol in PROTOCOLS):
            verdict = self.rules.judge_address(protocol, address, port, names)
            if verdict.allowed:
                return verdict
            refused = verdict if refused.rule == DEFAULT else refused
        return refused


class _Told:
    """Addresses that the guest was told, by which names and until when. The oldest give way."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._names: dict[Address | None, dict[str, float]] = {}

    def add(self, address: Address | None, names: Iterable[str], until: float) -> None:
        known = self._names[address] = self._names.pop(address, {})
        for name in names:
            known[name] = max(until, known.pop(name, 0.0))
        trim(known, NAMES_PER_ADDRESS)
        trim(self._names, self._size)

    def names_of(self, address: Address | None, now: float) -> list[str]:
        return [name for name, until in self._names.get(address, {}).items() if now < until]


class Resolver:
    """The resolver of one guest. It is used on the loop's thread only, and never waits.

    `rules` gives the rules of this moment. `upstream` are addresses and ports of servers; None: those of the host.
    `on_decision` hears of each question, and of each address that is left out of an answer. `clock` is the time by
    which answers age.

    PolicyError: a server is no numeric address with a port.
    """

    def __init__(
        self,
        loop: Loop,
        rules: Callable[[], Rules],
        *,
        upstream: Sequence[tuple[str, int]] | None = None,
        limits: NameLimits = DEFAULT_LIMITS,
        on_decision: Callable[[NameDecision], object] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        servers = [Server.at(*each) for each in (host_servers() if upstream is None else upstream)]
        self._upstream = Upstream(loop, servers, limits, clock)
        self._rules, self._clock = rules, clock
        self._on_decision = on_decision
        self._current = _Ruled(rules())
        self._told = _Told(limits.answers)
        self._closed = False

    def ask(self, query: bytes, reply: Reply, *, stream: bool) -> None:
        """Answer a message of the guest: a datagram, or one of a stream without the length before it. `reply` is called
        once, now or later, or never for what deserves no answer."""
        read = None if self._closed else read_query(query, stream=stream)
        if isinstance(read, Query):
            self._answer(read, reply)
        elif read is not None:
            reply(read)

    def names_of(self, address: Address | bytes) -> list[str]:
        """Names that stand for an address now: those of Hosts, which a guest may have read from its /etc/hosts, and
        those that it was told the address for."""
        meant = plain(address)
        hosts, told = self._ruled().named.get(meant, []), self._told.names_of(meant, self._clock())
        return list(dict.fromkeys([*hosts, *told]))

    def close(self) -> None:
        """Forget the questions; no reply is called any more."""
        self._closed = True
        self._upstream.close()

    def _ruled(self) -> _Ruled:
        rules = self._rules()
        if rules is not self._current.rules:
            self._current = _Ruled(rules)
        return self._current

    # ---- questions ------------------------------------------------------------------------------------------------

    def _answer(self, query: Query, reply: Reply) -> None:
        decided = self._decide(query)
        self._report(query, decided.allowed, decided.rule)
        if decided.rcode is None:
            self._upstream.ask(_question(query), partial(self._give, query, reply))
        else:
            reply(query.reply(decided.rcode, decided.records))

    def _report(self, query: Query, allowed: bool, rule: str, address: str = "") -> None:
        self._on_decision(NameDecision(query.name, dns.rdatatype.to_text(query.rdtype), allowed, rule, address))

    def _decide(self, query: Query) -> _Decided:
        return self._of_hosts(query) or _of_loopback(query) or self._of_address(query) or self._of_rules(query)

    def _of_hosts(self, query: Query) -> _Decided | None:
        found = self._ruled().rules.hosts.get(query.name)
        if found is None:
            return None
        rule = f"hosts {query.name} = {' '.join(map(str, found))}"
        return _Decided(True, rule, records=address_records(query, found))

    def _of_address(self, query: Query) -> _Decided | None:
        """The names of an address that the guest knows. Of another nobody is asked: its digits would carry data."""
        address = _reversed(query)
        if address is None:
            return None
        names = [*self.names_of(address), *(["localhost"] if address in LOOPBACK else [])]
        if not names:
            return _Decided(False, f"{DEFAULT}: address", dns.rcode.NXDOMAIN)
        return _Decided(True, "names told", records=name_records(query, names))

    def _of_rules(self, query: Query) -> _Decided:
        """INVARIANT asked-when-allowed: what is decided here, and nothing else, makes a question go upstream."""
        verdict = self._ruled().rules.judge_name(query.name)
        if not verdict.allowed:
            return _Decided(False, verdict.rule, dns.rcode.NXDOMAIN)
        if query.rdtype not in FORWARDED:
            return _Decided(False, f"{DEFAULT}: type")
        if not self._upstream.has_room(_question(query)):
            return _Decided(False, "limit: in flight", dns.rcode.SERVFAIL)
        return _Decided(True, verdict.rule, None)

    # ---- answers --------------------------------------------------------------------------------------------------

    def _give(self, query: Query, reply: Reply, answer: Answer) -> None:
        """The rules may have changed since it was asked."""
        verdict = self._ruled().rules.judge_name(query.name)
        if verdict.allowed:
            reply(query.reply(*self._screened(query, answer)))
        else:
            self._report(query, False, verdict.rule)
            reply(query.reply(dns.rcode.NXDOMAIN))

    def _screened(self, query: Query, answer: Answer) -> tuple[dns.rcode.Rcode, list[dns.rrset.RRset]]:
        """INVARIANT no-rebinding: an address is told only where the guest may reach it by the names that led to it.
        Where none is left, nothing is."""
        found = list(answer.found or ())
        if query.rdtype in VERSIONS and found:
            found = [each for each in found[:MOST_ADDRESSES] if self._may_tell(query, answer, each)]
            if not found:
                return dns.rcode.NOERROR, []
        return answer.rcode, answer.records(self._clock(), found)

    def _may_tell(self, query: Query, answer: Answer, record: dns.rdata.Rdata) -> bool:
        ruled, address, now = self._ruled(), record.to_wire() or b"", self._clock()
        verdict = ruled.reach(address, answer.names)
        if verdict.allowed:
            allowed = [name for name in answer.names[1:] if ruled.rules.judge_name(name).allowed]
            self._told.add(plain(address), [query.name, *allowed], now + max(answer.left(now), LEAST_COVER))
        else:
            self._report(query, False, verdict.rule, str(ip_address(address)))
        return verdict.allowed


def _question(query: Query) -> Question:
    return query.asked.canonicalize(), query.rdtype


def _of_loopback(query: Query) -> _Decided | None:
    own = query.name == "localhost" or query.name.endswith(".localhost")
    return _Decided(True, "localhost", records=address_records(query, LOOPBACK)) if own else None


def _reversed(query: Query) -> Address | None:
    """The address that a PTR is asked for."""
    if query.rdtype != dns.rdatatype.PTR:
        return None
    try:
        return plain(ip_address(dns.reversename.to_address(query.asked)))
    except (dns.exception.DNSException, ValueError):
        return None
