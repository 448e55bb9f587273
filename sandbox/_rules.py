"""A guest's network, compiled: what is asked when it resolves, connects and sends.

>>> from sandbox import Allow, Deny
>>> rules = Rules.compile([Allow("*.example.org:443"), Allow("10.0.0.0/8:5432"), Deny("10.0.0.9")])
>>> rules.judge_address("tcp", parse_address("10.0.0.5"), 5432).allowed
True
>>> rules.judge_address("tcp", bytes([10, 0, 0, 9]), 5432)
Verdict(allowed=False, rule='deny 10.0.0.9', reason='denies the address')
>>> rules.judge_address("tcp", parse_address("10.0.0.5"), 443, names=["a.example.org"]).rule
'default: private'
>>> rules.judge_name("a.example.org").allowed, rules.judge_name("example.org").allowed
(True, False)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from types import MappingProxyType

from ._addresses import Address, carried, parse_address, plain
from ._domains import guest_name
from ._errors import PolicyError
from ._network import AllowHTTP, Header, Hosts, Judged, Network, Publish, Resolvers, Rule, clean_network
from ._verdicts import DEFAULT, Judge, Verdict

__all__ = ["Rules", "Verdict"]

_VERDICTS = 256  # of a network that are remembered: with many long names of an address some 10 KB each


@dataclass(frozen=True)
class Rules:
    """A network ready to be asked; it does not change. `base` is "none", "loopback" or "host", `rules` what was added.

    The guest's own loopback is not judged here: a loopback or unspecified address means the host's loopback.
    """

    base: str = "none"
    rules: tuple[Rule, ...] = ()
    _judge: Judge = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        judged = [rule for rule in self.rules if isinstance(rule, Judged)]
        object.__setattr__(self, "_judge", Judge(judged, host=self.base == "host"))

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in vars(self).items() if name != "_judged"}

    @classmethod
    def compile(cls, network: Network = "none") -> Rules:
        """The rules of a network as Policy takes it. PolicyError: it is none."""
        cleaned = clean_network(network)
        if isinstance(cleaned, str):
            return cls(cleaned)
        rules = tuple(rule for rule in cleaned if not isinstance(rule, str))
        return cls("host" if "host" in cleaned else "loopback", rules)

    def with_rules(self, *more: Rule) -> Rules:
        """These rules and more; what is there already stays once. "none" becomes "loopback". PolicyError: a Publish or
        a name of Hosts is given twice."""
        base = "loopback" if self.base == "none" and more else self.base
        return Rules.compile([base, *self.rules, *more])

    def without(self, *rules: Rule) -> Rules:
        """These rules without some of them. PolicyError: a rule is not there."""
        for rule in rules:
            if rule not in self.rules:
                raise PolicyError(f"network: {rule}: there is no such rule")
        return Rules(self.base, tuple(rule for rule in self.rules if rule not in rules))

    @property
    def covers_loopback(self) -> bool:
        """Does the guest have a loopback of its own?"""
        return self.base != "none"

    @cached_property
    def publishes(self) -> tuple[Publish, ...]:
        return tuple(rule for rule in self.rules if isinstance(rule, Publish))

    @cached_property
    def hosts(self) -> Mapping[str, tuple[Address, ...]]:
        """Names that are answered without asking a resolver or `judge_name`."""
        entries = (item for rule in self.rules if isinstance(rule, Hosts) for item in rule.mapping.items())
        return MappingProxyType({name: tuple(map(parse_address, found)) for name, found in entries})

    @cached_property
    def requests(self) -> tuple[AllowHTTP, ...]:
        """Rules of HTTP: a guest that has any has a proxy."""
        return tuple(rule for rule in self.rules if isinstance(rule, AllowHTTP))

    @cached_property
    def headers(self) -> tuple[Header, ...]:
        return tuple(rule for rule in self.rules if isinstance(rule, Header))

    @cached_property
    def resolvers(self) -> list[tuple[str, int]] | None:
        """Servers that names are asked of; None: the host's."""
        return next((rule.ends for rule in self.rules if isinstance(rule, Resolvers)), None)

    @cached_property
    def _judged(self) -> Callable[[str, Address, int, frozenset[str]], Verdict]:
        """The last verdicts: they are the same for as long as the rules and the names are, and most calls are like one
        before."""
        return lru_cache(_VERDICTS)(self._judge_anew)

    def judge_address(self, protocol: str, address: Address | bytes, port: int, names: Iterable[str] = ()) -> Verdict:
        """May the guest reach this address, an object or 4 or 16 bytes, at a port by "tcp" or "udp"?

        `names` are the names that were answered to this guest with the address and still stand. IPv4 mapped into IPv6
        is IPv4; where IPv6 carries IPv4 addresses, all of them and itself must be allowed. What is no address, protocol
        or port is denied; nothing is raised."""
        meant = plain(address)
        if meant is None:
            return Verdict(False, DEFAULT, "no address")
        return self._judged(protocol, meant, port, frozenset(filter(None, map(guest_name, names))))

    def _judge_anew(self, protocol: str, address: Address, port: int, names: frozenset[str]) -> Verdict:
        verdict = self._judge.address(protocol, address, port, names)
        inner = ((inside, self._judge.address(protocol, inside, port, names)) for inside in carried(address))
        for inside, found in inner if verdict.allowed else ():
            if not found.allowed:
                return Verdict(False, found.rule, f"carries {inside}: {found.reason}")
        return verdict

    def judge_name(self, name: str) -> Verdict:
        """May the guest resolve this name? Yes where an Allow covers it and the Denies of the same or a higher rank
        leave a port of it. A rule of addresses covers no name."""
        asked = guest_name(name)
        return self._judge.name(asked) if asked else Verdict(False, DEFAULT, "no domain name")
