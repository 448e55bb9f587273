"""Making a guest: everything that it is of, its sentry included."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from . import _core, _filter, _sentry
from ._addresses import OWN
from ._audit import AuditTarget, Sink
from ._cgroup import Cgroup
from ._cgroup import create as create_cgroup
from ._core import Message, Option
from ._describe import describe, describe_network
from ._filter_options import behind, for_network, relied_on
from ._guest import Guest
from ._http_proxy import HTTPProxy
from ._inbox import wall_bits, wall_names
from ._loop import Loop
from ._messages import Request, Service
from ._metrics import MeteredSink, Totals
from ._network import is_served
from ._parts import Parts
from ._plan import OUTPUT_BYTES, Plan, compile_policy, plan_limits
from ._policy import Policy
from ._remove import make_scratch, remove_tree
from ._rules import Rules
from ._trust import Trust
from ._workers import Workers
from .services.files import FileService
from .services.proc import ProcService

if TYPE_CHECKING:
    from .services.net import Internet


@dataclass(frozen=True)
class Order:
    """What a guest is to be: `walls` may be tried, the others are left out."""

    policy: Policy
    audit: AuditTarget | None = None
    walls: tuple[str, ...] = wall_names(wall_bits())
    trace: bool = False  # records are kept, also without `audit`, for who asks for events


class _Lazily:
    """A service that is made for its first request: most guests ask for none."""

    def __init__(self, make: Callable[[], Service]) -> None:
        self._make = make
        self._service: Service | None = None

    def content(self, request: Request) -> bytes:
        service = self._service = self._service or self._make()
        return service.content(request)


class Building:
    """Of all guests of a Supervisor, which hears by `on_gone` of each that has ended."""

    def __init__(self, loop: Loop, workers: Workers, totals: Totals, on_gone: Callable[[Guest], None]) -> None:
        self._loop, self._workers, self._totals, self._gone = loop, workers, totals, on_gone

    def build(
        self, order: Order, options: Option, known: Option, undo: ExitStack
    ) -> tuple[Guest, list[Message], list[int]]:
        """A guest, the first messages to its sentry, and the descriptors that are to be closed when they are sent. Its
        filter has `options` of what its walls allow; `known` to stand are the walls of these. `undo` takes it back
        where a later step fails."""
        tag = secrets.randbits(31) + 1 << 32
        cgroup = _cgroup(order, tag)
        if cgroup is not None:
            undo.callback(cgroup.remove)
        ours, pid, pidfd, spawned = _spawned(order, undo)  # it makes its namespaces while we go on
        cgroup = _enter(cgroup, pid)
        plan = compile_policy(order.policy)
        network, options = for_network(plan.network, options & behind(order.walls))
        plan = plan if network is plan.network else replace(plan, network=network)
        net, http = self._network(order, plan, undo) if network is _core.Network.SERVED else (None, None)
        trail = _core.Trail()
        undo.callback(trail.close)
        # Where a mount namespace is known to stand, all scratch is a tmpfs in it.
        scratch = "" if Option.EMPTY_ROOT in known & options else make_scratch()
        undo.callback(remove_tree, scratch)
        about = _about(order, plan) if order.trace or order.audit is not None else None
        sink = self._sink(order, tag, about, undo)
        walls = wall_names(spawned)
        if "pidns" not in walls:
            options &= ~(Option.PID_NAMESPACE | Option.EMPTY_ROOT)  # the host's /proc tells of all
        parts = Parts(
            socket=ours,
            pid=pid,
            pidfd=pidfd,
            tag=tag,
            spawned_walls=walls,
            scratch=scratch,
            cgroup=cgroup,
            trail=trail,
            sink=sink,
            files=FileService([_bound(each, http) for each in plan.functions], plan.function_names),
            proc=_Lazily(lambda: ProcService(plan.mounted(scratch))),
            require=order.policy.require,
            assumed=relied_on(options),
            wall_seconds=plan.wall_seconds,
            output_bytes=order.policy.limits.output_bytes or OUTPUT_BYTES,
            file_count=len(plan.functions),
            watch_memory=cgroup is not None and plan.limits.memory > 0,
            net=net,
        )
        packed = plan.pack(
            filters=(*_filter.guest_programs(int(options)), _filter.sentry_program()),
            tag=tag,
            required=wall_bits((*parts.require, *parts.assumed)),
            scratch=scratch,
            cgroup=cgroup.path if cgroup else "",
            audit=about is not None,
            slice_=net.slice.base if net else 0,
            resolver=net.slice.resolver if net else 0,
            address=int(net.slice.address or 0) if net else 0,
            publishes=net.publishes if net else (),
        )
        messages, fds = _sentry.setup(packed, plan.contents, trail.fd, undo)
        guest = Guest(parts, self._loop, self._workers, self._gone, about)
        if net is not None:
            net.attach(guest)
        if http is not None:
            http.attach(guest)
        return guest, messages, fds

    def _network(self, order: Order, plan: Plan, undo: ExitStack) -> tuple[Internet, HTTPProxy | None]:
        from .services.net import Internet  # dnspython takes longer to import than everything else

        rules = Rules.compile(order.policy.network)
        writable = [place.source for place in plan.places if place.writable and place.source]
        http = HTTPProxy(self._loop, rules, order.walls, writable) if rules.requests else None
        with ExitStack() as failed:
            if http is not None:
                failed.callback(http.close)
            address = OWN if is_served(order.policy.network) else None
            net = Internet(rules, self._loop, order.policy.limits, http, address)
            failed.pop_all()
        undo.callback(net.close)
        return net, http

    def _sink(self, order: Order, tag: int, about: dict[str, object] | None, undo: ExitStack) -> Sink | None:
        if order.audit is None or about is None:
            return None
        sink = MeteredSink(self._totals, order.audit, tag, about)
        undo.callback(sink.close)
        return sink


def _spawned(order: Order, undo: ExitStack) -> tuple[socket.socket, int, int, int]:
    """Our end of the socket to a sentry, and the sentry."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    undo.callback(ours.close)
    with theirs:
        pid, pidfd, spawned = _sentry.spawn(theirs.fileno(), wall_bits(order.walls))
    undo.callback(_sentry.discard, pid, pidfd)
    ours.setblocking(False)
    return ours, pid, pidfd, spawned


def _cgroup(order: Order, tag: int) -> Cgroup | None:
    limits = plan_limits(order.policy.limits)
    wanted = limits.memory or limits.processes or "cgroup" in order.policy.require
    return create_cgroup(tag, limits) if wanted and "cgroup" in order.walls else None


def _enter(cgroup: Cgroup | None, pid: int) -> Cgroup | None:
    """Put the sentry, which has no child yet, into the cgroup; without one the sentry counts."""
    if cgroup is None:
        return None
    try:
        cgroup.add(pid)
    except OSError:
        cgroup.remove()
        return None
    return cgroup


def _about(order: Order, plan: Plan) -> dict[str, object]:
    """What a reader of a guest's records has to know."""
    places = plan.places
    mounts, rules = [place.guest for place in places], [describe(place) for place in places]
    return {"pid": os.getpid(), "mounts": mounts, "rules": rules, "network": describe_network(order.policy.network)}


def _bound(function: Callable[[], bytes], http: HTTPProxy | None) -> Callable[[], bytes]:
    """A file of the guest's, now that its proxy is there."""
    return http.content(function) if isinstance(function, Trust) and http is not None else function
