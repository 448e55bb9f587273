"""Ports of a guest on the host. A listener of the guest's is bound to the host's address itself, so data moves
natively; whoever connects from elsewhere than the guest is looked at when it is accepted. Datagrams are for us
(_visitors.py)."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address

from .._addresses import OWN, Address, reached
from .._errors import SandboxError
from .._publish import Publish
from ._diag import Diag
from ._ingress import attach, detach
from ._names_of_sockets import Name, read_plain
from ._sockets import cookie_of, sockaddr_of, take_mapped

_BOUND_MAX = 4096
_registered: list[tuple[str, Address, int]] = []
"""Where the guests of this process publish."""
_registering = threading.Lock()
_ANY: dict[int, Address] = {4: IPv4Address(0), 6: IPv6Address(0)}
_WHOLE = (*_ANY.values(), *map(reached, _ANY.values()), OWN)
"""Where a listener is bound that is published: at every address, at the loopback, or at the one beside it."""


class Published:
    """One guest's. SandboxError: a port of the host cannot be had."""

    def __init__(self, rules: Sequence[Publish], base: int, *, relayed: bool = False) -> None:
        """`relayed`: its listeners stay in its slice, and we listen for them."""
        native = () if relayed else tuple(rule for rule in rules if rule.protocol == "tcp")
        self._rules, self._base = native, base
        self.listeners: dict[str, list[tuple[Publish, socket.socket]]] = {"tcp": [], "udp": []}
        """The sockets by which we listen, of each protocol."""
        self._bound: OrderedDict[int, Publish] = OrderedDict()
        self._held: list[Publish] = []
        self._holders: list[socket.socket] = []
        try:
            for rule in rules:
                _register(rule)
                self._held.append(rule)
                ours = rule not in native
                holders = _hold(rule, shared=ours)
                self._holders += holders
                if ours:
                    self.listeners[rule.protocol].append((rule, holders[0]))
        except SandboxError:
            self.close()
            raise

    def close(self, *, forked: bool = False) -> None:
        """In a forked child the ports are still the parent's."""
        for holder in self._holders:
            holder.close()
        if not forked:
            with _registering:
                for rule in self._held:
                    _registered.remove((rule.protocol, *rule.listening))
        self._held = []

    def rows(self) -> list[tuple[bytes, int, int]]:
        """For the plan: address as IPv6, port of the host, port of the guest."""
        return [(_packed(rule.listening[0]), rule.listening[1], rule.guest) for rule in self._rules]

    def bind(self, sock: socket.socket, name: Name) -> bool:
        """Bind a listener to be where its port is published; False: it is published nowhere. EADDRINUSE: a listener
        has it already."""
        error: OSError | None = None
        for rule in self._fitting(sock, name):
            try:
                self._bind_at(sock, rule)
            except OSError as failed:
                error = failed
                continue
            self._bound[cookie_of(sock)] = rule
            if len(self._bound) > _BOUND_MAX:
                self._bound.popitem(last=False)
            return True
        if error is not None:
            raise error
        return False

    def is_ours(self, cookie: int) -> bool:
        """Is it the cookie of a socket by which we listen?"""
        return any(cookie_of(sock) == cookie for every in self.listeners.values() for _, sock in every)

    def is_beside(self, protocol: str, port: int) -> bool:
        """Is it ours at every address of the host, though a socket of the guest's may stand in its slice?"""
        return any(rule.listening == (_ANY[4], port) for rule, _ in self.listeners[protocol])

    def _fitting(self, sock: socket.socket, name: Name) -> Iterator[Publish]:
        """A socket of both families takes an IPv4 address, too; what is for IPv6 only does not."""
        six_only = isinstance(name.address, IPv6Address) and (
            int(name.address) == 1 or bool(sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY))
        )
        for rule in self._rules if sock.type == socket.SOCK_STREAM and name.address in _WHOLE else ():
            four = isinstance(rule.listening[0], IPv4Address)
            if rule.guest == name.port and (not six_only if four else isinstance(name.address, IPv6Address)):
                yield rule

    def _bind_at(self, sock: socket.socket, rule: Publish) -> None:
        address, port = rule.listening
        if isinstance(address, IPv4Address):
            take_mapped(sock)
        else:  # else it would take the port of IPv4, too
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        self.guard(sock, rule)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # beside its holder, which does not listen
        sock.bind(sockaddr_of(sock, Name(address, port)))
        if address.version == 6 and not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY):
            raise OSError(errno.EINVAL, "")  # the guest has changed it meanwhile: it will not listen

    def guard(self, sock: socket.socket, rule: Publish) -> None:
        """The guest and who is named may knock, where the kernel lets us say so."""
        detach(sock)  # the kernel has no room for two that are as long as can be
        if rule.sources:
            attach(sock, self._base, rule.blocks)

    def rule_of(self, sock: socket.socket) -> Publish | None:
        """Of a listener to be that is bound where a rule says."""
        rule = self._bound.get(cookie_of(sock))
        return rule if rule is not None and _own_end(sock) == rule.listening else None

    def targets(self, name: Name, sock: socket.socket, diag: Diag) -> Iterator[Name]:
        """Where the guest itself finds its listener at one of its own ports."""
        for rule in self._rules if sock.type == socket.SOCK_STREAM else ():
            address, port = rule.listening
            at = Name(reached(address), port)
            if rule.guest != name.port or (sock.family == socket.AF_INET and at.address.version == 6):
                continue
            found = diag.find(at, Name(_ANY[at.address.version], 0), socket.IPPROTO_TCP)
            if found is not None and found.cookie in self._bound:
                yield at

    def admit(self, sock: socket.socket) -> str | None:
        """The rule by which a connection that was accepted may stand, or None."""
        source, (address, port) = read_plain(sock.getpeername()[0]), _own_end(sock)
        for rule in self._rules:
            if _meets(rule, address, port) and rule.admits(source):
                return str(rule)
        return None


