"""Where names come from: the guest's own, which /etc/hosts would hold, and the servers that others are asked of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ._addresses import parse_address
from ._domains import parse_name
from ._errors import PolicyError
from ._grants import set_fields
from ._targets import clean_text, end_text, parse_end

DNS_PORT = 53


@dataclass(frozen=True, init=False)
class Hosts:
    """Names that the guest resolves to these addresses, whatever the host's resolver says: name to address, or to a
    list of addresses.

    It only names: whether the guest may connect there is judged like any other answer, so that a private address needs
    an Allow of it, or of the name with `private=True`.

    PolicyError: a name or an address is none.

    >>> Hosts({"Db.internal": "10.0.0.5"}).mapping["db.internal"]
    ('10.0.0.5',)
    """

    mapping: Mapping[str, tuple[str, ...]]

    def __init__(self, mapping: Mapping[str, str | Iterable[str]]) -> None:
        if not isinstance(mapping, Mapping):
            raise PolicyError(f"hosts: {mapping!r} is no mapping from name to addresses")
        made = dict(_host(*item) for item in mapping.items())
        if len(made) < len(mapping):
            raise PolicyError(f"hosts {', '.join(mapping)}: a name is given twice")
        set_fields(self, mapping=MappingProxyType(made))

    def __str__(self) -> str:
        return "hosts " + ", ".join(f"{name} = {' '.join(found)}" for name, found in self.mapping.items())

    def __hash__(self) -> int:
        return hash(frozenset(self.mapping.items()))

    def __reduce__(self) -> tuple[type[Hosts], tuple[Any, ...]]:
        return Hosts, (dict(self.mapping),)


@dataclass(frozen=True, init=False)
class Resolvers:
    """The servers that the names which rules allow are asked of, in their order: ADDRESS or ADDRESS:PORT. Without it
    they are the host's own.

    PolicyError: there is none, or one is no address.

    >>> Resolvers("1.1.1.1", "[2606:4700:4700::1111]:53").servers
    ('1.1.1.1:53', '[2606:4700:4700::1111]:53')
    """

    servers: tuple[str, ...]

    def __init__(self, *servers: str) -> None:
        try:
            found = dict.fromkeys(end_text(*parse_end(clean_text(server), DNS_PORT)) for server in servers)
        except ValueError as error:
            raise PolicyError(f"resolvers {', '.join(map(str, servers))}: {error}") from None
        if not found:
            raise PolicyError("resolvers: there is none")
        set_fields(self, servers=tuple(found))

    def __str__(self) -> str:
        return "resolvers " + " ".join(self.servers)

    @property
    def ends(self) -> list[tuple[str, int]]:
        """Address and port of each."""
        return [(str(address), port) for address, port in map(parse_end, self.servers)]


def _host(name: Any, addresses: Any) -> tuple[str, tuple[str, ...]]:
    try:
        listed = [addresses] if isinstance(addresses, str) else list(addresses)
        found = tuple(dict.fromkeys(str(parse_address(clean_text(address))) for address in listed))
        if not found:
            raise ValueError("has no address")
        return parse_name(clean_text(name)), found
    except (TypeError, ValueError) as error:
        raise PolicyError(f"hosts {name!r}: {error}") from None
