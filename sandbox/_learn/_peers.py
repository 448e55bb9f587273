"""From sockets that were seen to rules of a network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address

from sandbox._addresses import kind_of
from sandbox._domains import guest_name
from sandbox._network import Allow, Publish, Rule

from ._seen import Endpoint, Seen

Ruled = tuple[Rule, "set[str]"]

_ADDRESSES_ONLY = ("link-local", "metadata")  # a name's rule never reaches them


@dataclass
class _Reached:
    """What one name or address was reached by."""

    ports: dict[str, set[int]] = field(default_factory=dict)
    by: set[str] = field(default_factory=set)
    private: bool = False


def rules(seen: Seen) -> list[Ruled]:
    """Rules and who needs them. Servers of the run that its own clients reach need the guest's loopback only."""
    return [*_allowed(seen), *_published(seen)]


def notes(seen: Seen) -> list[str]:
    met = {peer[2] for peer in seen.peers if peer[0] == "udp" and _is_own(peer, seen)}
    udp = sorted({port for protocol, _, port in seen.servers if protocol == "udp" and port not in met})
    tcp = sorted(server[1:] for server in seen.servers if server[0] == "tcp" and not _is_local(server[1]))
    return [
        *(f"left out, only TCP can be published: UDP server of port {port}" for port in udp),
        *(f"natively at {address}: the server of port {port}" for address, port in tcp),
    ]


def _is_local(address: str) -> bool:
    return kind_of(ip_address(address)) == "loopback"


def _is_own(peer: Endpoint, seen: Seen) -> bool:
    """Was this the run's own server?"""
    protocol, address, port = peer
    mine = kind_of(ip_address(address)) in ("loopback", "unspecified")
    return mine and any((server[0], server[2]) == (protocol, port) for server in (*seen.servers, *seen.fleeting))


def _allowed(seen: Seen) -> Iterator[Ruled]:
    reached: dict[str, _Reached] = {}
    for peer, by in seen.peers.items():
        if not _is_own(peer, seen):
            _reach(reached, peer, by, seen)
    for name, addresses in seen.names.items():  # looked up and not connected to: it has to resolve
        if name not in reached and guest_name(name) == name and name != "localhost":
            reached[name] = _Reached({}, seen.askers.get(name, set()), any(map(_is_private, addresses)))
    for what, how in sorted(reached.items()):
        shown = f"[{what}]" if ":" in what else what
        targets = [f"{protocol}://{shown}:{','.join(map(str, sorted(p)))}" for protocol, p in how.ports.items()]
        for target in sorted(targets) or [shown]:
            yield Allow(target, private=how.private), how.by


def _reach(reached: dict[str, _Reached], peer: Endpoint, by: set[str], seen: Seen) -> None:
    """By the names that were told for the address, else by itself."""
    protocol, address, port = peer
    kind = kind_of(ip_address(address))
    names = [name for name, told in seen.names.items() if address in told and guest_name(name) == name]
    for what in [*names, address] if kind in _ADDRESSES_ONLY else names or [address]:
        how = reached.setdefault(what, _Reached())
        how.ports.setdefault(protocol, set()).add(port)
        how.by |= by
        how.private |= what != address and _is_private(address)


def _is_private(address: str) -> bool:
    return kind_of(ip_address(address)) != "public"


def _published(seen: Seen) -> Iterator[Ruled]:
    """Ports that nobody of the run itself connected to are there for others."""
    met = {peer[2] for peer in seen.peers if peer[0] == "tcp" and _is_own(peer, seen)}
    found: dict[Publish, set[str]] = {}
    for (protocol, address, port), by in seen.servers.items():
        if protocol == "tcp" and port not in met:
            host = "[::1]" if address == "::1" else "127.0.0.1"
            found.setdefault(Publish(port, f"{host}:{port}"), set()).update(by)
    yield from sorted(found.items(), key=lambda item: item[0].host)
