"""Names of the guest's own: what /etc/hosts would hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ._addresses import parse_address
from ._domains import parse_name
from ._errors import PolicyError
from ._grants import set_fields
from ._targets import clean_text


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


def _host(name: Any, addresses: Any) -> tuple[str, tuple[str, ...]]:
    try:
        listed = [addresses] if isinstance(addresses, str) else list(addresses)
        found = tuple(dict.fromkeys(str(parse_address(clean_text(address))) for address in listed))
        if not found:
            raise ValueError("has no address")
        return parse_name(clean_text(name)), found
    except (TypeError, ValueError) as error:
        raise PolicyError(f"hosts {name!r}: {error}") from None
