"""How long until /bin/true has run?"""

from __future__ import annotations

import time

from .measure import Samples, Setup, second_core
from .runners import Job, Runner

__all__ = ["bench"]

TRUE = "/bin/true"
ROUNDS = 10


def bench(setup: Setup) -> Samples:
    """A process of its own each; `second command` is one more in a Sandbox that stands already."""
    samples = Samples("start", "ms")
    job = Job([TRUE], setup.scratch)
    for core, runners in setup.rounds():
        with second_core(core):
            for runner in runners:
                samples.attempt("true", runner.name, _starts, samples, "true", runner, job, core)
                if runner.name == "sandbox":
                    samples.attempt("second command", "sandbox", _second_commands, samples, core)
                if runner.name == "native":
                    samples.attempt("second command", "native", _starts, samples, "second command", runner, job, core)
    return samples


def _starts(samples: Samples, what: str, runner: Runner, job: Job, core: str) -> None:
    for _ in range(ROUNDS):
        samples.add(what, runner.name, core, runner.run(job).seconds * 1e3)


def _second_commands(samples: Samples, core: str) -> None:
    import sandbox

    with sandbox.Sandbox() as box:
        box.run([TRUE], check=True)
        for _ in range(ROUNDS):
            began = time.perf_counter()
            box.run([TRUE], check=True)
            samples.add("second command", "sandbox", core, (time.perf_counter() - began) * 1e3)
