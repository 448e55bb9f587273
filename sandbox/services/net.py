"""The sockets of a guest whose network is served: made, bound, connected and set to listen by the Supervisor, under its
rules.

They are of the host's network, so data moves natively. The guest's loopback is a slice of the host's, 127.a.b.0/24: its
127.0.0.x is host number x, its ::1 number 2 (IPv6 sockets use mapped addresses), its address beside the loopback number
253. What comes from elsewhere is dropped by a filter on the socket (_ingress.py)."""

from __future__ import annotations

import errno
import os
import secrets
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from .._addresses import OWN, Address, reached
from .._grants import Limits
from .._loop import Loop
from .._messages import HTTPService, Judged, Listener, NetAnswer, NetAsk, NetworkUsage
from .._rules import Rules
from .._verdicts import DEFAULT
from ._diag import Diag
from ._held import Held
from ._inbound import Listening
from ._ingress import attach, in_slice
from ._meter import Meter
from ._names_of_sockets import Name, read_name, read_plain, write_name
from ._options import set_option
from ._outward import Outwards, Peers, Reach
from ._proxied import Proxied
from ._published import Published, is_published_anywhere
from ._refused import Refused
from ._relay import CLOSE, Joined
from ._relayed import Ends, Relayed
from ._resolving import Resolving
from ._sockets import (
    SHARES,
    alone,
    begin_connect,
    bind_anywhere,
    borrowed,
    come_home,
    cookie_of,
    is_free,
    name_of,
    peer_of,
    sockaddr_of,
    state_of,
    take_mapped,
)
from ._tcp_ends import Carriage, forget_after_fork
from ._visitors import Visitors
from .names import NameDecision, Resolver

_BIND_LATE = 24  # IP_BIND_ADDRESS_NO_PORT
_NOBODY, _ONE, _SIX, RESOLVER, _INTERFACE, _LAST = 0, 1, 2, 53, 253, 254
_HELD_AT = 1024  # port of the last address, by which a slice is held
_PEERS_MAX = 64  # of a UDP socket
_IDLE = (CLOSE, 10)  # and TCP_LISTEN
_ANY = IPv4Address(0)
_KINDS = {
    (socket.SOCK_STREAM, 0): "tcp",
    (socket.SOCK_STREAM, socket.IPPROTO_TCP): "tcp",
    (socket.SOCK_DGRAM, 0): "udp",
    (socket.SOCK_DGRAM, socket.IPPROTO_UDP): "udp",
}
_FAMILIES = (socket.AF_INET, socket.AF_INET6)
_RELAYED = b"\1"  # in the answer to a connect (core.h)
Operation = Callable[[socket.socket, NetAsk], NetAnswer]


def _free_slice() -> tuple[int, socket.socket]:
    """The first address of a slice that no other guest of the machine has, and the socket that holds it."""
    for _ in range(64):
        base = 127 << 24 | secrets.randbelow(190) + 64 << 16 | secrets.randbelow(256) << 8
        holder = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with suppress(OSError):
            holder.bind((str(IPv4Address(base + _LAST)), _HELD_AT))
            return base, holder
        holder.close()
    raise OSError(errno.EADDRINUSE, "no free slice of the loopback")


