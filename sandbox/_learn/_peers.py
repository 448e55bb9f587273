"""From sockets that were seen to rules of a network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address

from sandbox._addresses import kind_of
from sandbox._domains import guest_name
from sandbox._network import Allow, Hosts, Publish, Rule

from ._seen import Endpoint, Seen

Ruled = tuple[Rule, "set[str]"]

_ADDRESSES_ONLY = ("link-local", "metadata")  # a name's rule never reaches them
_HOSTS = "/etc/hosts"


@dataclass
class _Reached:
    """What one name or address was reached by."""

    ports: dict[str, set[int]] = field(default_factory=dict)
    by: set[str] = field(default_factory=set)
    private: bool = False


def rules(seen: Seen) -> list[Ruled]:
    """Rules and who needs them. Servers of the run that its own clients reach need the guest's loopback only."""
    return [*_allowed(seen), *_hosts(seen), *_published(seen)]


def notes(seen: Seen) -> list[str]:
    elsewhere = sorted({server[1:] for server in seen.servers if not _is_local(server[1])})
    return [f"natively at {address}: the server of port {port}" for address, port in elsewhere]


def _is_local(address: str) -> bool:
    return kind_of(ip_address(address)) == "loopback"


def _is_own(peer: Endpoint, seen: Seen) -> bool:
    """Was this the run's own server?"""
    protocol, address, port = peer
    mine = kind_of(ip_address(address)) in ("loopback", "unspecified")
    return mine and any((server[0], server[2]) == (protocol, port) for server in (*seen.servers, *seen.fleeting))


def _allowed(seen: Seen) -> Iterator[Ruled]:
    reached: dict[str, _Reached] = {}
    filed = [rule for rule, _ in _hosts(seen) if isinstance(rule, Hosts)]
    named = {address for rule in filed for told in rule.mapping.values() for address in told}
    for peer, by in seen.peers.items():
        if not _is_own(peer, seen):
            _reach(reached, peer, by, seen, peer[1] in named)
    for name, addresses in seen.names.items():  # looked up and not connected to: it has to resolve
        if name not in reached and guest_name(name) == name and name != "localhost":
            reached[name] = _Reached({}, seen.askers.get(name, set()), any(map(_is_private, addresses)))
    for what, how in sorted(reached.items()):
        shown = f"[{what}]" if ":" in what else what
        targets = [f"{protocol}://{shown}:{','.join(map(str, sorted(p)))}" for protocol, p in how.ports.items()]
        for target in sorted(targets) or [shown]:
            yield Allow(target, private=how.private), how.by


def _reach(reached: dict[str, _Reached], peer: Endpoint, by: set[str], seen: Seen, named: bool) -> None:
    """By the names that were told for the address, else by itself; it stays with its names in the host's own file."""
    protocol, address, port = peer
    kind = kind_of(ip_address(address))
    names = [name for name, told in seen.names.items() if address in told and guest_name(name) == name]
    for what in [*names, address] if named or kind in _ADDRESSES_ONLY else names or [address]:
        how = reached.setdefault(what, _Reached())
        how.ports.setdefault(protocol, set()).add(port)
        how.by |= by
        how.private |= what != address and _is_private(address)


def _hosts(seen: Seen) -> Iterator[Ruled]:
    """Names that the host's own file has for what was reached, where it was read: the guest has another file."""
    if _HOSTS not in seen.paths:
        return
    reached = {peer[1] for peer in seen.peers if not _is_own(peer, seen)}
    found: dict[str, list[str]] = {}
    for address, names in _host_file():
        for name in names if address in reached else ():
            found.setdefault(name, []).append(address)
    for name, addresses in found.items():
        if name not in seen.names and guest_name(name) == name and name != "localhost":
            yield Hosts({name: addresses}), {f"the host's {_HOSTS}"}


def _host_file() -> Iterator[tuple[str, list[str]]]:
    with suppress(OSError), open(_HOSTS, encoding="utf-8", errors="replace") as file:
        for line in file:
            words = line.partition("#")[0].split()
            with suppress(ValueError):
                yield str(ip_address(words[0] if words else "")), [word.lower() for word in words[1:]]


def _is_private(address: str) -> bool:
    return kind_of(ip_address(address)) != "public"


def _published(seen: Seen) -> Iterator[Ruled]:
    """Ports that nobody of the run itself connected to are there for others."""
    met = {peer[::2] for peer in seen.peers if _is_own(peer, seen)}
    found: dict[Publish, set[str]] = {}
    for (protocol, address, port), by in seen.servers.items():
        if (protocol, port) not in met:
            host = "[::1]" if address == "::1" else "127.0.0.1"
            found.setdefault(Publish(port, f"{protocol}://{host}:{port}"), set()).update(by)
    yield from sorted(found.items(), key=lambda item: item[0].host)
