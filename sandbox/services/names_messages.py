"""DNS messages as a guest and as a server upstream send them: what of them is let through.

dnspython parses and builds. These are pure functions and values.

>>> asked = read_query(dns.message.make_query("WWW.Example.org", "A").to_wire(), stream=False)
>>> asked.name, asked.rdtype.name
('www.example.org', 'A')
>>> dns.message.from_wire(asked.reply(dns.rcode.NXDOMAIN)).rcode().name
'NXDOMAIN'
>>> read_query(b"no header", stream=False)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import dns.wire

from .._addresses import Address

LARGEST_QUERY = 1024
"""Bytes; a longest name and an OPT with a cookie and padding take half of it."""
PAYLOAD = 1232
"""Bytes of a datagram that are read, as EDNS says it: what no network on the way has to fragment."""
MOST_RECORDS = 128
"""Of a message: names of records can be made so that each takes a tenth of a millisecond to read."""
LOCAL_TTL = 60
"""Seconds that an answer of the guest's own stands."""

VERSIONS = {dns.rdatatype.A: 4, dns.rdatatype.AAAA: 6}
"""Types of record that hold addresses, and of which version."""


class _Header(NamedTuple):
    id: int
    flags: int
    questions: int
    answers: int
    authorities: int
    additionals: int


@dataclass(frozen=True)
class Query:
    """One question of a guest, in class IN. `name` is in lower case, without a trailing dot; it may be no host's."""

    message: dns.message.Message
    stream: bool

    @property
    def asked(self) -> dns.name.Name:
        """The name as the guest wrote it: clients that mix the case compare it."""
        return self.message.question[0].name

    @property
    def rdtype(self) -> dns.rdatatype.RdataType:
        return self.message.question[0].rdtype

    @cached_property
    def name(self) -> str:
        return text_of(self.asked)

    def reply(self, rcode: dns.rcode.Rcode, records: Iterable[dns.rrset.RRset] = ()) -> bytes:
        """An answer as it is sent; a datagram is cut to what the guest takes, and says so."""
        response = dns.message.make_response(self.message, recursion_available=True)
        if self.message.edns >= 0:  # again, without the options that the library answers with
            response.use_edns(0, payload=PAYLOAD, request_payload=self.message.payload)
        response.set_rcode(rcode)
        response.answer = list(records)
        room = 65535 if self.stream else max(512, self.message.payload)
        return response.to_wire(max_size=room, prefer_truncation=True)


def text_of(name: dns.name.Name) -> str:
    """A name as rules compare it: lower case, no trailing dot. What is no host's name keeps its escapes."""
    return name.to_text(omit_final_dot=True).lower()


def parsed(wire: bytes) -> dns.message.Message | None:
    """A message, with what is wrong with it in `errors`; None for what has no header, or too many records."""
    try:
        records = sum(_header(wire)[2:])
        return dns.message.from_wire(wire, continue_on_error=True) if records <= MOST_RECORDS else None
    except dns.exception.DNSException:
        return None


def _header(wire: bytes) -> _Header:
    return _Header(*dns.wire.Parser(wire).get_struct("!6H"))


def read_query(wire: bytes, *, stream: bool) -> Query | bytes | None:
    """The question in a message, or the answer to a message that has none, or None where nothing is to be said."""
    try:
        header = _header(wire)
    except dns.exception.FormError:
        return None
    if header.flags & dns.flags.QR:
        return None  # answers to answers would never end
    if dns.opcode.from_flags(header.flags) != dns.opcode.QUERY:
        return _refusal(header, dns.rcode.NOTIMP)
    return _read(header, wire, stream)


def _read(header: _Header, wire: bytes, stream: bool) -> Query | bytes:
    message = parsed(wire) if _is_plain(header, wire) else None
    if message is None or message.errors:
        return _refusal(header, dns.rcode.FORMERR)
    if message.edns > 0:
        return _refusal(header, dns.rcode.BADVERS)
    query = Query(message, stream)
    return query if message.question[0].rdclass == dns.rdataclass.IN else query.reply(dns.rcode.REFUSED)


def _is_plain(header: _Header, wire: bytes) -> bool:
    """One question and no record but an OPT. INVARIANT bounded: dnspython looks for a module of every class and type
    of record that it meets and never forgets one, so that what else a guest sends is not given to it."""
    if len(wire) > LARGEST_QUERY or header[2:5] != (1, 0, 0) or header.additionals > 1:
        return False
    try:
        return not header.additionals or _first_additional(dns.wire.Parser(wire, 12)) == dns.rdatatype.OPT
    except dns.exception.DNSException:
        return False


def _first_additional(parser: dns.wire.Parser) -> int:
    """The type of the record after the question."""
    dns.name.from_wire_parser(parser)
    parser.get_struct("!HH")
    dns.name.from_wire_parser(parser)
    return parser.get_uint16()


def _refusal(header: _Header, rcode: dns.rcode.Rcode) -> bytes:
    response = dns.message.Message(id=header.id)
    response.flags = dns.flags.QR | header.flags & dns.flags.RD
    response.set_opcode(dns.opcode.from_flags(header.flags))
    response.set_rcode(rcode)
    return response.to_wire()


# ---- answers ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """What upstream said to a question: aliases, and the records of the last name. `names` are the name asked for and
    the targets of the aliases; `ttl` is the least of all, 0 where no record was found."""

    rcode: dns.rcode.Rcode
    aliases: tuple[dns.rrset.RRset, ...] = ()
    found: dns.rrset.RRset | None = None
    names: tuple[str, ...] = ()
    ttl: int = 0
    since: float = 0.0

    def left(self, now: float) -> int:
        """Seconds for which it still stands."""
        return max(0, self.ttl - int(now - self.since))

    def records(self, now: float, found: Sequence[dns.rdata.Rdata]) -> list[dns.rrset.RRset]:
        """What is told of it when it has come to this age: aliases, and these of the records found."""
        given = [(each, list(each)) for each in self.aliases]
        given += [(self.found, list(found))] if self.found and found else []
        age = int(now - self.since)
        return [dns.rrset.from_rdata_list(each.name, max(0, each.ttl - age), kept) for each, kept in given]


FAILED = Answer(dns.rcode.SERVFAIL)


def read_answer(response: dns.message.Message | None, now: float) -> Answer:
    """INVARIANT bailiwick: of an answer only the chain from the question is kept, with one target for each alias."""
    try:
        chain = response.resolve_chaining() if isinstance(response, dns.message.QueryMessage) else None
    except dns.exception.DNSException:
        chain = None
    if response is None or chain is None:
        return FAILED
    aliases = tuple(dns.rrset.from_rdata_list(each.name, each.ttl, [each[0]]) for each in chain.cnames)
    names = (*(text_of(each.name) for each in aliases), text_of(chain.canonical_name))
    return Answer(response.rcode(), aliases, chain.answer, names, chain.minimum_ttl if chain.answer else 0, now)


# ---- records of the guest's own -----------------------------------------------------------------------------------


def address_records(query: Query, addresses: Iterable[Address]) -> list[dns.rrset.RRset]:
    """Those of the addresses that the query is for."""
    return _records(query, [str(each) for each in addresses if each.version == VERSIONS.get(query.rdtype)])


def name_records(query: Query, names: Iterable[str]) -> list[dns.rrset.RRset]:
    return _records(query, [f"{name}." for name in names])


def _records(query: Query, texts: list[str]) -> list[dns.rrset.RRset]:
    return [dns.rrset.from_text_list(query.asked, LOCAL_TTL, "IN", query.rdtype, texts)] if texts else []
