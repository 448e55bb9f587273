"""sandlock: a peer that is a Python library, too."""

from __future__ import annotations

import time
from typing import Any

from .base import TIMEOUT, Failed, Job, NotOffered, Outcome, Running, Safety, checked
from .commands import seen
from .library import Library, imported

__all__ = ["SANDLOCK"]


class Sandlock(Library):
    """`sandlock.Sandbox.run`, one a command."""

    name = "sandlock"
    package = "sandlock"
    script = (
        "done = sandlock.Sandbox(fs_readable=['/usr', '/bin', '/lib', '/lib64', '/etc', '/proc', '/dev'], "
        "fs_writable=[here, '/tmp', '/dev'], cwd=here).run(sys.argv[1:]); sys.stdout.buffer.write(done.stdout); done.exit_code and sys.exit(1)"
    )
    safety = Safety(
        "by Landlock, and some calls by notification",
        "connect and bind by notification and Landlock",
        "resolved once, at the start",
        "the system's directories to read, the job's and /tmp to write; every call that is not on a list",
        ("shadow",),
    )

    @staticmethod
    def _box(job: Job) -> Any:
        if job.network or job.serves or job.meets:
            raise NotOffered("no loopback of its own")
        return imported("sandlock").Sandbox(
            fs_readable=[*seen(job), "/proc", "/dev"],
            fs_writable=[str(job.directory), "/tmp", "/dev"],
            cwd=str(job.directory),
            clean_env=True,
            env=job.environment,
        )

    def run(self, job: Job) -> Outcome:
        began = time.perf_counter()
        done = self._box(job).run(list(job.command), timeout=TIMEOUT)
        seconds = time.perf_counter() - began
        if done.exit_code < 0:
            raise Failed(f"{job.command[0]}: {done.reason.name}, {done.error or f'signal {done.signal}'}")
        return checked(seconds, done.exit_code, done.stdout, done.stderr, job.command)

    def start(self, job: Job) -> Running:
        piped = imported("sandlock.sandbox").StdioMode
        process = self._box(job).popen(list(job.command), stdin=piped.PIPED, stdout=piped.PIPED, stderr=piped.NULL)
        return Running(process.stdin, process.stdout, lambda: process.wait(20), process.kill)


SANDLOCK = Sandlock()
