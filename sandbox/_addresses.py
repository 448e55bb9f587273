"""What an address is: its kind, and the IPv4 addresses that an IPv6 address stands for or carries.

The tables are our own: what `ipaddress` calls private differs between versions of Python.

>>> kind_of(IPv4Address("169.254.169.254")), kind_of(IPv4Address("10.0.0.5")), kind_of(IPv6Address("2600::1"))
('metadata', 'private', 'public')
>>> plain(IPv6Address("::ffff:10.0.0.5")), carried(IPv6Address("64:ff9b::10.0.0.5"))
(IPv4Address('10.0.0.5'), (IPv4Address('10.0.0.5'),))
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Generic, TypeVar, Union

Address = Union[IPv4Address, IPv6Address]
Block = Union[IPv4Network, IPv6Network]
T = TypeVar("T")


OWN = IPv4Address("10.0.2.15")
"""A guest's own beside its loopback, where its network is served: as user-mode networks of virtual machines have it."""


class Prefixes(Generic[T]):
    """Values under blocks of addresses, found by an address, the longest prefix first."""

    def __init__(self, items: Iterable[tuple[Block, T]]) -> None:
        tables: dict[tuple[int, int], dict[int, list[T]]] = {}
        for block, value in items:
            shift = block.max_prefixlen - block.prefixlen
            table = tables.setdefault((block.version, shift), {})
            table.setdefault(int(block.network_address) >> shift, []).append(value)
        self._tables = {
            version: [(shift, tables[of, shift]) for of, shift in sorted(tables) if of == version] for version in (4, 6)
        }

    def covering(self, address: Address) -> Iterator[T]:
        number = int(address)
        for shift, table in self._tables[address.version]:
            yield from table.get(number >> shift, ())


