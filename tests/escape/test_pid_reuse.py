"""A process's number comes again while the sentry still works for the one that had it. With few numbers to go round that is
quick: a PID namespace of the test's own is made so that it takes no time at all."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.escape.attack import build

ATTACK = r"""
/* threads and children that are killed in the middle of calls, whose numbers are taken at once */
int main(int argc, char **argv) {
    struct stat status;
    int bad = 0;
    char path[64];
    for (int i = 0; i < atoi(argv[1]); i++) {
        pid_t child = fork();
        if (child == 0) for (;;) {
            chdir("/tmp"); chdir("/"); umask(022); umask(077); stat("/tmp", &status); access("/", F_OK);
        }
        for (volatile int n = 0; n < 20000; n++) continue;
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        pid_t next = fork(); /* may have its number: it must have its own parent's directory and mask */
        if (next == 0) {
            char here[64] = "";
            CALL(SYS_getcwd, here, 64);
            _exit(strcmp(here, "/work") != 0 || umask(0) != 022);
        }
        int result;
        waitpid(next, &result, 0);
        bad += result != 0;
    }
    printf("bad=%d\n", bad);
    return bad ? WON : LOST;
}
"""
TEST = """
import os, sys
sys.path[:0] = {path!r}
with open("/proc/sys/kernel/pid_max", "w") as file:
    file.write("400")
from tests.escape.attack import inside
from pathlib import Path
victims = []
for _ in range(20):
    victim = os.fork()
    if victim == 0:
        import time
        time.sleep(100)
    victims.append(victim)
import resource
before = [[resource.prlimit(victim, number) for number in range(16)] for victim in victims]
for walls in ("no namespaces", "no wall"):
    outcome = inside(Path({program!r}), 400, walls=walls, timeout=100)
    assert outcome.status == 43, outcome
    assert before == [[resource.prlimit(victim, number) for number in range(16)] for victim in victims]
    assert all(os.waitpid(victim, os.WNOHANG) == (0, 0) for victim in victims)
"""


def test_numbers_are_judged_when_they_are_used() -> None:
    """Tags are read again before they are moved, signals go by pidfd, memory by a descriptor opened before the check."""
    if tuple(map(int, os.uname().release.split(".")[:2])) < (6, 14):
        pytest.skip("before Linux 6.14 a PID namespace has no pid_max of its own: this would change the machine's")
    script = TEST.format(path=sys.path, program=str(build(ATTACK)))
    command = [
        "unshare",
        "--user",
        "--map-root-user",
        "--pid",
        "--mount-proc",
        "--fork",
        "--kill-child",
        sys.executable,
        "-W",
        "ignore",
        "-c",
        script,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, cwd=os.getcwd())
    if "unshare:" in done.stderr or "pid_max" in done.stderr:
        pytest.skip(f"no PID namespace with few numbers here: {done.stderr[-200:]}")
    assert done.returncode == 0, done.stderr
