"""What comes in: ports of the guest on the host."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from ._addresses import Address, Block, Prefixes, block_text, parse_block, plain
from ._errors import PolicyError
from ._grants import set_fields
from ._targets import check_port, clean_text, end_text, parse_end, split_scheme

_SOURCES_MAX = 256  # what a filter of the kernel has room for


@dataclass(frozen=True, init=False)
class Publish:
    """TCP connections to `host` on the host, or datagrams of UDP, come to the guest's port `guest`.

    `host` is [tcp://|udp://]ADDRESS:PORT, or [tcp://|udp://]PORT on 127.0.0.1; without a protocol it is TCP. 0.0.0.0
    and [::] are all of the host's addresses. `sources` are the addresses and CIDRs that may connect or send; without
    any it is everyone who reaches `host`. Datagrams are answered for two minutes after their sender was last heard.

    PolicyError: a port is not one of 1 to 65535, an address is none.

    >>> Publish(8080, 18080).host, Publish(8080, "[::1]:18080", ["::1"]).sources, Publish(53, "udp://1053").host
    ('127.0.0.1:18080', ('::1',), 'udp://127.0.0.1:1053')
    """

    guest: int
    host: str
    sources: tuple[str, ...] = ()

    def __init__(self, guest: int, host: str | int, sources: Iterable[str] = ()) -> None:
        try:
            protocol, end = _listening(host)
            text = ("udp://" if protocol == "udp" else "") + end_text(*end)
            set_fields(self, guest=check_port(guest), host=text, sources=_sources(sources))
        except ValueError as error:
            raise PolicyError(f"publish {host!r}: {error}") from None

    def __str__(self) -> str:
        return f"publish {self.host} as {self.guest}{' for ' + ', '.join(self.sources) if self.sources else ''}"

    @property
    def protocol(self) -> str:
        """"tcp" or "udp"."""
        return _listening(self.host)[0]

    @property
    def listening(self) -> tuple[Address, int]:
        """Address and port on the host."""
        return _listening(self.host)[1]

    def admits(self, source: Address | bytes) -> bool:
        """May a connection or a datagram come from this address? One mapped into IPv6 is its IPv4 address."""
        address = plain(source)
        return address is not None and (not self.sources or any(self._prefixes.covering(address)))

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """Of `sources`."""
        return tuple(map(parse_block, self.sources))

    @cached_property
    def _prefixes(self) -> Prefixes[bool]:
        return Prefixes((block, True) for block in self.blocks)


def _sources(values: object) -> tuple[str, ...]:
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise ValueError(f"sources: {values!r} is no list")
    found = tuple(dict.fromkeys(map(_source, values)))
    if len(found) > _SOURCES_MAX:
        raise ValueError(f"{len(found)} sources: {_SOURCES_MAX} at most can be")
    return found


def _source(text: object) -> str:
    try:
        return block_text(parse_block(clean_text(text)))
    except ValueError as error:
        raise ValueError(f"source {text!r}: {error}") from None


def _listening(host: object) -> tuple[str, tuple[Address, int]]:
    scheme, text = ("", str(check_port(host))) if isinstance(host, int) else split_scheme(clean_text(host))
    return scheme or "tcp", parse_end("127.0.0.1:" + text if text.isdecimal() else text)