def _meets(rule: Publish, address: Address, port: int) -> bool:
    at, at_port = rule.listening
    return at_port == port and (at == address or (at.is_unspecified and at.version == address.version))


def is_published_anywhere(protocol: str, port: int) -> bool:
    """Is there a guest that has the port at every IPv4 address? Nobody else may have it in a slice then."""
    return (protocol, _ANY[4], port) in _registered


def _register(rule: Publish) -> None:
    """SandboxError: another rule has the port there."""
    address, port = rule.listening
    with _registering:
        for protocol, other, other_port in _registered:
            anywhere = address.version == other.version and (address.is_unspecified or other.is_unspecified)
            if (protocol, other_port) == (rule.protocol, port) and (other == address or anywhere):
                raise SandboxError(f"{rule}: {rule.host}: another guest or rule has it")
        _registered.append((rule.protocol, address, port))


def _own_end(sock: socket.socket) -> tuple[Address, int]:
    address, port = sock.getsockname()[:2]
    return read_plain(address), port


def _packed(address: Address) -> bytes:
    return address.packed if isinstance(address, IPv6Address) else bytes(10) + b"\xff\xff" + address.packed


def _hold(rule: Publish, *, shared: bool) -> list[socket.socket]:
    """What keeps the port for one guest: a socket that is bound there and does not listen, and, since another such
    could stand beside it, a name that only one can have. `shared`: with a listener in the guest's slice."""
    address, port = rule.listening
    name = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    kind = socket.SOCK_STREAM if rule.protocol == "tcp" else socket.SOCK_DGRAM
    holder = socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6, kind)
    try:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, kind == socket.SOCK_STREAM)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shared)
        if address.version == 6:
            holder.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        holder.bind((str(address), port))
        name.bind(f"\0sandbox/publish/{rule.host}")
    except OSError as error:
        holder.close()
        name.close()
        why = "another program has it" if error.errno == errno.EADDRINUSE else os.strerror(error.errno or 0)
        raise SandboxError(f"{rule}: {rule.host}: {why}") from error
    return [holder, name]
