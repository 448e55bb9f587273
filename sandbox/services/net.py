"""The sockets of a guest whose network is served: made, bound, connected and set to listen by the Supervisor, under its
rules.

They are of the host's network, so data moves natively. The guest's own addresses are a slice of the host's loopback
(_slice.py); what comes from elsewhere is dropped by a filter on the socket (_ingress.py). Here the parts of it are put
together, and closed; what is asked comes in at _operations.py."""

from __future__ import annotations

import errno
import threading
from contextlib import ExitStack
from ipaddress import IPv4Address

from .._addresses import OWN
from .._grants import Limits
from .._loop import Loop
from .._messages import HTTPService, Judged, Listener, NetworkUsage
from .._rules import Rules
from ._binding import Binding
from ._connecting import Connecting
from ._diag import Diag
from ._dialing import Dialing
from ._goals import Goals
from ._hearing import Hearing
from ._held import Held
from ._home import Home
from ._judging import InForce, Judging
from ._making import Making
from ._meter import Meter
from ._operations import Operations
from ._outward import Outwards
from ._proxied import Proxied
from ._published import Published
from ._relayed import Relayed
from ._relayed_names import RelayedNames
from ._resolving import Resolving
from ._revoking import Revoking
from ._routes import Routes
from ._slice import LAST, RESOLVER, Slice
from ._tcp_ends import Carriage, forget_after_fork
from ._visitors import Visitors
from .names import NameDecision, Resolver


class Internet:
    """One guest's. `change` and `cut` may be called from any thread, the rest in the Supervisor's."""

    def __init__(
        self,
        rules: Rules,
        loop: Loop,
        limits: Limits,
        http: HTTPService | None = None,
        address: IPv4Address | None = OWN,
    ) -> None:
        """`http` is there where rules of HTTP are, and is its to close; `address` is the guest's beside its loopback,
        if it has one."""
        self._listener: Listener | None = None
        self._meter, self._in_force = Meter(limits, loop), InForce(rules)
        with ExitStack() as undo:
            self.slice = Slice(address)
            undo.callback(self.slice.close)
            relayed = self._meter.bytes_are_limited
            self._published = Published(rules.publishes, self.slice.base, relayed=relayed)
            undo.callback(self._published.close)
            self._diag = Diag()
            undo.callback(self._diag.close)
            self._names = Resolver(loop, lambda: self.rules, upstream=rules.resolvers, on_decision=self._on_name)
            undo.callback(self._names.close)
            self._judging = Judging(self._in_force, self._names.names_of)
            at, base = self.slice.at(RESOLVER), self.slice.base
            self._resolving = Resolving(loop, at, base, self._names.ask, self._is_behind)
            undo.callback(self._resolving.close)
            self.slice.resolver = self._resolving.port
            self._held = Held(limits.sockets) if limits.sockets is not None else None
            self._outward = Outwards(self._diag)
            self._home = home = Home(self.slice, self._diag, self._outward, self._published)
            last, listeners = self.slice.at(LAST), self._published.listeners
            self._proxied = Proxied(loop, last, http, self._diag) if http is not None else None
            self._carriage = None if relayed else Carriage(loop)
            if self._carriage is not None:
                undo.callback(self._carriage.close)
            self._relayed: Relayed | None = None
            if relayed:
                self._relayed = Relayed(loop, last, self._meter, listeners["tcp"], home.listener_at, home.hears)
            self._visitors = Visitors(loop, last, listeners["udp"], self._meter, home.hears_at, home.hears)
            undo.pop_all()
        operations, revoking = self._serving()
        self.handle = operations.handle
        self.change, self.cut = revoking.change, revoking.cut

    def _serving(self) -> tuple[Operations, Revoking]:
        """What is done for the guest with the parts that are open now."""
        there, outward, published, home, meter = self.slice, self._outward, self._published, self._home, self._meter
        judging, carriage, relayed, proxied = self._judging, self._carriage, self._relayed, self._proxied
        lock, base = threading.Lock(), there.base
        hearing = Hearing(base, outward, judging, meter, carriage, relayed)
        goals = Goals(there, self._diag, published, home, self._visitors, judging)
        routes = Routes(there, home, goals, hearing, relayed)
        dialing = Dialing(there, home, judging, routes, carriage, relayed, proxied)
        shown = RelayedNames(self._visitors, relayed, proxied)
        binding = Binding(there, outward, published, home, carriage, relayed)
        operations = {
            "bind": binding.bind,
            "connect": Connecting(there, outward, judging, meter, routes, dialing, shown).connect,
            "listen": binding.listen,
            "send": routes.send,
            "option": binding.option,
            "admit": binding.admit,
            "name": shown.name,
        }
        making = Making(base, outward, self._held)
        revoking = Revoking(lock, self._in_force, judging, outward, hearing, relayed, proxied)
        return Operations(lock, meter, making, operations), revoking

    def attach(self, listener: Listener) -> None:
        """Who hears of what the resolver decides."""
        self._listener = listener

    def _on_name(self, decision: NameDecision) -> None:
        if self._listener is not None:
            what = " ".join(filter(None, (decision.type, decision.name, decision.address)))
            self._listener.judged(Judged("resolve", decision.allowed, decision.rule, what.encode()))

    def _is_behind(self) -> bool:
        return self._listener is not None and self._listener.is_behind()

    def judged(self, judged: Judged) -> None:
        """Its proxy has judged a request, or its resolver a question."""
        self._meter.decided(judged.kind, judged.rule, 0 if judged.allowed else errno.EACCES)

    @property
    def usage(self) -> NetworkUsage:
        return self._meter.usage(self._carriage.carried() if self._carriage is not None else None)

    @property
    def publishes(self) -> list[tuple[bytes, int, int]]:
        """Its ports on the host, for the plan."""
        return self._published.rows()

    @property
    def rules(self) -> Rules:
        return self._in_force.rules

    @property
    def lingers(self) -> bool:
        """May `close` wait, for what the guest has sent?"""
        return (self._relayed is not None and self._relayed.lingers) or (
            self._carriage is not None and self._carriage.stands
        )

    def close(self, *, forked: bool = False) -> None:
        """Every part, whatever fails of another."""
        with ExitStack() as parts:
            parts.callback(self._diag.close)
            parts.callback(self._published.close, forked=forked)
            if self._held is not None:
                parts.callback(self._held.close)
            parts.callback(self.slice.close)
            parts.callback(self._resolving.close, forked=forked)
            if not forked:
                parts.callback(self._names.close)
            if forked:
                parts.callback(forget_after_fork)
            elif self._carriage is not None:
                parts.callback(self._carriage.close)
            if self._proxied is not None:
                parts.callback(self._proxied.close, forked=forked)
            if self._relayed is not None:
                parts.callback(self._relayed.close, forked=forked)
            parts.callback(self._visitors.close, forked=forked)
