"""What a guest's rules say now of an address, by the names that the guest was told for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .._addresses import Address
from .._rules import Rules
from .._verdicts import Verdict
from ._names_of_sockets import Name
from ._outward import Peers, Reach


@dataclass
class InForce:
    """The rules of this moment, which are replaced as a whole."""

    rules: Rules


class Judging:
    """One guest's."""

    def __init__(self, in_force: InForce, names_of: Callable[[Address], Sequence[str]]) -> None:
        self._in_force, self._names_of = in_force, names_of

    def verdict(self, protocol: str, host: Name) -> Verdict:
        return self._in_force.rules.judge_address(protocol, host.address, host.port, names=self._names_of(host.address))

    def requestable(self, host: Name) -> tuple[Reach, list[str]]:
        """How a proxy reaches a host, and the names of it that requests may be for."""
        judge = self._in_force.rules.judge_address
        names = self._names_of(host.address)
        verdicts = {name: judge("tcp", host.address, host.port, names=[name]) for name in names}
        # INVARIANT denied-stays-denied: a name whose own verdict is another is not asked for by the others' connection.
        reach = Reach((*verdicts,), proxied=True)
        return reach, [name for name, each in verdicts.items() if each.allowed and each.http]

    def names_by(self, before: Sequence[str], peer: Name) -> tuple[str, ...]:
        """By which a peer is reached that was reached by some before."""
        now = self._names_of(peer.address)
        return (*dict.fromkeys((*before, *now)),) if before or now else ()

    def refused(self, protocol: str, peers: Peers) -> list[Name]:
        """INVARIANT requests-are-judged: also where only requests are allowed now, and nobody judges this one's."""
        judge, refused = self._in_force.rules.judge_address, []
        for peer, reach in peers.items():
            verdict = judge(protocol, peer.address, peer.port, names=reach.names)
            if not verdict.allowed or (verdict.http and not reach.proxied):
                refused.append(peer)
        return refused
