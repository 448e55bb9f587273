"""What does the network cost: its calls, its data, and servers under load? Within the guest's own loopback, which is a network namespace's
or, for `sandbox-rules`, a slice of the host's; each beside the floor with as many hops. And between a guest and the host."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Callable

from ..runners import RUNNERS, Job, Runner
from . import work_shell
from .calls import NETWORK_CALLS, TRANSFER, call_case, call_job, evidence, parse
from .case import OF_FILES, Case, Question, Reading, Setup, one, ready
from .work import Work, need, work_case
from .work_python import PREFIXES

__all__ = ["NETWORK"]

PER_REQUEST = "µs per request"
SERVERS = (
    *(
        Work(f"redis-benchmark, {told}", partial(work_shell.redis_rate, pipelined=pipelined), work_shell.REDIS_NEEDS, (), (),
             work_shell.rated, PER_REQUEST, tuple(f"redis {call}, {told}" for call in ("SET", "GET")))
        for pipelined, told in ((1, "one at a time"), (16, "16 at a time"))
    ),
    Work("nginx and wrk, kept alive", work_shell.nginx, ("nginx", "wrk"), (), (), work_shell.served, PER_REQUEST),
)  # fmt: skip


def _pour(job: Job, runner: Runner) -> Reading:
    row = parse(runner.run(job).stdout, TRANSFER)
    return Reading((row["ns"] * row["count"] / 1e6,), evidence(row))


def _transfer(setup: Setup) -> Case:
    """From one process to another; nearly all of it is data."""
    chunks = setup.scale.megabytes * 16  # of 64 KiB
    job = call_job(setup, "--count", str(chunks), TRANSFER, network=True)
    return one(f"TCP, {setup.scale.megabytes} MiB between two processes", "ms", partial(_pour, job))


def _met(server: Job, client: Job, runner: Runner) -> Reading:
    """The host's wrk meets the guest's nginx at a published port."""
    with ready(runner, server):
        return work_shell.served(RUNNERS["native"].run(client).stdout)


def _meets(server: Job, client: Job, runner: Runner) -> Reading:
    """The guest's wrk meets the host's nginx."""
    with ready(RUNNERS["native"], server):
        return work_shell.served(runner.run(client).stdout)


def _between(setup: Setup, name: str, take: Callable[[Job, Job, Runner], Reading]) -> Case:
    need("nginx", "wrk")
    settings = {**work_shell.site(setup.folder(name)), "seconds": setup.scale.seconds}
    script = work_shell.NGINX_STARTS + "echo ready; cat\n" + work_shell.NGINX_STOPS
    port = int(str(settings["port"]))
    server = work_shell.shell(setup.folder(name), script.format(**settings))
    client = work_shell.shell(setup.folder(f"{name}, wrk"), work_shell.WRK.format(**settings), tuple(PREFIXES))
    if take is _met:
        server = replace(server, serves=port)
    else:
        client = replace(client, meets=port)
    return one(name, PER_REQUEST, partial(take, server, client))


def _cases(setup: Setup) -> Iterator[tuple[str, Callable[[], Case]]]:
    for name in NETWORK_CALLS:
        yield name, partial(_transfer, setup) if name == TRANSFER else partial(call_case, setup, name)
    for work in SERVERS:
        yield work.name, partial(work_case, setup, work)
    for name, take in (("nginx inside, wrk outside", _met), ("wrk inside, nginx outside", _meets)):
        yield name, partial(_between, setup, name, take)


NETWORK = Question("network", "The network", _cases, cores=("idle", "busy"), without=(*OF_FILES, "sandbox-cli"))