KINDS: dict[str, tuple[str, ...]] = {
    "public": ("0.0.0.0/0", "2000::/3", "64:ff9b::/96", "64:ff9b:1::/48"),
    "private": ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7", "fec0::/10"),
    "loopback": ("127.0.0.0/8", "::1/128"),
    "unspecified": ("0.0.0.0/8", "::/128"),
    "link-local": ("169.254.0.0/16", "fe80::/10"),
    "multicast": ("224.0.0.0/4", "ff00::/8"),
    "reserved": (
        *("::/0", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24"),
        *("203.0.113.0/24", "240.0.0.0/4", "2001:2::/48", "2001:10::/28", "2001:20::/28", "2001:db8::/32"),
        "3fff::/20",
    ),
    "metadata": (
        "169.254.169.254/32",  # most clouds
        "168.63.129.16/32",  # Azure
        "100.100.100.200/32",  # Alibaba
        *("192.0.0.192/32", "fd00:c1::a9fe:a9fe/128"),  # Oracle
        "fd00:ec2::/32",  # Amazon: metadata, pod identity, names and time
        "fd20:ce::254/128",  # Google
        "fd00:42::42/128",  # Scaleway
        "fd00:a9fe:a9fe::1/128",  # Linode
    ),
}
"""Blocks of each kind; the longest block that covers an address says its kind."""

_BY_BLOCK = Prefixes((ip_network(block), kind) for kind, blocks in KINDS.items() for block in blocks)


def kind_of(address: Address) -> str:
    """The kind of an address, a key of KINDS."""
    return next(_BY_BLOCK.covering(address))


def within(block: Block, kind: str) -> bool:
    """Is all of a block of one of the blocks of a kind?"""
    lowest = block.network_address
    return any(lowest in outer and outer.prefixlen <= block.prefixlen for outer in map(ip_network, KINDS[kind]))


def plain(address: object) -> Address | None:
    """The address meant by an address object or its 4 or 16 bytes, without a scope; IPv4 where that is mapped into
    IPv6. None for what is no address."""
    if isinstance(address, bytes) and len(address) in (4, 16):
        address = ip_address(address)
    if isinstance(address, IPv6Address):
        return address.ipv4_mapped or IPv6Address(int(address))
    return address if isinstance(address, IPv4Address) else None


_LOOPBACK: dict[int, Address] = {4: IPv4Address("127.0.0.1"), 6: IPv6Address("::1")}


def reached(address: Address) -> Address:
    """Where the kernel sends what is for an address: to its loopback, if it is unspecified.

    >>> reached(IPv4Address("0.0.0.0")), reached(IPv4Address("10.0.0.5"))
    (IPv4Address('127.0.0.1'), IPv4Address('10.0.0.5'))
    """
    return _LOOPBACK[address.version] if address.is_unspecified else address


def _local_nat64(raw: bytes) -> tuple[bytes, ...]:
    """The block may be used with any prefix length of RFC 6052, so each place is read; octet 8 is skipped."""
    octets = raw[:8] + raw[9:]
    readings = (octets[start : start + 4] for start in (6, 7, 8, 11))
    return tuple(reading for reading in readings if reading[0])


_CARRIERS: tuple[tuple[IPv6Network, Callable[[bytes], tuple[bytes, ...]]], ...] = (
    (IPv6Network("::/96"), lambda raw: () if int.from_bytes(raw, "big") < 2 else (raw[12:],)),  # compatible
    (IPv6Network("::ffff:0:0:0/96"), lambda raw: (raw[12:],)),  # translated
    (IPv6Network("64:ff9b::/96"), lambda raw: (raw[12:],)),  # NAT64
    (IPv6Network("64:ff9b:1::/48"), _local_nat64),
    (IPv6Network("2002::/16"), lambda raw: (raw[2:6],)),  # 6to4
    (IPv6Network("2001::/32"), lambda raw: (raw[4:8], bytes(octet ^ 255 for octet in raw[12:]))),  # Teredo
)
_BY_CARRIER = Prefixes(_CARRIERS)


def carried(address: Address) -> tuple[IPv4Address, ...]:
    """The IPv4 addresses that something on the way may send to in place of an IPv6 address."""
    if isinstance(address, IPv4Address):
        return ()
    found = (read(address.packed) for read in _BY_CARRIER.covering(address))
    return tuple(IPv4Address(reading) for readings in found for reading in readings)


_MAPPED = IPv6Network("::ffff:0:0/96")


def parse_block(text: str) -> Block:
    """The block that an address or CIDR is, an IPv4 block where it is mapped into IPv6. ValueError says why it is none.

    >>> parse_block("10.0.0.0/8"), parse_block("::ffff:1.2.3.4")
    (IPv4Network('10.0.0.0/8'), IPv4Network('1.2.3.4/32'))
    """
    if "%" in text:
        raise ValueError("zone ids have no place in a policy")
    address, slash, bits = text.partition("/")
    if slash and not re.fullmatch("0|[1-9][0-9]*", bits):
        raise ValueError(f"/{bits} is no prefix length in bits")
    try:
        lowest, block = ip_address(address), ip_network(text, strict=False)
    except ValueError:
        raise ValueError("is neither an address nor a CIDR; IPv4 is four decimal numbers of 0 to 255") from None
    if lowest != block.network_address:
        raise ValueError(f"has host bits set; the CIDR is {block}")
    return _unmapped(block)


def _unmapped(block: Block) -> Block:
    if isinstance(block, IPv6Network) and block.subnet_of(_MAPPED):
        return IPv4Network((int(block.network_address) & 0xFFFFFFFF, block.prefixlen - 96))
    return block


def block_text(block: Block) -> str:
    """The text that `parse_block` reads as this block: an address alone without its prefix length."""
    return str(block.network_address) if block.prefixlen == block.max_prefixlen else str(block)


def parse_address(text: str) -> Address:
    """`parse_block` of a single address."""
    block = parse_block(text)
    if block.prefixlen != block.max_prefixlen:
        raise ValueError(f"{text} is no single address")
    return block.network_address
