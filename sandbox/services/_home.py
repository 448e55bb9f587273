"""Who of a guest is at its own addresses, and how its sockets come there. Anybody of the host's may be bound to every
address and so be met in a slice: so the kernel is asked, each time."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address

from ._diag import Diag
from ._inbound import Listening
from ._ingress import attach
from ._names_of_sockets import Name, read_plain
from ._outward import Outwards
from ._published import Published, is_published_anywhere
from ._slice import INTERFACE, LAST, NOBODY, ONE, SIX, Slice
from ._sockets import SHARES, alone, is_free, name_of, sockaddr_of, take_mapped

PROTOCOLS = {socket.SOCK_STREAM: "tcp", socket.SOCK_DGRAM: "udp"}
_BIND_LATE = 24  # IP_BIND_ADDRESS_NO_PORT
_ANY = IPv4Address(0)


class Home:
    """One guest's. In the Supervisor's thread."""

    def __init__(self, there: Slice, diag: Diag, outward: Outwards, published: Published) -> None:
        self._slice, self._diag, self._outward, self._published = there, diag, outward, published

    def stands(self, name: Name, sock: socket.socket, *, six: bool = False) -> bool:
        return self._standing(name, sock, six=six) is not None

    def _standing(self, name: Name, sock: socket.socket, *, six: bool = False) -> int | None:
        """The cookie of a socket of the guest's that is there; `six`: of IPv6. Others are bound to every address at
        most."""
        stream = sock.type == socket.SOCK_STREAM
        asker = Name(_ANY, 0) if stream else self._asker(sock, name)
        protocol = socket.IPPROTO_TCP if stream else socket.IPPROTO_UDP
        found = self._diag.find(name, asker, protocol)
        if found is None or (six and not found.six):
            return None
        if found.address != name.address and found.cookie not in self._outward:
            return None
        # It may be gone when it is spoken to: then whoever of the host is bound to every address would be met.
        beside = self._diag.find((self._slice.at(NOBODY), name.port), asker, protocol)
        alone = beside is None or beside.cookie in self._outward or self._published.is_ours(beside.cookie)
        return found.cookie if alone else None

    def _asker(self, sock: socket.socket, target: Name) -> Name:
        """What a datagram from `sock` to an address of the slice comes from: one that is connected hears its peer
        alone."""
        own = name_of(sock)
        return own if self._slice.holds(own.address) else own._replace(address=self._slice.beside(target.address))

    def hears(self, at: Name, asker: Name) -> bool | None:
        """Does a UDP socket of the guest's hear there what `asker` sends? None: nobody does."""
        found = self._diag.find(at, asker, socket.IPPROTO_UDP)
        return None if found is None else found.cookie in self._outward

    def hears_at(self, port: int, six: bool) -> Name | None:
        """Where a UDP socket of the guest's hears at a port of its own what comes by IPv4, or IPv6."""
        for number in (SIX, ONE) if six else (ONE, INTERFACE):
            at = Name(self._slice.at(number), port)
            found = self._diag.find(at, (self._slice.at(LAST), 0), socket.IPPROTO_UDP)
            if found is not None and found.cookie in self._outward and (found.six or not six):
                return at
        return None

    def listener_at(self, port: int) -> Listening | None:
        """Where the guest listens at a port of its own."""
        with socket.socket() as asker:
            ends = [Name(self._slice.at(number), port) for number in (ONE, SIX, INTERFACE)]
            found = (Listening(end, cookie) for end in ends if (cookie := self._standing(end, asker)) is not None)
            return next(found, None)

    def has(self, sock: socket.socket) -> bool:
        """Is it where only the guest's sockets are, in the slice or at a published port?"""
        here = self._slice.holds(read_plain(sock.getsockname()[0]))
        return here or self._published.rule_of(sock) is not None

    def has_bound(self, sock: socket.socket) -> bool:
        return bool(sock.getsockname()[1]) and self.has(sock)

    def wildcard(self, sock: socket.socket, own: Name) -> Name:
        """Where a socket is that the guest binds to every address."""
        only = sock.family == socket.AF_INET6 and sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
        return own._replace(address=self._slice.at(SIX if only else ONE))

    # ---- coming there ---------------------------------------------------------------------------------------------

    def bind(self, sock: socket.socket, name: Name) -> None:
        protocol = PROTOCOLS[sock.type]
        beside = self._published.is_beside(protocol, name.port)
        taken = is_published_anywhere(protocol, name.port) or (not is_free(name, sock) and not self.stands(name, sock))
        if taken and not beside:
            raise OSError(errno.EADDRINUSE, "")  # the host's, at every address: no option shares a port with it
        take_mapped(sock)
        attach(sock, self._slice.base, ())
        with self._choosing(sock) if name.port == 0 else self._sharing(sock, beside):
            sock.bind(sockaddr_of(sock, name))

    def stand(self, sock: socket.socket, address: IPv4Address) -> None:
        """Give a socket that has no address yet one in the slice: nobody there lets in any other."""
        if sock.getsockname()[1]:
            return
        if sock.type == socket.SOCK_STREAM:
            sock.setsockopt(socket.IPPROTO_IP, _BIND_LATE, 1)
        with alone(sock):
            sock.bind(sockaddr_of(sock, Name(address, 0)))

    def _shares(self, sock: socket.socket) -> dict[int, bytes]:
        """What a UDP socket wants to share once it is bound in the slice."""
        return self._outward.of(sock, "udp").shares if sock.type == socket.SOCK_DGRAM else {}

    @contextmanager
    def _choosing(self, sock: socket.socket) -> Iterator[None]:
        """A port that the kernel chooses is nobody's; then it is shared as was wanted."""
        with alone(sock):
            yield
        for option, value in self._shares(sock).items():
            sock.setsockopt(socket.SOL_SOCKET, option, value)

    @contextmanager
    def _sharing(self, sock: socket.socket, beside: bool) -> Iterator[None]:
        """What a UDP socket wanted to share, now that it is for a port of the slice. `beside` one of ours it shares the
        port with that, too; a listener of TCP needs to for as long as it is."""
        wanted = self._shares(sock)
        for option, value in wanted.items():
            sock.setsockopt(socket.SOL_SOCKET, option, value)
        if beside:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            yield
        except OSError:
            for option in SHARES if sock.type == socket.SOCK_DGRAM else ():
                sock.setsockopt(socket.SOL_SOCKET, option, 0)
            raise
        if beside and sock.type == socket.SOCK_DGRAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, wanted.get(socket.SO_REUSEPORT, bytes(4)))
