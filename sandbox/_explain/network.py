"""What a policy says of calls on the network: connect, listen, resolve. Rules judges them, as it does for a guest."""

from __future__ import annotations

import os
from contextlib import suppress
from ipaddress import IPv4Address, ip_address

from .. import _remedies
from .._addresses import OWN, Address, plain, reached
from .._describe import describe_network
from .._domains import guest_name
from .._errors import PolicyError
from .._network import Network, is_served
from .._rules import Rules, Verdict
from .._targets import Target, parse_target
from .explanation import Said

_OWN_NAMES = ("localhost", "sandbox", "ip6-localhost", "ip6-loopback")
_BEYOND = 253  # the first host number of the loopback that is not the guest's
_SPECIMENS = tuple(map(ip_address, ("1.1.1.1", "8.8.8.8", "9.9.9.9", "93.184.215.14", "185.15.59.224")))
"""Public addresses, one of which stands for what a name may lead to: the first that the rules do not name."""


def _target(call: str, subject: str) -> Target:
    target = parse_target(subject, f"explain {call}")
    if not target.exact or target.port_count != 1:
        raise PolicyError(f"explain {call}: {subject}: one address or name and one port are asked for, as HOST:PORT")
    return target


def _own(address: Address) -> bool:
    """Is it the guest's own, where the network is served? (services/_slice.py)"""
    if isinstance(address, IPv4Address):
        loopback = address.is_loopback or address.is_unspecified
        return address == OWN or (loopback and int(address) & 0xFFFFFF < _BEYOND)
    return int(address) in (0, 1)


def _no_network(subject: str) -> Said:
    return Said(
        "refused",
        "EAFNOSUPPORT",
        describe_network("none"),
        "the guest has no TCP and UDP sockets",
        "no network",
        f"{_remedies.reach(subject)}; --network loopback for a loopback of its own",
    )


def connect(network: Network, subject: str) -> Said:
    target = _target("connect", subject)
    address = plain(target.block.network_address) if target.block else None
    if network == "none":
        named = None if address or target.what in _OWN_NAMES else resolve(network, target.what)
        return named._replace(remedy=_remedies.reach(subject)) if named else _no_network(subject)
    if network == "loopback":
        return _inside(address, target, subject)
    return _by_address(network, target, address, subject) if address else _by_name(network, target, subject)


def _inside(address: Address | None, target: Target, subject: str) -> Said:
    rule, remedy = describe_network("loopback"), _remedies.reach(subject)
    if address is None and target.what not in _OWN_NAMES:
        return resolve("loopback", target.what)._replace(remedy=remedy)
    if address is None or address.is_loopback or address.is_unspecified:
        return Said("allowed", None, rule, _LISTENS)
    return Said("refused", "ENETUNREACH", rule, "it leads nowhere else", "loopback", remedy)


_LISTENS = "the guest's own: who of the guest listens there answers, else ECONNREFUSED"


def _by_address(network: Network, target: Target, address: Address, subject: str) -> Said:
    rules, port = Rules.compile(network), target.ports[0][0]
    names = [name for name, found in rules.hosts.items() if address in map(plain, found)]
    verdict = rules.judge_address(_protocol(target), reached(address), port, names)
    if _own(address):
        others = f"; where none does, the host's own, by {verdict.rule}" if verdict.allowed else ""
        return Said("allowed", None, verdict.rule if others else "loopback", _LISTENS + others)
    return _judged(verdict, "EACCES", _protocol(target), subject)


def _protocol(target: Target) -> str:
    return target.protocol or "tcp"


def _judged(verdict: Verdict, error: str, behind: str, subject: str) -> Said:
    if verdict.allowed:
        return Said("allowed", None, verdict.rule, verdict.reason)
    remedy = f"no {verdict.rule}" if verdict.rule.startswith("deny ") else _remedies.reach(subject)
    if verdict.rule.startswith("deny "):
        remedy += f", or a narrower {_remedies.reach(subject)}"
    return Said("refused", error, verdict.rule, verdict.reason, behind, remedy)


def _by_name(network: Network, target: Target, subject: str) -> Said:
    named = resolve(network, target.what)
    if named.decision != "allowed":
        return named._replace(remedy=named.remedy and _remedies.reach(subject))
    rules, port = Rules.compile(network), target.ports[0][0]
    given = rules.hosts.get(target.what, ())
    if not given and _is_local(target.what):
        return Said("allowed", None, "loopback", _LISTENS)
    found = [_by_address(network, target, address, subject) for address in given]
    if found:
        return next((said for said in found if said.decision == "allowed"), found[0])
    verdict = rules.judge_address(_protocol(target), _specimen(rules, port), port, [target.what])
    said = _judged(verdict, "EACCES", _protocol(target), subject)
    private = "; where it leads to a public address: another one needs private = true or a rule of its own"
    return said._replace(reason=said.reason + (private if verdict.allowed else ""))


def _specimen(rules: Rules, port: int) -> Address:
    """Of what no name is known, only a rule of addresses says more than the default."""
    plain_default = (each for each in _SPECIMENS if rules.judge_address("tcp", each, port).rule in ("default", "host"))
    return next(plain_default, _SPECIMENS[0])


def _is_local(name: str) -> bool:
    return name in _OWN_NAMES or name.endswith(".localhost")


def listen(network: Network, subject: str) -> Said:
    """A subject without an address is a port at every address."""
    target = _target("listen", f"0.0.0.0:{subject}" if subject.isdecimal() else subject)
    if network == "none":
        return _no_network(subject)._replace(remedy="--network loopback")
    rules, port = Rules.compile(network), target.ports[0][0]
    address = plain(target.block.network_address) if target.block else None
    if address is None:
        raise PolicyError(f"explain listen: {subject}: a guest listens at an address")
    own = _own(address) if is_served(network) else address.is_loopback or address.is_unspecified
    if not own:
        return Said("refused", "EADDRNOTAVAIL", "loopback", "a guest listens at addresses of its own only", "tcp")
    if is_served(network) and os.geteuid() and port < _unprivileged():
        return Said("fails", "EACCES", "loopback", f"the user may not bind port {port} of the host", "host")
    published = [rule for rule in rules.publishes if rule.guest == port and target.protocol in ("", rule.protocol)]
    shown = [f"; {rule}" for rule in published]
    return Said("allowed", None, "loopback", "at the guest's own address" + "".join(shown))


def _unprivileged() -> int:
    with suppress(OSError, ValueError), open("/proc/sys/net/ipv4/ip_unprivileged_port_start", encoding="ascii") as file:
        return int(file.read())
    return 1024


def resolve(network: Network, subject: str) -> Said:
    name = guest_name(subject)
    if name and (name in _OWN_NAMES or (is_served(network) and _is_local(name))):
        return Said("allowed", None, "/etc/hosts", "the guest's own loopback has this name")
    if not is_served(network):
        reason = "the guest has no resolver"
        return Said("refused", "EAI_AGAIN", describe_network(network), reason, "names", _remedies.reach(subject))
    rules = Rules.compile(network)
    if name and name in rules.hosts:
        found = " ".join(map(str, rules.hosts[name]))
        return Said("allowed", None, f"hosts {name} = {found}", "the policy answers it")
    return _judged(rules.judge_name(subject), "EAI_NONAME", "names", subject)
