"""The sockets of a guest whose network is served: made, bound, connected and set to listen by the Supervisor, under its
rules.

They are of the host's network, so data moves natively. The guest's own addresses are a slice of the host's loopback
(_slice.py); what comes from elsewhere is dropped by a filter on the socket (_ingress.py)."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from ipaddress import IPv4Address
from typing import NamedTuple

from .._addresses import OWN, Address, reached
from .._grants import Limits
from .._loop import Loop
from .._messages import HTTPService, Judged, Listener, NetAnswer, NetAsk, NetworkUsage
from .._rules import Rules
from .._verdicts import DEFAULT
from ._diag import Diag
from ._held import Held
from ._home import PROTOCOLS, Home
from ._ingress import attach
from ._meter import Meter
from ._names_of_sockets import Name, read_name, read_plain, write_name
from ._options import set_option
from ._outward import Outwards, Peers, Reach
from ._proxied import Proxied
from ._published import Published
from ._refused import Refused
from ._relay import CLOSE, Joined
from ._relayed import Ends, Relayed
from ._resolving import Resolving
from ._slice import LAST, ONE, RESOLVER, Slice
from ._sockets import (
    SHARES,
    begin_connect,
    bind_anywhere,
    borrowed,
    come_home,
    cookie_of,
    peer_of,
    sockaddr_of,
    state_of,
    take_mapped,
)
from ._tcp_ends import Carriage, forget_after_fork
from ._visitors import Visitors
from .names import NameDecision, Resolver

_PEERS_MAX = 64  # of a UDP socket
_IDLE = (CLOSE, 10)  # and TCP_LISTEN
_KINDS = (
    *((socket.SOCK_STREAM, protocol) for protocol in (0, socket.IPPROTO_TCP)),
    *((socket.SOCK_DGRAM, protocol) for protocol in (0, socket.IPPROTO_UDP)),
)
_FAMILIES = (socket.AF_INET, socket.AF_INET6)
_RELAYED = b"\1"  # in the answer to a connect (core.h)
Operation = Callable[[socket.socket, NetAsk], NetAnswer]


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
        self.rules = rules
        self._listener: Listener | None = None
        self._meter = Meter(limits, loop)
        self._lock = threading.Lock()
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
        return self._operations if sock.family in _FAMILIES and sock.type in PROTOCOLS else {}

    @property
    def publishes(self) -> list[tuple[bytes, int, int]]:
        """Its ports on the host, for the plan."""
        return self._published.rows()

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

    # ---- what is asked --------------------------------------------------------------------------------------------

    def _goal(self, name: Name, sock: socket.socket, ask: NetAsk) -> Goal:
        """Whoever listens in the guest, or has sent to its published port, else what a rule allows."""
        way = self._visitors.way(sock, name) if sock.type == socket.SOCK_DGRAM else None
        if way is not None:
            return Goal(*way, inside=True)
        own = self.slice.own(name)
        if own is not None and own.port == 0:
            return Goal(own, "loopback", True)  # where nobody can be: the kernel says so
        if own is not None:
            six = name.address.version == 6
            found = next((at for at in (own, self.slice.dual(own)) if self._home.stands(at, sock, six=six)), None)
            found = found or next(self._published.targets(name, sock, self._diag), None)
            if found is not None:
                return Goal(found, "loopback", True)
        host = name._replace(address=reached(name.address))
        verdict = self.rules.judge_address(
            PROTOCOLS[sock.type], host.address, host.port, names=self._names.names_of(host.address)
        )
        if verdict.allowed:
            return Goal(host, verdict.rule, http=verdict.http)
        if own is not None:  # INVARIANT own-slice: whoever of the host is bound to every address would be reached there
            if ask.kind == "send":
                return Goal(self.slice.nobody, "loopback", True)  # which takes it, as nobody would
            raise OSError(errno.ECONNREFUSED, "")
        raise Refused(verdict.rule)

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
        if made.gettimeout() is not None:  # whatever the caller's default is
            os.set_blocking(made.fileno(), not ask.type & socket.SOCK_NONBLOCK)
        if kind == socket.SOCK_DGRAM:
            attach(made, self.slice.base, ())
            self._outward.of(made, "udp")
        return NetAnswer(fd=made.detach())

    def _bind(self, sock: socket.socket, ask: NetAsk) -> NetAnswer:
        name = read_name(ask.address, sock.family)
        own = self.slice.own(name)
        if own is None:
            return NetAnswer(-errno.EADDRNOTAVAIL)
        everywhere = name.address.is_unspecified or name.address == self.slice.address
        client = everywhere and name.port == 0 and sock.type == socket.SOCK_DGRAM
        if client and self._relayed is None:
            self._outward.of(sock, "udp")
            bind_anywhere(sock)  # a client's: it may send anywhere, and hears the guest and whom it has sent to
            return NetAnswer()
        if self._published.bind(sock, name):
            return NetAnswer()
        self._home.bind(sock, self._home.wildcard(sock, own) if name.address.is_unspecified else own)
        return NetAnswer()

    def _connect(self, sock: socket.socket, ask: NetAsk) -> NetAnswer:
        goal = self._reach(sock, ask)
        if goal.inside and sock.type == socket.SOCK_DGRAM:
            come_home(sock, Name(self.slice.beside(goal.name.address), 0))
        inside = goal.inside
        error = begin_connect(sock, sockaddr_of(sock, goal.name)) if inside else self._connect_outward(sock, goal)
        direct = inside or sock.type == socket.SOCK_DGRAM or (self._relayed is None and not goal.http)
        return NetAnswer(-error, rule=goal.rule, address=b"" if direct else _RELAYED)

    def _connect_outward(self, sock: socket.socket, goal: Goal) -> int:
        """Whom it may be connected to is remembered before, and only forgotten where it surely is not."""
        outward = self._outward.of(sock, PROTOCOLS[sock.type])
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
            if sock.type == socket.SOCK_STREAM and self._home.has_bound(sock) and state_of(sock) == CLOSE:
                attach(sock, self.slice.base, [goal.name.address])  # its answer; a listener hears the slice alone
            return begin_connect(sock, sockaddr_of(sock, self._through(sock, goal)))
        take_mapped(sock)
        self._home.stand(sock, self.slice.at(ONE))
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
        reach = Reach((*verdicts,), proxied=True)
        return self._proxied.taker(at, reach, [name for name, each in verdicts.items() if each.allowed and each.http])

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
            attach(sock, self.slice.base, ())
        else:
            self._published.guard(sock, rule)  # it may have been let hear whom it was connected to
        if not self._home.has(sock):
            with suppress(OSError):
                self._home.bind(sock, Name(self.slice.at(ONE), 0))
        sock.listen(max(0, ask.family))
        if self._home.has(sock):
            if self._relayed is not None:
                self._relayed.listen(sock.getsockname()[1])
            return NetAnswer()
        sock.shutdown(socket.SHUT_RDWR)
        return NetAnswer(-errno.EINVAL)

    def _option(self, sock: socket.socket, ask: NetAsk) -> NetAnswer:
        """INVARIANT own-slice: a UDP socket shares a port in the slice only. The kernel would give it one, shared with
        whoever of the host's says so, too, by a send without an address, which nobody serves. So it is told then."""
        if sock.type != socket.SOCK_DGRAM or ask.family not in SHARES or self._home.has_bound(sock):
            return set_option(sock, ask)
        self._outward.of(sock, "udp").shares[ask.family] = ask.address
        return NetAnswer()

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
        if not self.slice.holds(target.address) or not read_plain(sock.getsockname()[0]).is_unspecified:
            return b""
        return self.slice.beside(target.address).packed

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
                own = self.slice.own(name)
                self._home.stand(sock, self.slice.beside(own.address) if own is not None else self.slice.at(ONE))
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
        come_home(sock, Name(self.slice.at(ONE), 0))  # a send without an address has bound it
        self._home.stand(sock, self.slice.at(ONE))
        return self._relayed.way(sock, goal.name, goal.rule)

    def _let_in(self, sock: socket.socket, peer: Name) -> None:
        """Answers of whom it sends to; of the last few, where these are many."""
        self._meter.sending()
        if self._carriage is not None:
            self._carriage.lose()
        outward = self._outward.of(sock, "udp")
        if peer not in outward.peers:
            self._meter.connecting()
        known = outward.peers.get(peer)
        reach = Reach(self._names_by(known.names if known else (), peer))
        if reach == known:
            return  # it hears them already
        before = outward.addresses()
        outward.peers[peer] = reach
        forgotten = list(outward.peers)[:-_PEERS_MAX]
        for oldest in forgotten:
            del outward.peers[oldest]
        if forgotten and self._relayed is not None:
            mine = cookie_of(sock)
            self._relayed.cut(lambda _, cookie, peer: cookie != mine or peer in outward.every())
        if outward.addresses() != before:
            self._hear(sock, outward.addresses())

    def _names_by(self, before: Sequence[str], peer: Name) -> tuple[str, ...]:
        now = self._names.names_of(peer.address)
        return (*dict.fromkeys((*before, *now)),) if before or now else ()

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
        done = self._outward.cut(root, self._lock, self._refused, self._hear)
        if self._proxied is not None:
            self._proxied.settle(self._refused)
        return done

    def _may_stand(self, protocol: str, cookie: int, peer: Name) -> bool:
        reach = self._outward.peers_of(cookie).get(peer)
        return reach is not None and not self._refused(protocol, {peer: reach})

    def _hear(self, sock: socket.socket, peers: Iterable[Address]) -> None:
        """The guest, and of others these alone; of those that are relayed none is heard without us."""
        attach(sock, self.slice.base, peers if self._relayed is None else ())

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
