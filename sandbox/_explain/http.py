"""What a policy says of an HTTP request, as its guest's proxy judges it."""

from __future__ import annotations

from .. import _remedies
from .._errors import PolicyError
from .._http.judge import Judge, Origin
from .._http_paths import normal_path
from .._http_rules import parse_pattern
from .._network import Network, is_served
from .._rules import Rules
from .._verdicts import DEFAULT
from .explanation import Said
from .network import connect


def request(network: Network, subject: str) -> Said:
    """`METHOD http[s]://HOST[:PORT]/PATH`."""
    method, origin, target = _read(subject)
    remedy = _remedies.request(method, f"{origin.scheme}://{origin.authority}{target}")
    said = connect(network, f"tcp://{origin.name}:{origin.port}")
    if said.decision != "allowed" or not is_served(network):
        return said._replace(remedy=remedy)
    requests = Rules.compile(network).requests
    if said.rule not in map(str, requests):
        return said._replace(reason=f"{said.reason}; requests are not judged")
    number = Judge(requests, []).rule(method, origin, target)
    if number is not None:
        return Said("allowed", None, str(requests[number]), "the proxy passes it on")
    return Said("refused", "403", f"{DEFAULT}: no rule of HTTP", "no rule allows such a request", "http", remedy)


def _read(subject: str) -> tuple[str, Origin, str]:
    method, _, url = subject.partition(" ")
    try:
        pattern = parse_pattern(url.partition("?")[0])
        scheme = next(iter(pattern.ports)) if pattern.scheme else ""
        if not scheme or "*" in pattern.host:
            raise ValueError("is not METHOD http[s]://HOST[:PORT]/PATH")
        rest = url.partition("://")[2]
        return method, Origin(scheme, pattern.host, pattern.ports[scheme]), normal_path(rest[rest.index("/") :])
    except ValueError as error:
        raise PolicyError(f"explain http: {subject}: {error}") from None
