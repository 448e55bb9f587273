"""The rules of a guest, made ready to be asked about requests.

>>> judge = Judge([AllowHTTP("GET", "docs.example.com/guide/*")], [])
>>> judge.rule("GET", Origin("https", "docs.example.com", 443), "/guide/x?q=1")
0
>>> judge.rule("POST", Origin("https", "docs.example.com", 443), "/guide/x") is None
True
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .._http_paths import matcher
from .._http_rules import SCHEMES, AllowHTTP, Header, covers


class Origin(NamedTuple):
    """Whom a request is for: `name` is the verified name of TLS, or the one in Host."""

    scheme: str
    name: str
    port: int

    @property
    def authority(self) -> str:
        return self.name if self.port == SCHEMES[self.scheme] else f"{self.name}:{self.port}"

    def is_named_by(self, authority: str) -> bool:
        """Is it this origin, with its port or without?"""
        name, colon, port = authority.lower().partition(":")
        return name.rstrip(".") == self.name and (not colon or port == str(self.port))


class Judge:
    def __init__(self, rules: Sequence[AllowHTTP], headers: Sequence[Header]) -> None:
        self._rules = [(rule, rule.url, matcher(rule.url.path), frozenset(rule.methods.split(","))) for rule in rules]
        self._headers = tuple(headers)

    def covers(self, origin: Origin) -> bool:
        """Is there a rule of any request to it?"""
        return any(_is_of(url.host, url.ports, origin) for _, url, _, _ in self._rules)

    def rule(self, method: str, origin: Origin, target: str) -> int | None:
        """Number of the first rule that allows a request; `target` is a normal path and query."""
        path = target.partition("?")[0]
        for number, (_, url, pattern, methods) in enumerate(self._rules):
            if _is_of(url.host, url.ports, origin) and methods & {"*", method} and pattern.fullmatch(path):
                return number
        return None

    def fields(self, origin: Origin) -> dict[bytes, tuple[bytes, bytes]]:
        """What requests to it carry, by name in lower case; of several of one name the last."""
        found = [header for header in self._headers if header.is_for(*origin)]
        return {each.name.lower().encode(): (each.name.encode(), each.value.encode()) for each in found}

    def authorities(self, name: str) -> list[str]:
        """The PEM files that a name is verified by; none: the host's."""
        return [rule.ca for rule, url, _, _ in self._rules if rule.ca and covers(url.host, name)]


def _is_of(host: str, ports: dict[str, int], origin: Origin) -> bool:
    return ports.get(origin.scheme) == origin.port and covers(host, origin.name)
