"""Datagrams of strangers to a guest's published ports: the Supervisor hears them at the host's address and hands them
on from a socket of its own in the guest's slice, one for each stranger, which the guest answers to."""

from __future__ import annotations

import socket
import struct
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from ipaddress import IPv4Address
from typing import Any, NamedTuple

from .._addresses import Address
from .._loop import Loop
from .._publish import Publish
from ._ingress import attach
from ._inners import Inners
from ._meter import Meter
from ._names_of_sockets import Name, read_plain
from ._relay import share
from ._relayed import Ends
from ._sockets import name_of

_MOST = 256  # strangers at once; then the one that was heard longest ago is forgotten
_LEAVING = 4.0  # seconds, at most
_ANSWERED = 120.0  # seconds after a stranger was heard; conntrack's udp_timeout_stream
_SIZE, _PIECES, _NEW = 1 << 16, 16, 2  # bytes of a datagram, how many in one turn, and of strangers who are new
_INFO4, _INFO6 = struct.Struct("=i4s4s"), struct.Struct("=16si")  # struct in_pktinfo, in6_pktinfo
_PKTINFO, _RECVPKTINFO6, _PKTINFO6 = 8, 49, 50  # IP_PKTINFO, IPV6_RECVPKTINFO, IPV6_PKTINFO
_Key = tuple[Publish, Name]
Hears = Callable[[Name, Name], "bool | None"]
Find = Callable[[int, bool], "Name | None"]


class _Visit(NamedTuple):
    inner: socket.socket
    name: Name
    at: Name
    """where the guest hears it"""
    listener: socket.socket
    peer: tuple[Any, ...]
    """as recvfrom gave it: an address of a link has its scope"""
    local: Address
    """which address of the host's the stranger has sent to"""
    until: float


