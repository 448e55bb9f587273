"""The rules of a guest that runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ._errors import GuestFault, PolicyError, SandboxError
from ._guest import Guest
from ._messages import NetService, NetworkUsage
from ._network import Allow, Deny, Hosts, Rule
from ._rules import Rules

_CHANGEABLE = (Allow, Deny, Hosts)


class LiveNetwork:
    """What a guest may reach, to be changed while it runs: `Sandbox.network`. Changes count for what it does next;
    `deny` and `revoke` also cut the connections that stand and would not be allowed now: TCP is reset, UDP hears them
    no more.

    Text is the target of an Allow, or of a Deny for `deny`. A guest whose network is "none" or "loopback" has sockets
    that no rule can open: SandboxError. PolicyError: a rule cannot be, or is not there; ports are published, and
    rules of HTTP hold, for as long as the guest lives.
    """

    def __init__(self, guest: Guest) -> None:
        self._guest = guest

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules as they are now."""
        return self._served().rules.rules

    @property
    def usage(self) -> NetworkUsage:
        """What the guest has used of it so far."""
        return self._served().usage

    def allow(self, *rules: str | Allow | Hosts) -> None:
        """Add rules."""
        self._change(rules, Allow, Rules.with_rules)

    def deny(self, *rules: str | Deny) -> None:
        """Add rules that refuse, and cut what they refuse."""
        self._change(rules, Deny, Rules.with_rules)
        self._cut()

    def revoke(self, *rules: str | Rule) -> None:
        """Take rules back, and cut what no rule allows any more. GuestFault: the guest keeps a connection where it
        cannot be reached, and has been ended."""
        self._change(rules, Allow, Rules.without)
        self._cut()

    def _served(self) -> NetService:
        net = self._guest.parts.net
        if net is None:
            raise SandboxError("the guest's network is none or loopback: give it rules when it is made")
        return net

    def _change(self, rules: Sequence[str | Rule], kind: type[Allow | Deny], change: Callable[..., Rules]) -> None:
        made = [kind(rule) if isinstance(rule, str) else rule for rule in rules]
        for rule in made:
            if not isinstance(rule, _CHANGEABLE):
                raise PolicyError(f"network: {rule}: is for the guest's whole life")
        self._served().change(lambda rules: change(rules, *made))

    def _cut(self) -> None:
        try:
            cut = self._served().cut(self._guest.parts.pid)
        except Exception:  # whatever it was, what stands is not known
            cut = False
        if not cut and not self._guest.ended:
            self._guest.fail(GuestFault("the guest keeps a connection that was revoked where it cannot be cut"))
            self._guest.wait_ended()
            self._guest.raise_failure()
