"""A guest's network: a word, or rules; Allow and Deny, values that cannot exist invalid. (Of HTTP: _http_rules.py.)

A target is `[tcp://|udp://]WHAT[:PORTS]`. WHAT is a domain name, `*.name` (every name below it, at any depth, but not
the name itself), `*` (every name), an IPv4 or IPv6 address, or a CIDR; IPv6 with ports stands in brackets:
`[2001:db8::/32]:443`. PORTS is `443`, `80,443`, `8000-8010`, or `*`, which is what its absence means, too. Without a
protocol it is TCP and UDP. A name is written in Unicode or ASCII and kept in lower-case ASCII.

>>> Allow("Api.Example.com.:443"), Deny("udp://10.0.0.0/8:*")
(Allow(target='api.example.com:443', private=False), Deny(target='udp://10.0.0.0/8'))
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Union

from ._errors import PolicyError
from ._grants import set_fields
from ._hosts import Hosts, Resolvers
from ._http_rules import AllowHTTP, Header
from ._publish import Publish
from ._targets import parse_target

__all__ = ["Allow", "AllowHTTP", "Deny", "Header", "Hosts", "Network", "Publish", "Resolvers", "Rule", "clean_network"]

_WORDS = ("none", "loopback", "host")
_PUBLISH_MAX = 64  # SBX_PUBLISH_MAX


@dataclass(frozen=True, init=False)
class Allow:
    """The guest may reach `target`, and resolve it where that is a name or pattern.

    By a name it reaches public addresses only: private, loopback, reserved, multicast and the like need
    `private=True`, which means nothing for an address. Link-local and cloud metadata addresses are reached by an Allow
    of exactly that address and by no other. A loopback address is the host's, since the guest's own loopback needs no
    rule: `Allow("127.0.0.1:5432")` is the host's database. A broader block than 127.0.0.0/8 does not reach it.

    PolicyError: the target is none.

    >>> Allow("*.example.org:443,80").target
    '*.example.org:80,443'
    """

    target: str
    private: bool = False

    def __init__(self, target: str, *, private: bool = False) -> None:
        set_fields(self, target=str(parse_target(target, "allow")), private=bool(private))

    def __str__(self) -> str:
        return f"allow {self.target}{' private' if self.private else ''}"


@dataclass(frozen=True, init=False)
class Deny:
    """The guest may not reach `target`; of an address that also stops a name that resolves there, and a name of which
    nothing else is allowed is not resolved. It is for exceptions: what no Allow covers is denied anyway.

    PolicyError: the target is none.

    >>> str(Deny("10.0.0.0/8:22"))
    'deny 10.0.0.0/8:22'
    """

    target: str

    def __init__(self, target: str) -> None:
        set_fields(self, target=str(parse_target(target, "deny")))

    def __str__(self) -> str:
        return f"deny {self.target}"


Judged = (Allow, Deny, AllowHTTP)
"""Rules with a `target`, by which connections are judged."""
Rule = Union[Allow, Deny, AllowHTTP, Header, Publish, Hosts, Resolvers]
_RULES = (Allow, Deny, AllowHTTP, Header, Publish, Hosts, Resolvers)
Network = Union[str, Sequence[Union[str, Rule]]]
"""`"none"`: no network. `"loopback"`: the guest's own loopback. `"host"`: that, every outward address, every name and
the host's loopback, but for link-local and metadata addresses. Or rules, with `"host"` among them where they take from
it; the guest has its own loopback beside them."""


def clean_network(network: object) -> str | tuple[str | Rule, ...]:
    """A word, or the rules in their order, each once and "host" before them. No rules are "loopback".

    >>> clean_network([Deny("10.0.0.0/8"), "host"])
    ('host', Deny(target='10.0.0.0/8'))
    """
    given = [_checked(item) for item in _listed(network)]
    words = {item for item in given if isinstance(item, str)}
    rules = tuple(dict.fromkeys(item for item in given if not isinstance(item, str)))
    if "none" in words and (rules or len(words) > 1):
        raise PolicyError("network: none leaves no room for anything else")
    _refuse_twice(rules)
    _refuse_unused(rules)
    base = words - {"loopback"}
    return (*base, *rules) if rules else base.pop() if base else "loopback"


def _listed(network: object) -> Iterable[object]:
    if isinstance(network, bytes) or not isinstance(network, Iterable):
        raise PolicyError(f"network: {network!r} is neither {', '.join(_WORDS)} nor a list of rules")
    return [network] if isinstance(network, str) else network


def _checked(item: object) -> str | Rule:
    if isinstance(item, _RULES) or (isinstance(item, str) and item in _WORDS):
        return item
    raise PolicyError(f"network: {item!r} is none of {', '.join((*_WORDS, *(kind.__name__ for kind in _RULES)))}")


def _refuse_twice(rules: Iterable[Rule]) -> None:
    names = Counter(name for rule in rules if isinstance(rule, Hosts) for name in rule.mapping)
    published = [rule.host for rule in rules if isinstance(rule, Publish)]
    if len(published) > _PUBLISH_MAX:
        raise PolicyError(f"network: {len(published)} ports are published, {_PUBLISH_MAX} at most can be")
    names.update([*published, *("resolvers" for rule in rules if isinstance(rule, Resolvers))])
    for name, times in names.items():
        if times > 1:
            raise PolicyError(f"network: {name} is given twice")


def _refuse_unused(rules: Iterable[Rule]) -> None:
    requests = [rule for rule in rules if isinstance(rule, AllowHTTP)]
    for header in rules:
        if isinstance(header, Header) and not any(map(header.meets, requests)):
            raise PolicyError(f"network: {header}: no AllowHTTP of such a host, over TLS or with plain=True")


def is_served(network: Network) -> bool:
    """Does it reach outside, so that its sockets are the Supervisor's to make?"""
    return network not in ("none", "loopback")