class Visitors:
    """One guest's. In the loop's thread."""

    def __init__(
        self,
        loop: Loop,
        address: IPv4Address,
        listeners: Sequence[tuple[Publish, socket.socket]],
        meter: Meter,
        find: Find,
        hears: Hears,
    ) -> None:
        """`address` is the slice's last; `find(port, six)` tells where the guest hears at one of its ports, by IPv6 if
        `six`; `hears(at, asker)` as Datagrams has it."""
        self._loop, self._inners, self._listeners = loop, Inners(address), listeners
        self._meter, self._find, self._hears = meter, find, hears
        self._visits: OrderedDict[_Key, _Visit] = OrderedDict()
        self._named: dict[Name, _Key] = {}
        with ExitStack() as undo:
            for rule, listener in listeners:
                undo.callback(loop.forget, listener.fileno())
                self._open(rule, listener, address)
            undo.pop_all()

    def _open(self, rule: Publish, listener: socket.socket, address: IPv4Address) -> None:
        listener.setblocking(False)
        if rule.sources:
            attach(listener, int(address) & ~0xFF, rule.blocks)  # the rest does not wake us
        six = listener.family == socket.AF_INET6
        option = (socket.IPPROTO_IPV6, _RECVPKTINFO6) if six else (socket.IPPROTO_IP, _PKTINFO)
        listener.setsockopt(*option, 1)
        self._loop.watch(listener.fileno(), partial(self._on_heard, rule, listener))

    def way(self, sock: socket.socket, peer: Name) -> tuple[Name, str] | None:
        """INVARIANT answers-only: where a socket that is bound at a published port answers a stranger who was heard
        there of late, and the rule."""
        if not self._visits:
            return None
        own, now = name_of(sock), time.monotonic()
        for rule, _ in self._listeners if own.port else ():
            visit = self._visits.get((rule, peer))
            if visit is not None and visit.at == own and now < visit.until:
                return visit.name, str(rule)
        return None

    def ends_of(self, name: Name) -> Ends | None:
        """Who stands behind a name of ours in the slice, and whom it has sent to."""
        key = self._named.get(name)
        return Ends(key[1], Name(self._visits[key].local, key[0].guest)) if key is not None else None

    def close(self, *, forked: bool = False) -> None:
        """What the guest has answered goes first. From any thread."""
        if forked:
            for visit in self._visits.values():
                visit.inner.close()
            self._inners.close()
        else:
            self._loop.perform(self._leave, _LEAVING)

    def _leave(self) -> None:
        for _, listener in self._listeners:
            self._loop.forget(listener.fileno())
        for key in list(self._visits):
            self._on_answer(key)
            self._end(key)
        self._inners.close()

    # ---- in ---------------------------------------------------------------------------------------------------------

    def _on_heard(self, rule: Publish, listener: socket.socket, _: int = 0) -> None:
        flow, new = self._meter.flows[1], 0
        for _ in range(_PIECES):
            if new >= _NEW or flow.delays(listener):
                return
            try:
                data, control, _, peer = listener.recvmsg(_SIZE, socket.CMSG_SPACE(_INFO6.size))
            except BlockingIOError:
                return
            except OSError:
                continue  # an answer that nobody was there for
            key = rule, Name(read_plain(peer[0]), peer[1])
            if rule.admits(key[1].address):
                new += key not in self._visits
                self._hand_on(key, listener, peer, _local(control), data)

    def _hand_on(self, key: _Key, listener: socket.socket, peer: tuple[Any, ...], local: Address, data: bytes) -> None:
        flow = self._meter.flows[1]
        with suppress(OSError):  # no descriptor is left, the kernel does not tell who hears, or its queue is full
            visit = self._visit(key, listener, peer, local)
            if visit is not None and flow.takes(len(data)):
                flow.moved(visit.inner.send(data), str(key[0]))

    def _visit(self, key: _Key, listener: socket.socket, peer: tuple[Any, ...], local: Address) -> _Visit | None:
        """INVARIANT own-slice: while the guest does not hear us, whoever of the host is bound to every address may: so
        it is asked for before each datagram."""
        visit, until = self._visits.get(key), time.monotonic() + _ANSWERED
        if visit is not None and self._hears(visit.at, visit.name) is not True:
            self._end(key)
            visit = None
        if visit is None:
            at = self._find(key[0].guest, key[1].address.version == 6)
            if at is None or not self._meter.accepted(str(key[0])):
                return None
            if len(self._visits) >= min(_MOST, share()):
                self._end(next(iter(self._visits)))
            inner = self._inners.take(at)
            visit = _Visit(inner, name_of(inner), at, listener, peer, local, until)
            self._named[visit.name] = key
            self._loop.watch(inner.fileno(), partial(self._on_answer, key))
        self._visits[key] = visit._replace(peer=peer, local=local, until=until)
        self._visits.move_to_end(key)
        return visit

    # ---- and out ----------------------------------------------------------------------------------------------------

    def _on_answer(self, key: _Key, _: int = 0) -> None:
        visit, flow = self._visits[key], self._meter.flows[0]
        for _ in range(_PIECES):
            if flow.delays(visit.inner):
                return
            try:
                data = visit.inner.recv(_SIZE)
            except BlockingIOError:
                return
            except OSError:
                continue  # nobody heard
            if time.monotonic() > visit.until or not self._is_guests(visit):
                return self._end(key)
            if flow.takes(len(data)):
                with suppress(OSError):
                    control = [_from(visit.local)]
                    flow.moved(visit.listener.sendmsg([data], control, 0, visit.peer), str(key[0]))

    def _is_guests(self, visit: _Visit) -> bool:
        """INVARIANT own-slice: was it the guest that answered? Nobody is there where it has ended since."""
        with suppress(OSError):
            return self._hears(visit.at, visit.name) is not False
        return False

    def _end(self, key: _Key) -> None:
        visit = self._visits.pop(key, None)
        if visit is not None:
            self._named.pop(visit.name, None)
            self._loop.forget(visit.inner.fileno())
            self._inners.give(visit.inner)


def _local(control: list[tuple[int, int, bytes]]) -> Address:
    """Which address of ours was sent to; the kernel always tells."""
    level, _, info = control[0]
    return read_plain(
        socket.inet_ntop(socket.AF_INET6, _INFO6.unpack(info)[0])
        if level == socket.IPPROTO_IPV6
        else socket.inet_ntop(socket.AF_INET, _INFO4.unpack(info)[2])
    )


def _from(local: Address) -> tuple[int, int, bytes]:
    """As control data: what is sent comes from this address."""
    if local.version == 6:
        return socket.IPPROTO_IPV6, _PKTINFO6, _INFO6.pack(local.packed, 0)
    return socket.IPPROTO_IP, _PKTINFO, _INFO4.pack(0, local.packed, bytes(4))
