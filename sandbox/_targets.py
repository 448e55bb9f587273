"""Targets of network rules, from text: `[tcp://|udp://]WHAT[:PORTS]`.

>>> str(parse_target("TCP://*.Example.org.:443,80", "allow"))
'tcp://*.example.org:80,443'
>>> str(parse_target("[2001:DB8:0::/32]:8000-8010", "deny"))
'[2001:db8::/32]:8000-8010'
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ._addresses import Address, Block, block_text, parse_address, parse_block
from ._domains import ends_in_number, parse_name
from ._errors import PolicyError

PROTOCOLS = ("tcp", "udp")
Ranges = tuple[tuple[int, int], ...]
ALL_PORTS: Ranges = ((1, 65535),)

_RANGE = re.compile("(0|[1-9][0-9]*)(?:-(0|[1-9][0-9]*))?")


@dataclass(frozen=True)
class Target:
    """What a rule covers. `protocol` is empty for both; `what` is a name, `*.name`, `*`, or the text of `block`."""

    protocol: str
    what: str
    block: Block | None
    ports: Ranges

    def __str__(self) -> str:
        ports = "" if self.ports == ALL_PORTS else ":" + ",".join(map(_shown, self.ports))
        what = f"[{self.what}]" if ports and ":" in self.what else self.what
        return (self.protocol and self.protocol + "://") + what + ports

    def covers(self, protocol: str, port: int) -> bool:
        return protocol in self.protocols and any(first <= port <= last for first, last in self.ports)

    @property
    def protocols(self) -> tuple[str, ...]:
        return (self.protocol,) if self.protocol else PROTOCOLS

    @property
    def exact(self) -> bool:
        """One name or one address."""
        return self.block.prefixlen == self.block.max_prefixlen if self.block else not self.what.startswith("*")

    @property
    def length(self) -> int:
        """Of a prefix its bits, of a pattern its labels, of what is exact 0: more is narrower."""
        return 0 if self.exact else self.block.prefixlen if self.block else self.what.count(".")

    @property
    def port_count(self) -> int:
        return sum(last - first + 1 for first, last in self.ports)


def _shown(ports: tuple[int, int]) -> str:
    return f"{ports[0]}" if ports[0] == ports[1] else f"{ports[0]}-{ports[1]}"


def parse_target(text: object, rule: str) -> Target:
    """The target that `text` means; a PolicyError names the rule, the text and what is wrong with it."""
    try:
        protocol, what, ports = _split(clean_text(text))
        block = parse_block(what) if _is_numeric(what) else None
        return Target(protocol, block_text(block) if block else _pattern(what), block, parse_ports(ports))
    except ValueError as error:
        raise PolicyError(f"{rule} {text!r}: {error}") from None


def clean_text(text: object) -> str:
    if not isinstance(text, str) or not text:
        raise ValueError("is no text" if not isinstance(text, str) else "is empty")
    if any(c.isspace() or not c.isprintable() for c in text):
        raise ValueError("holds whitespace or a control character")
    return text


def _split(text: str) -> tuple[str, str, str]:
    scheme, rest = split_scheme(text)
    return (scheme, *split_ports(rest))


def split_scheme(text: str) -> tuple[str, str]:
    """The protocol that a text names, empty for none, and the rest."""
    scheme, found, rest = text.rpartition("://")
    if found and scheme.lower() not in PROTOCOLS:
        raise ValueError(f"unknown scheme {scheme}://; known: tcp://, udp://")
    return scheme.lower(), rest


def split_ports(text: str) -> tuple[str, str]:
    """WHAT and PORTS, `*` for none. More than one colon outside brackets is an IPv6 address without ports."""
    if text.startswith("["):
        return _split_brackets(text)
    what, colon, ports = text.partition(":") if text.count(":") == 1 else (text, "", "")
    if colon and not ports:
        raise ValueError("no ports after the colon")
    return what, ports or "*"


def _split_brackets(text: str) -> tuple[str, str]:
    what, closed, tail = text[1:].partition("]")
    if not closed or ":" not in what:
        raise ValueError("brackets hold an IPv6 address or block: [2001:db8::1]:443, [2001:db8::/32]:443")
    if tail and (tail[0] != ":" or tail == ":"):
        raise ValueError(f"{tail} after the brackets is not :PORTS")
    return what, tail[1:] or "*"


def parse_end(text: str, port: int | None = None) -> tuple[Address, int]:
    """ADDRESS:PORT, or ADDRESS alone where `port` is what it then has.

    >>> parse_end("[::1]:53"), parse_end("10.0.0.2", 53)
    ((IPv6Address('::1'), 53), (IPv4Address('10.0.0.2'), 53))
    """
    address, ports = split_ports(text)
    if ports == "*" and port is not None:
        return parse_address(address), port
    if not ports.isdecimal() or not ports.isascii():
        raise ValueError("is not ADDRESS:PORT; IPv6 is [::1]:PORT")
    return parse_address(address), check_port(int(ports[:9]))


def end_text(address: Address, port: int) -> str:
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


# ---- ports --------------------------------------------------------------------------------------------------------


def parse_ports(text: str) -> Ranges:
    """Ports as sorted ranges that neither touch nor overlap."""
    if text == "*":
        return ALL_PORTS
    merged: list[tuple[int, int]] = []
    for first, last in sorted(map(_range, text.split(","))):
        if merged and first <= merged[-1][1] + 1:
            first, last = merged[-1][0], max(last, merged.pop()[1])
        merged.append((first, last))
    return tuple(merged)


def _range(text: str) -> tuple[int, int]:
    found = _RANGE.fullmatch(text)
    if not found:
        raise ValueError(f"ports {text!r} are not 443, 80,443, 8000-8010 or *")
    first, last = check_port(int(found[1][:9])), check_port(int((found[2] or found[1])[:9]))
    if last < first:
        raise ValueError(f"ports {text} run backwards")
    return first, last


def check_port(port: object) -> int:
    if isinstance(port, bool) or not isinstance(port, int) or not 1 <= port <= 65535:
        raise ValueError(f"port {port!r} is not one of 1 to 65535")
    return port


def _is_numeric(what: str) -> bool:
    """Would someone read it as an address? Then it must be one: 127.1, 0177.0.0.1 and 2130706433 are no names."""
    return ":" in what or "/" in what or ends_in_number(what)


def _pattern(text: str) -> str:
    return "*" if text == "*" else "*." + parse_name(text[2:]) if text.startswith("*.") else parse_name(text)
