"""A process of the caller's that a guest must not reach: it sleeps, and holds back harmless signals so that they show."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.escape.attack import build

_SOURCE = r"""
int main(void) {
    sigset_t harmless;
    sigemptyset(&harmless);
    sigaddset(&harmless, SIGWINCH);
    sigaddset(&harmless, SIGURG);
    sigprocmask(SIG_BLOCK, &harmless, NULL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    write(1, "ready\n", 6);
    for (;;) pause();
}
"""


def program() -> Path:
    return build(_SOURCE)


@contextlib.contextmanager
def victim() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([program()], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        try:
            yield process
        finally:
            process.kill()


def pending(pid: int) -> int:
    """The signals that have come, as a mask."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return sum(int(line.split()[1], 16) for line in lines if line.startswith(("SigPnd", "ShdPnd")))


def condition(pid: int) -> tuple[object, ...]:
    """What others can do to a process: state, priority, policy, processors, limits, group, pending signals."""
    import os
    import resource

    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    limits = tuple(resource.prlimit(pid, number) for number in range(16))
    return (
        *(fields[0] in "Tt", fields[2], fields[3], fields[16]),
        os.sched_getscheduler(pid),
        tuple(sorted(os.sched_getaffinity(pid))),
        limits,
        pending(pid),
    )
