"""This project: its library, used in this process, and its command line."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from subprocess import PIPE
from typing import Any, Callable

from .._build import HERE
from .base import TIMEOUT, Job, NotOffered, Outcome, Runner, Running, Safety, checked
from .commands import CommandRunner
from .library import Library
from .name_server import name_server

__all__ = ["OURS"]


class Sandbox(Library):
    """`sandbox.run` and `sandbox.Popen`, each command a guest of its own."""

    name = "sandbox"
    package = "sandbox"
    script = "sandbox.run(sys.argv[1:], cwd=here, writable={here: here}, stdout=None, check=True)"
    safety = Safety(
        "every call that names one, in the guest's own view",
        "every call that names an address",
        "every look-up",
        "the system's directories to read, the job's to write; calls that name nothing go to the host's kernel through a filter",
    )

    def _options(self, job: Job) -> dict[str, Any]:
        top = str(job.directory)
        readable = {str(path): str(path) for path in job.readable}
        return {"cwd": top, "env": job.environment, "mounts": readable, "writable": {top: top}, "network": self._network(job)}

    def _network(self, job: Job) -> Any:
        return self._between(job) or ("loopback" if job.network else "none")

    @staticmethod
    def _between(job: Job) -> list[Any]:
        """The rules for what the guest and the host have to do with each other."""
        from sandbox import Allow, Publish

        published = [Publish(job.serves, f"127.0.0.1:{job.serves}")] if job.serves else []
        return [*published, *([Allow(f"tcp://127.0.0.1:{job.meets}")] if job.meets else [])]

    def run(self, job: Job) -> Outcome:
        import sandbox

        began = time.perf_counter()
        try:
            done = sandbox.run(list(job.command), timeout=TIMEOUT, **self._options(job))
        except (sandbox.PolicyError, sandbox.WallMissing) as error:
            if job.network or job.serves or job.meets:  # not on this machine
                raise NotOffered(str(error)) from None
            raise
        return checked(time.perf_counter() - began, done.returncode, done.stdout, done.stderr, job.command)

    def start(self, job: Job) -> Running:
        import sandbox

        process = sandbox.Popen(list(job.command), stdin=PIPE, stdout=PIPE, **self._options(job))
        assert process.stdin is not None and process.stdout is not None
        return Running(process.stdin, process.stdout, lambda: _leave(process), process.abort)

    @contextlib.contextmanager
    def standing(self, job: Job) -> Iterator[Callable[[], Outcome]]:
        import sandbox

        options = self._options(job)
        own = {name: options.pop(name) for name in ("mounts", "writable", "network")}

        def run() -> Outcome:
            began = time.perf_counter()
            done = box.run(list(job.command), timeout=TIMEOUT, **options)
            return checked(time.perf_counter() - began, done.returncode, done.stdout, done.stderr, job.command)

        with sandbox.Sandbox(**own) as box:
            yield run


class SandboxRules(Sandbox):
    """The same, with rules that reach outside: TCP and UDP are then served, and names resolved. One name is the policy's, and one is
    asked of a name server, once, since its answer stands for an hour."""

    name = "sandbox-rules"

    def _network(self, job: Job) -> Any:
        from sandbox import Allow, Hosts, Resolvers

        names = [Allow("192.0.2.1:1"), Hosts({"bench.test": ["192.0.2.7"]}), Allow("cached.test:1", private=True), Resolvers(f"127.0.0.1:{name_server()}")]
        rules = self._between(job)
        return [*names, *rules] if job.network or rules else "none"


def _leave(process: Any) -> None:
    """Wait for the command, and until its guest is gone."""
    process.wait(20)
    process.__exit__(None, None, None)


def _cli(job: Job) -> list[str]:
    top = str(job.directory)
    options = [f"--ro={path}:{path}" for path in job.readable]
    options += [f"--env={name}={value}" for name, value in job.environment.items()]
    options += ["--network=loopback"] if job.network else []
    return [sys.executable, "-m", "sandbox", "run", *options, f"--rw={top}:{top}", f"--cwd={top}", "--"]


class SandboxCli(CommandRunner):
    """`python -m sandbox run`, of this tree wherever the job's directory is."""

    def environment(self, job: Job) -> dict[str, str]:
        return {**job.environment, "PYTHONPATH": str(HERE.parent)}


CLI = SandboxCli(
    "sandbox-cli",
    "",
    _cli,
    Sandbox.safety,
    says=lambda _: Sandbox().version(),
    own=lambda: Sandbox().own_files(),
)
OURS: tuple[Runner, ...] = (Sandbox(), SandboxRules(), CLI)
