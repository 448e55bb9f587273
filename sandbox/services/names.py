"""Names of a guest: its questions are answered under its rules, from the policy or by asking upstream.

No name that the rules do not allow is asked for, so that names carry nothing out; no address that the rules refuse is
told, so that names lead nowhere else; and what is told is remembered, because rules of names are judged by it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
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
SAID_AGAIN = 64
"""Answers that are kept as they were sent."""
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
    """`rcode` is None where upstream is to be asked; `lasts`: it is so as long as the rules are."""

    allowed: bool
    rule: str
    rcode: dns.rcode.Rcode | None = dns.rcode.NOERROR
    records: Sequence[dns.rrset.RRset] = ()
    lasts: bool = False


@dataclass
class _Said:
    """All that came of a question: so that the same question, but for its number, can be answered so again."""

    rules: Rules
    question: NameDecision | None = None
    told: list[tuple[Address | None, Sequence[str], float]] = field(default_factory=list)
    until: float = 0.0
    wire: bytes = b""


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

    def __len__(self) -> int:
        return len(self._names)

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
        self._said: dict[tuple[bytes, bool], _Said] = {}
        self._closed = False

    def ask(self, query: bytes, reply: Reply, *, stream: bool) -> None:
        """Answer a message of the guest: a datagram, or one of a stream without the length before it. `reply` is called
        once, now or later, or never for what deserves no answer."""
        asked, rules = (query[2:], stream), self._rules()
        said = self._said.get(asked)
        if said is not None and said.rules is rules and self._clock() < said.until and not self._closed:
            return self._say_again(said, query, reply)
        read = None if self._closed else read_query(query, stream=stream)
        if isinstance(read, Query):
            said = _Said(rules)
            self._answer(read, said, partial(self._say, said, asked, reply))
        elif read is not None:
            reply(read)

    def names_of(self, address: Address | bytes) -> list[str]:
        """Names that stand for an address now: those of Hosts, which a guest may have read from its /etc/hosts, and
        those that it was told the address for."""
        named, told = self._ruled().named, self._told
        if not named and not told:
            return []
        meant = plain(address)
        return list(dict.fromkeys([*named.get(meant, []), *told.names_of(meant, self._clock())]))

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

    def _answer(self, query: Query, said: _Said, reply: Reply) -> None:
        decided = self._decide(query)
        self._report(query, said, decided.allowed, decided.rule)
        if decided.rcode is None:
            self._upstream.ask(_question(query), partial(self._give, query, said, reply))
        else:
            said.until = math.inf if decided.lasts else 0.0
            reply(query.reply(decided.rcode, decided.records))

    def _report(self, query: Query, said: _Said, allowed: bool, rule: str, address: str = "") -> None:
        decision = NameDecision(query.name, dns.rdatatype.to_text(query.rdtype), allowed, rule, address)
        said.question = said.question or decision
        self._on_decision(decision)

    def _tell(self, address: Address | None, names: Sequence[str], seconds: float) -> None:
        self._told.add(address, names, self._clock() + seconds)

    def _say(self, said: _Said, asked: tuple[bytes, bool], reply: Reply, answer: bytes) -> None:
        said.wire = answer[2:]
        if self._clock() < said.until:
            self._said.pop(asked, None)
            self._said[asked] = said
            trim(self._said, SAID_AGAIN)
        reply(answer)

    def _say_again(self, said: _Said, query: bytes, reply: Reply) -> None:
        """That addresses were left out was reported when it was decided."""
        if said.question is not None:
            self._on_decision(said.question)
        for told in said.told:
            self._tell(*told)
        reply(query[:2] + said.wire)

    def _decide(self, query: Query) -> _Decided:
        return self._of_hosts(query) or _of_loopback(query) or self._of_address(query) or self._of_rules(query)

    def _of_hosts(self, query: Query) -> _Decided | None:
        found = self._ruled().rules.hosts.get(query.name)
        if found is None:
            return None
        rule = f"hosts {query.name} = {' '.join(map(str, found))}"
        return _Decided(True, rule, records=address_records(query, found), lasts=True)

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
            return _Decided(False, verdict.rule, dns.rcode.NXDOMAIN, lasts=True)
        if query.rdtype not in FORWARDED:
            return _Decided(False, f"{DEFAULT}: type", lasts=True)
        if not self._upstream.has_room(_question(query)):
            return _Decided(False, "limit: in flight", dns.rcode.SERVFAIL)
        return _Decided(True, verdict.rule, None)

    # ---- answers --------------------------------------------------------------------------------------------------

    def _give(self, query: Query, said: _Said, reply: Reply, answer: Answer) -> None:
        """The rules may have changed since it was asked. What is told lasts until its TTL is one less."""
        verdict = self._ruled().rules.judge_name(query.name)
        if verdict.allowed:
            now = self._clock()
            said.until = answer.since + int(now - answer.since) + 1 if answer.left(now) else 0.0
            reply(query.reply(*self._screened(query, said, answer)))
        else:
            self._report(query, said, False, verdict.rule)
            reply(query.reply(dns.rcode.NXDOMAIN))

    def _screened(self, query: Query, said: _Said, answer: Answer) -> tuple[dns.rcode.Rcode, list[dns.rrset.RRset]]:
        """INVARIANT no-rebinding: an address is told only where the guest may reach it by the names that led to it.
        Where none is left, nothing is."""
        found = list(answer.found or ())
        if query.rdtype in VERSIONS and found:
            found = [each for each in found[:MOST_ADDRESSES] if self._may_tell(query, said, answer, each)]
            if not found:
                return dns.rcode.NOERROR, []
        return answer.rcode, answer.records(self._clock(), found)

    def _may_tell(self, query: Query, said: _Said, answer: Answer, record: dns.rdata.Rdata) -> bool:
        ruled, address = self._ruled(), record.to_wire() or b""
        verdict = ruled.reach(address, answer.names)
        if verdict.allowed:
            allowed = [name for name in answer.names[1:] if ruled.rules.judge_name(name).allowed]
            seconds = max(answer.left(self._clock()), LEAST_COVER)
            said.told.append((plain(address), [query.name, *allowed], seconds))
            self._tell(*said.told[-1])
        else:
            self._report(query, said, False, verdict.rule, str(ip_address(address)))
        return verdict.allowed


def _question(query: Query) -> Question:
    return query.asked.canonicalize(), query.rdtype


def _of_loopback(query: Query) -> _Decided | None:
    own = query.name == "localhost" or query.name.endswith(".localhost")
    return _Decided(True, "localhost", records=address_records(query, LOOPBACK), lasts=True) if own else None


def _reversed(query: Query) -> Address | None:
    """The address that a PTR is asked for."""
    if query.rdtype != dns.rdatatype.PTR:
        return None
    try:
        return plain(ip_address(dns.reversename.to_address(query.asked)))
    except (dns.exception.DNSException, ValueError):
        return None
