"""Where a guest's socket is bound, so that it may listen or hear there, and who is let in."""

from __future__ import annotations

import errno
import socket
from contextlib import suppress

from .._messages import NetAnswer, NetAsk
from ._home import Home
from ._ingress import attach
from ._names_of_sockets import Name, read_name
from ._options import set_option
from ._outward import Outwards
from ._published import Published
from ._relay import CLOSE
from ._relayed import Relayed
from ._slice import ONE, Slice
from ._sockets import SHARES, bind_anywhere, cookie_of, state_of
from ._tcp_ends import Carriage

_IDLE = (CLOSE, 10)  # and TCP_LISTEN


class Binding:
    """One guest's. In the Supervisor's thread."""

    def __init__(
        self,
        there: Slice,
        outward: Outwards,
        published: Published,
        home: Home,
        carriage: Carriage | None,
        relayed: Relayed | None,
    ) -> None:
        self._slice, self._outward, self._published, self._home = there, outward, published, home
        self._carriage, self._relayed = carriage, relayed

    def bind(self, sock: socket.socket, ask: NetAsk) -> NetAnswer:
        name = read_name(ask.address, sock.family)
        own = self._slice.own(name)
        if own is None:
            return NetAnswer(-errno.EADDRNOTAVAIL)
        everywhere = name.address.is_unspecified or name.address == self._slice.address
        client = everywhere and name.port == 0 and sock.type == socket.SOCK_DGRAM
        if client and self._relayed is None:
            self._outward.of(sock, "udp")
            bind_anywhere(sock)  # a client's: it may send anywhere, and hears the guest and whom it has sent to
            return NetAnswer()
        if self._published.bind(sock, name):
            return NetAnswer()
        self._home.bind(sock, self._home.wildcard(sock, own) if name.address.is_unspecified else own)
        return NetAnswer()

    def option(self, sock: socket.socket, ask: NetAsk) -> NetAnswer:
        """INVARIANT own-slice: a UDP socket shares a port in the slice only. The kernel would give it one, shared with
        whoever of the host's says so, too, by a send without an address, which nobody serves. So it is told then."""
        if sock.type != socket.SOCK_DGRAM or ask.family not in SHARES or self._home.has_bound(sock):
            return set_option(sock, ask)
        self._outward.of(sock, "udp").shares[ask.family] = ask.address
        return NetAnswer()

    def listen(self, sock: socket.socket, ask: NetAsk) -> NetAnswer:
        """A socket that was connected once keeps the number of its port and not the port: what it says is no proof that
        it is bound. So the filter comes first, whatever follows."""
        if sock.type != socket.SOCK_STREAM or state_of(sock) not in _IDLE:
            return NetAnswer(-errno.EINVAL if sock.type == socket.SOCK_STREAM else -errno.EOPNOTSUPP)
        rule = self._published.rule_of(sock)
        if rule is None:
            attach(sock, self._slice.base, ())
        else:
            self._published.guard(sock, rule)  # it may have been let hear whom it was connected to
        if not self._home.has(sock):
            with suppress(OSError):
                self._home.bind(sock, Name(self._slice.at(ONE), 0))
        sock.listen(max(0, ask.family))
        if self._home.has(sock):
            if self._relayed is not None:
                self._relayed.listen(sock.getsockname()[1])
            return NetAnswer()
        sock.shutdown(socket.SHUT_RDWR)
        return NetAnswer(-errno.EINVAL)

    def admit(self, sock: socket.socket, _: NetAsk) -> NetAnswer:
        """A connection that a listener has accepted."""
        rule = self._published.admit(sock)
        if rule and self._carriage is not None:
            self._carriage.begin(cookie_of(sock), rule)
        return NetAnswer(rule=rule) if rule else NetAnswer(-errno.EACCES, rule="default: inbound")