class Goal(NamedTuple):
    """Where a connect or a datagram goes, and the rule that lets it; `inside`: to the guest's own; `http`: requests
    only."""

    name: Name
    rule: str
    inside: bool = False
    http: bool = False


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
        self.rules, self.address = rules, address
        self._listener: Listener | None = None
        self._meter = Meter(limits, loop)
        self._lock = threading.Lock()
        with ExitStack() as undo:
            self.base, self._holder = _free_slice()
            undo.callback(self._holder.close)
            relayed = self._meter.bytes_are_limited
            self._published = Published(rules.publishes, self.base, relayed=relayed)
            undo.callback(self._published.close)
            self._diag = Diag()
            undo.callback(self._diag.close)
            self._names = Resolver(loop, lambda: self.rules, upstream=rules.resolvers, on_decision=self._on_name)
            undo.callback(self._names.close)
            self._resolving = Resolving(loop, self._host(RESOLVER), self.base, self._names.ask, self._is_behind)
            self._held = Held(limits.sockets) if limits.sockets is not None else None
            undo.pop_all()
        self._outward = Outwards(self._diag)
        self._proxied = Proxied(loop, self._host(_LAST), http) if http is not None else None
        self._carriage = None if relayed else Carriage(loop)
        self._relayed: Relayed | None = None
        if relayed:
            last, listeners = self._host(_LAST), self._published.listeners["tcp"]
            self._relayed = Relayed(loop, last, self._meter, listeners, self._listener_at, self._hears)
        heard = self._published.listeners["udp"]
        self._visitors = Visitors(loop, self._host(_LAST), heard, self._meter, self._hears_at, self._hears)
        self._operations: dict[str, Operation] = {
            "bind": self._bind,
            "connect": self._connect,
            "listen": self._listen,
            "send": self._send,
            "option": self._option,
            "admit": self._admit,
            "name": self._name,
        }

    def attach(self, listener: Listener) -> None:
        """Who hears of what the resolver decides."""
        self._listener = listener

    def _on_name(self, decision: NameDecision) -> None:
        if self._listener is not None:
            what = " ".join(filter(None, (decision.type, decision.name, decision.address)))
            self._listener.judged(Judged("resolve", decision.allowed, decision.rule, what.encode()))

    def _is_behind(self) -> bool:
        return self._listener is not None and self._listener.is_behind()

    @property
    def usage(self) -> NetworkUsage:
        return self._meter.usage(self._carriage.carried() if self._carriage is not None else None)

    def handle(self, ask: NetAsk) -> NetAnswer:
        answer = self._answer(ask)
        self._meter.decided(ask.kind, answer.rule, -answer.value)
        return answer

    def _answer(self, ask: NetAsk) -> NetAnswer:
        try:
            if ask.kind == "socket":
                with self._lock:
                    return self._make(ask)
            assert ask.fd is not None
            with borrowed(ask.fd) as sock, self._lock:
                operation = self._operations_of(sock).get(ask.kind)
                return operation(sock, ask) if operation else NetAnswer(-errno.EOPNOTSUPP)
        except Refused as refused:
            return NetAnswer(-errno.EACCES, rule=refused.rule)
        except socket.gaierror:
            return NetAnswer(-errno.EINVAL)
        except OSError as error:
            return NetAnswer(-abs(error.errno or errno.EIO))

    def _operations_of(self, sock: socket.socket) -> Mapping[str, Operation]:
        """What is done on a socket of its kind: no sentry may do the few that concern local ones either."""
        if sock.family == socket.AF_UNIX:
            return _ON_LOCAL
        return self._operations if sock.family in _FAMILIES and (sock.type, 0) in _KINDS else {}

    @property
    def publishes(self) -> list[tuple[bytes, int, int]]:
        """Its ports on the host, for the plan."""
        return self._published.rows()

    @property
    def resolver(self) -> int:
        """The port of its resolver."""
        return self._resolving.port

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
            parts.callback(self._holder.close)
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

    # ---- the guest's own addresses --------------------------------------------------------------------------------

    def _host(self, number: int) -> IPv4Address:
        return IPv4Address(self.base + number)

    def _is_ours(self, address: Address) -> bool:
        return in_slice(address, self.base)

    def _own(self, name: Name) -> Name | None:
        """Where a name of the guest's own is on the host; None: it is none."""
        if isinstance(name.address, IPv6Address):
            return Name(self._host(_SIX), name.port) if int(name.address) in (0, 1) else None
        if name.address == self.address:
            return Name(self._host(_INTERFACE), name.port)
        if not (name.address.is_loopback or name.address.is_unspecified):
            return None
        number = int(name.address) & 0xFFFFFF or _ONE
        if number == RESOLVER and name.port == 53:
            return Name(self._host(RESOLVER), self.resolver)
        return Name(self._host(number), name.port) if number < _INTERFACE else None

    def _goal(self, name: Name, sock: socket.socket, ask: NetAsk) -> Goal:
        """Whoever listens in the guest, or has sent to its published port, else what a rule allows."""
        way = self._visitors.way(sock, name) if sock.type == socket.SOCK_DGRAM else None
        if way is not None:
            return Goal(*way, inside=True)
        own = self._own(name)
        if own is not None and own.port == 0:
            return Goal(own, "loopback", True)  # where nobody can be: the kernel says so
        if own is not None:
            six = name.address.version == 6
            found = next((at for at in (own, self._dual(own)) if self._stands(at, sock, six=six)), None)
            found = found or next(self._published.targets(name, sock, self._diag), None)
            if found is not None:
                return Goal(found, "loopback", True)
        host = name._replace(address=reached(name.address))
        verdict = self.rules.judge_address(
            _KINDS[sock.type, 0], host.address, host.port, names=self._names.names_of(host.address)
        )
        if verdict.allowed:
            return Goal(host, verdict.rule, http=verdict.http)
        if own is not None:  # INVARIANT own-slice: whoever of the host is bound to every address would be reached there
            if ask.kind == "send":
                return Goal(Name(self._host(_LAST), _HELD_AT), "loopback", True)  # which takes it, as nobody would
            raise OSError(errno.ECONNREFUSED, "")
        raise Refused(verdict.rule)

    def _stands(self, name: Name, sock: socket.socket, *, six: bool = False) -> bool:
        return self._standing(name, sock, six=six) is not None

    def _standing(self, name: Name, sock: socket.socket, *, six: bool = False) -> int | None:
        """The cookie of a socket of the guest's that is there; `six`: of IPv6. Others are bound to every address at
        most."""
        stream = sock.type == socket.SOCK_STREAM
        asker = Name(_ANY, 0) if stream else self._asker(sock, name)
        protocol = socket.IPPROTO_TCP if stream else socket.IPPROTO_UDP
        found = self._diag.find((IPv4Address(name.address), name.port), asker, protocol)
        if found is None or (six and not found.six):
            return None
        if found.address != name.address and found.cookie not in self._outward:
            return None
        # It may be gone when it is spoken to: then whoever of the host is bound to every address would be met.
        beside = self._diag.find((self._host(_NOBODY), name.port), asker, protocol)
        alone = beside is None or beside.cookie in self._outward or self._published.is_ours(beside.cookie)
        return found.cookie if alone else None

    def _asker(self, sock: socket.socket, target: Name) -> Name:
        """What a datagram from `sock` to an address of the slice comes from: one that is connected hears its peer
        alone."""
        own = name_of(sock)
        return own if self._is_ours(own.address) else own._replace(address=self._beside(target.address))

    def _hears(self, at: Name, asker: Name) -> bool | None:
        """Does a UDP socket of the guest's hear there what `asker` sends? None: nobody does."""
        found = self._diag.find(at, asker, socket.IPPROTO_UDP)
        return None if found is None else found.cookie in self._outward

    def _hears_at(self, port: int, six: bool) -> Name | None:
        """Where a UDP socket of the guest's hears at a port of its own what comes by IPv4, or IPv6."""
        for number in (_SIX, _ONE) if six else (_ONE, _INTERFACE):
            at = Name(self._host(number), port)
            found = self._diag.find(at, (self._host(_LAST), 0), socket.IPPROTO_UDP)
            if found is not None and found.cookie in self._outward and (found.six or not six):
                return at
        return None

    def _listener_at(self, port: int) -> Listening | None:
        """Where the guest listens at a port of its own."""
        with socket.socket() as asker:
            ends = [Name(self._host(number), port) for number in (_ONE, _SIX, _INTERFACE)]
            found = (Listening(end, cookie) for end in ends if (cookie := self._standing(end, asker)) is not None)
            return next(found, None)

    def _dual(self, own: Name) -> Name:
        """Who listens at every address is at number 1, and reached by the others, too."""
        return Name(self._host(_ONE), own.port) if int(own.address) & 0xFF in (_SIX, _INTERFACE) else own

    # ---- what is asked --------------------------------------------------------------------------------------------

    def _make(self, ask: NetAsk) -> NetAnswer:
        kind = ask.type & ~socket.SOCK_NONBLOCK
        if ask.family not in _FAMILIES or (kind, ask.protocol) not in _KINDS:
            return NetAnswer(-errno.EPROTONOSUPPORT)
        made = socket.socket(ask.family, ask.type, ask.protocol)
        if self._held is not None:
            try:
                self._held.add(made)
            except OSError:
                made.close()
                raise
        os.set_blocking(made.fileno(), not ask.type & socket.SOCK_NONBLOCK)  # whatever the caller's default timeout is
        if kind == socket.SOCK_DGRAM:
            attach(made, self.base, ())
            self._outward.of(made, "udp")
        return NetAnswer(fd=made.detach())

    def _bind(self, sock: socket.socket, ask: NetAsk) -> NetAnswer:
        name = read_name(ask.address, sock.family)
        own = self._own(name)
        if own is None:
            return NetAnswer(-errno.EADDRNOTAVAIL)
        everywhere = name.address.is_unspecified or name.address == self.address
        client = everywhere and name.port == 0 and sock.type == socket.SOCK_DGRAM
        if client and self._relayed is None:
            self._outward.of(sock, "udp")
            bind_anywhere(sock)  # a client's: it may send anywhere, and hears the guest and whom it has sent to
            return NetAnswer()
        if self._published.bind(sock, name):
            return NetAnswer()
        self._bind_to(sock, self._wildcard(sock, own) if name.address.is_unspecified else own)
        return NetAnswer()

    def _wildcard(self, sock: socket.socket, own: Name) -> Name:
        only = sock.family == socket.AF_INET6 and sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
        return own._replace(address=self._host(_SIX if only else _ONE))

    def _bind_to(self, sock: socket.socket, name: Name) -> None:
        protocol = _KINDS[sock.type, 0]
        beside = self._published.is_beside(protocol, name.port)
        taken = is_published_anywhere(protocol, name.port) or (not is_free(name, sock) and not self._stands(name, sock))
        if taken and not beside:
            raise OSError(errno.EADDRINUSE, "")  # the host's, at every address: no option shares a port with it
        take_mapped(sock)
        attach(sock, self.base, ())
        with self._choosing(sock) if name.port == 0 else self._sharing(sock, beside):
            sock.bind(sockaddr_of(sock, name))

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

    def _connect(self, sock: socket.socket, ask: NetAsk) -> NetAnswer:
        goal = self._reach(sock, ask)
        if goal.inside and sock.type == socket.SOCK_DGRAM:
            come_home(sock, Name(self._beside(goal.name.address), 0))
        inside = goal.inside
        error = begin_connect(sock, sockaddr_of(sock, goal.name)) if inside else self._connect_outward(sock, goal)
        direct = inside or sock.type == socket.SOCK_DGRAM or (self._relayed is None and not goal.http)
        return NetAnswer(-error, rule=goal.rule, address=b"" if direct else _RELAYED)

    def _connect_outward(self, sock: socket.socket, goal: Goal) -> int:
        """Whom it may be connected to is remembered before, and only forgotten where it surely is not."""
        outward = self._outward.of(sock, _KINDS[sock.type, 0])
        taker = self._taker(goal) if goal.http else None
        if sock.type == socket.SOCK_STREAM:
            self._meter.connecting()
        target, before = goal.name, outward.connected
        reach = Reach(self._names_by((), target), taker is not None)
        perhaps = reach if before.get(target, reach).proxied else reach._replace(proxied=False)  # if it stood before
        outward.connected = {**before, target: perhaps}
        error = self._begin(sock, goal, taker)
        if error not in (0, errno.EINPROGRESS):
            outward.connected = before
        elif error == errno.EINPROGRESS:
            outward.connected = {target: reach}
        elif self._peer_of(sock) == target:  # else 0 is of one that was begun before
            outward.connected = {target: perhaps}
        return error

    def _begin(self, sock: socket.socket, goal: Goal, taker: Joined | None) -> int:
        anew = self._carriage is not None and sock.type == socket.SOCK_STREAM and state_of(sock) == CLOSE
        error = self._begin_by(sock, goal, taker)
        if anew and self._carriage is not None and error in (0, errno.EINPROGRESS):
            self._carriage.begin(cookie_of(sock), goal.rule)
        return error

    def _begin_by(self, sock: socket.socket, goal: Goal, taker: Joined | None) -> int:
        if sock.type == socket.SOCK_DGRAM or (self._relayed is None and taker is None):
            if sock.type == socket.SOCK_STREAM and self._is_bound_at_home(sock) and state_of(sock) == CLOSE:
                attach(sock, self.base, [goal.name.address])  # its answer; a listener hears the slice alone (_listen)
            return begin_connect(sock, sockaddr_of(sock, self._through(sock, goal)))
        take_mapped(sock)
        self._stand(sock, self._host(_ONE))
        if self._relayed is not None:
            return self._relayed.connect(sock, goal.name, goal.rule, taker)
        assert self._proxied is not None and taker is not None
        return self._proxied.connect(sock, goal.name, taker)

    def _taker(self, goal: Goal) -> Joined:
        if self._proxied is None:
            raise Refused(f"{DEFAULT}: no proxy")
        at, judge = goal.name, self.rules.judge_address
        verdicts = {name: judge("tcp", at.address, at.port, names=[name]) for name in self._names.names_of(at.address)}
        # INVARIANT denied-stays-denied: a name whose own verdict is another is not asked for by the others' connection.
        return self._proxied.taker(at, [name for name, each in verdicts.items() if each.allowed and each.http])

    def _peer_of(self, sock: socket.socket) -> Name | None:
        peer = peer_of(sock)
        ends = self._ends_of(sock, peer) if peer is not None else None
        return ends.peer if ends is not None else peer

    def _ends_of(self, sock: socket.socket, peer: Name) -> Ends | None:
        """What the guest is shown where its peer is a relay of ours."""
        if sock.type == socket.SOCK_DGRAM and (ends := self._visitors.ends_of(peer)) is not None:
            return ends
        if self._relayed is not None:
            return self._relayed.ends_of(sock, peer)
        return self._proxied.ends_of(sock) if self._proxied is not None else None

    def _listen(self, sock: socket.socket, ask: NetAsk) -> NetAnswer:
        """A socket that was connected once keeps the number of its port and not the port: what it says is no proof that
        it is bound. So the filter comes first, whatever follows."""
        if sock.type != socket.SOCK_STREAM or sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] not in _IDLE:
            return NetAnswer(-errno.EINVAL if sock.type == socket.SOCK_STREAM else -errno.EOPNOTSUPP)
        rule = self._published.rule_of(sock)
        if rule is None:
            attach(sock, self.base, ())
        if not self._is_at_home(sock):
            with suppress(OSError):
                self._bind_to(sock, Name(self._host(_ONE), 0))
        sock.listen(max(0, ask.family))
        if self._is_at_home(sock):
            if self._relayed is not None:
                self._relayed.listen(sock.getsockname()[1])
            return NetAnswer()
        sock.shutdown(socket.SHUT_RDWR)
        return NetAnswer(-errno.EINVAL)

    def _is_at_home(self, sock: socket.socket) -> bool:
        return self._is_ours(read_plain(sock.getsockname()[0])) or self._published.rule_of(sock) is not None

    def _option(self, sock: socket.socket, ask: NetAsk) -> NetAnswer:
        """INVARIANT own-slice: a UDP socket shares a port in the slice only. The kernel would give it one, shared with
        whoever of the host's says so, too, by a send without an address, which nobody serves. So it is told then."""
        if sock.type != socket.SOCK_DGRAM or ask.family not in SHARES or self._is_bound_at_home(sock):
            return set_option(sock, ask)
        self._outward.of(sock, "udp").shares[ask.family] = ask.address
        return NetAnswer()

    def _is_bound_at_home(self, sock: socket.socket) -> bool:
        return bool(sock.getsockname()[1]) and self._is_at_home(sock)

    def _admit(self, sock: socket.socket, _: NetAsk) -> NetAnswer:
        rule = self._published.admit(sock)
        if rule and self._carriage is not None:
            self._carriage.begin(cookie_of(sock), rule)
        return NetAnswer(rule=rule) if rule else NetAnswer(-errno.EACCES, rule="default: inbound")

    def _name(self, sock: socket.socket, ask: NetAsk) -> NetAnswer:
        ends = self._ends_of(sock, read_name(ask.address, sock.family))
        if ends is None:
            return NetAnswer(-errno.ENOTCONN)
        shown = ends.own if ask.family else ends.peer
        if sock.family == socket.AF_INET and shown.address.version == 6:
            return NetAnswer(-errno.EAFNOSUPPORT)  # whoever came by IPv6 to a listener of IPv4 only has no name there
        return NetAnswer(address=write_name(shown, sock.family))

    def _send(self, sock: socket.socket, ask: NetAsk) -> NetAnswer:
        if sock.type != socket.SOCK_DGRAM:
            return NetAnswer(address=ask.address)  # the kernel passes it over, or says that it is not connected
        goal = self._reach(sock, ask)
        target = self._through(sock, goal)
        return NetAnswer(address=write_name(target, sock.family) + self._source(sock, target), rule=goal.rule)

    def _source(self, sock: socket.socket, target: Name) -> bytes:
        """What a datagram comes from where its socket is bound to every address: the slice lets in no other."""
        if not self._is_ours(target.address) or not read_plain(sock.getsockname()[0]).is_unspecified:
            return b""
        return self._beside(target.address).packed

    def _beside(self, target: Address) -> IPv4Address:
        """From where the guest speaks to one of its own addresses on the host."""
        number = int(target) & 0xFF
        return self._host(number if number in (_SIX, _INTERFACE) else _ONE)

    def _reach(self, sock: socket.socket, ask: NetAsk) -> Goal:
        """The target, and a socket that may speak and listen to it."""
        name = read_name(ask.address, sock.family)
        goal = self._goal(name, sock, ask)
        target = goal.name
        if isinstance(target.address, IPv4Address):
            take_mapped(sock)
        if goal.inside:
            # At a published port of IPv4, too: there the guest is known by its slice.
            if target.address.version == 4:
                own = self._own(name)
                self._stand(sock, self._beside(own.address) if own is not None else self._host(_ONE))
        elif sock.type == socket.SOCK_DGRAM:
            if self._relayed is None and sock.getsockname()[1] == 0:
                bind_anywhere(sock)
            self._let_in(sock, target)
        return goal

    def _through(self, sock: socket.socket, goal: Goal) -> Name:
        """Where datagrams for a target go first."""
        if self._relayed is None or goal.inside:
            return goal.name
        take_mapped(sock)
        come_home(sock, Name(self._host(_ONE), 0))  # a send without an address has bound it
        self._stand(sock, self._host(_ONE))
        return self._relayed.way(sock, goal.name, goal.rule)

    def _stand(self, sock: socket.socket, address: IPv4Address) -> None:
        """Give a socket that has no address yet one in the slice: nobody there lets in any other."""
        if sock.getsockname()[1]:
            return
        if sock.type == socket.SOCK_STREAM:
            sock.setsockopt(socket.IPPROTO_IP, _BIND_LATE, 1)
        with alone(sock):
            sock.bind(sockaddr_of(sock, Name(address, 0)))

    def _let_in(self, sock: socket.socket, peer: Name) -> None:
        """Answers of whom it sends to; of the last few, where these are many."""
        self._meter.sending()
        if self._carriage is not None:
            self._carriage.lose()
        outward = self._outward.of(sock, "udp")
        if peer not in outward.peers:
            self._meter.connecting()
        before = outward.addresses()
        known = outward.peers.get(peer)
        outward.peers[peer] = Reach(self._names_by(known.names if known else (), peer))
        forgotten = list(outward.peers)[:-_PEERS_MAX]
        for oldest in forgotten:
            del outward.peers[oldest]
        if forgotten and self._relayed is not None:
            mine = cookie_of(sock)
            self._relayed.cut(lambda _, cookie, peer: cookie != mine or peer in outward.every())
        if outward.addresses() != before:
            self._hear(sock, outward.addresses())

    def _names_by(self, before: Sequence[str], peer: Name) -> tuple[str, ...]:
        return (*dict.fromkeys((*before, *self._names.names_of(peer.address))),)

    # ---- rules that change ----------------------------------------------------------------------------------------

    def judged(self, judged: Judged) -> None:
        """Its proxy has judged a request, or its resolver a question."""
        self._meter.decided(judged.kind, judged.rule, 0 if judged.allowed else errno.EACCES)

    def change(self, change: Callable[[Rules], Rules]) -> None:
        with self._lock:  # no call is half judged, and no other change lost
            self.rules = change(self.rules)

    def cut(self, root: int) -> bool:
        """Part every socket of the guest, whose first process is `root`, from whom the rules do not allow now. False:
        one that stands is held where it cannot be reached."""
        for relays in (self._relayed, self._proxied):
            if relays is not None and not relays.cut(self._may_stand):
                return False
        return self._outward.cut(root, self._lock, self._refused, self._hear)

    def _may_stand(self, protocol: str, cookie: int, peer: Name) -> bool:
        reach = self._outward.peers_of(cookie).get(peer)
        return reach is not None and not self._refused(protocol, {peer: reach})

    def _hear(self, sock: socket.socket, peers: Iterable[Address]) -> None:
        """The guest, and of others these alone; of those that are relayed none is heard without us."""
        attach(sock, self.base, peers if self._relayed is None else ())

    def _refused(self, protocol: str, peers: Peers) -> list[Name]:
        """INVARIANT requests-are-judged: also where only requests are allowed now, and nobody judges this one's."""
        judge, refused = self.rules.judge_address, []
        for peer, reach in peers.items():
            verdict = judge(protocol, peer.address, peer.port, names=reach.names)
            if not verdict.allowed or (verdict.http and not reach.proxied):
                refused.append(peer)
        return refused


def _listen_local(sock: socket.socket, ask: NetAsk) -> NetAnswer:
    sock.listen(max(0, ask.family))
    return NetAnswer()


_ON_LOCAL: dict[str, Operation] = {"listen": _listen_local, "option": set_option}
