"""A network as TOML: a word, or a list of tables with one rule each.

    network = "loopback"

    [[network]]
    allow = "db.internal:5432"
    private = true

    [[network]]
    deny = "169.254.0.0/16"

    [[network]]
    allow_http = "docs.example.com/*"
    methods = "GET,HEAD"

    [[network]]
    header = "Authorization"
    value_env = "TOKEN"
    hosts = ["api.example.com"]

    [[network]]
    publish = 8080
    host = "127.0.0.1:18080"
    sources = ["127.0.0.0/8"]

    [[network]]
    hosts = {"db.internal" = "10.0.0.5"}

    [[network]]
    resolvers = ["1.1.1.1", "[::1]:5353"]

With "host" among the rules the list is written in one: `network = ["host", {deny = "10.0.0.0/8"}]`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from ._errors import PolicyError
from ._network import Allow, AllowHTTP, Deny, Header, Hosts, Network, Publish, Resolvers, Rule
from ._toml import known, typed

_KEYS: dict[str, dict[str, Any]] = {
    "allow": {"allow": str, "private": bool},
    "deny": {"deny": str},
    "allow_http": {"allow_http": str, "methods": str, "private": bool, "ca": str},
    "header": {"header": str, "value_env": str, "hosts": list, "plain": bool},
    "publish": {"publish": int, "host": (str, int), "sources": list},
    "hosts": {"hosts": dict},
    "resolvers": {"resolvers": list},
}
"""A table is what its key says; the first is the key, the others are the arguments that may stand beside it."""

_NEEDED = {"publish": ("host",), "allow_http": ("methods",), "header": ("value_env", "hosts")}

_MADE: dict[str, Callable[..., Rule]] = {
    "allow": lambda allow, private=False: Allow(allow, private=private),
    "deny": lambda deny: Deny(deny),
    "publish": lambda publish, host, sources=(): Publish(publish, host, sources),
    "allow_http": lambda allow_http, methods, **more: AllowHTTP(methods, allow_http, **more),
    "header": lambda header, value_env, hosts, plain=False: Header(header, None, hosts, plain=plain, env=value_env),
    "hosts": lambda hosts: Hosts(hosts),
    "resolvers": lambda resolvers: Resolvers(*resolvers),
}


def parse(name: str, value: Any) -> Network:
    """The network that a TOML value means; `name` is its file, for errors."""
    typed(name, "network", value, (str, list))
    return value if isinstance(value, str) else [_item(name, item) for item in value]


def _item(name: str, item: Any) -> str | Rule:
    typed(name, "network", item, (str, dict))
    return item if isinstance(item, str) else _rule(name, item)


def _rule(name: str, table: dict[str, Any]) -> Rule:
    held = [kind for kind in _KEYS if kind in table]
    kinds = [kind for kind in held if not any(kind in _KEYS[other] for other in held if other != kind)]
    if len(kinds) != 1:
        raise PolicyError(
            f"{name}: network: an entry has one of {', '.join(_KEYS)}; this has {', '.join(table) or 'none'}"
        )
    known(name, "network", table, _KEYS[kinds[0]])
    for key, value in table.items():
        typed(name, f"network.{key}", value, _KEYS[kinds[0]][key])
    for needed in _NEEDED.get(kinds[0], ()):
        if needed not in table:
            raise PolicyError(f"{name}: network: {kinds[0]} {table[kinds[0]]} has no {needed}")
    if "ca" in table:
        table = {**table, "ca": os.path.join(os.path.dirname(os.path.abspath(name)), table["ca"])}
    try:
        return _MADE[kinds[0]](**table)
    except PolicyError as error:
        raise PolicyError(f"{name}: network: {error}") from None


def document(network: Network) -> Any:
    """The TOML value that `parse` reads as an equal network."""
    return network if isinstance(network, str) else [_table(item) for item in network]


def _table(item: str | Rule) -> str | Mapping[str, Any]:
    if isinstance(item, Allow):
        return {"allow": item.target, "private": True} if item.private else {"allow": item.target}
    if isinstance(item, AllowHTTP):
        more = {"private": True} if item.private else {}
        return {"allow_http": item.pattern, "methods": item.methods, **more, **({"ca": item.ca} if item.ca else {})}
    if isinstance(item, Header):
        return _header(item)
    if isinstance(item, Publish):
        sources = {"sources": list(item.sources)} if item.sources else {}
        return {"publish": item.guest, "host": item.host, **sources}
    if isinstance(item, Hosts):
        return {"hosts": {name: list(found) for name, found in item.mapping.items()}}
    if isinstance(item, Resolvers):
        return {"resolvers": list(item.servers)}
    return {"deny": item.target} if isinstance(item, Deny) else item


def _header(header: Header) -> Mapping[str, Any]:
    if header.env is None:
        raise PolicyError(f"network: {header}: a secret given as a value has no TOML; one of a variable has")
    plain = {"plain": True} if header.plain else {}
    return {"header": header.name, "value_env": header.env, "hosts": list(header.hosts), **plain}
