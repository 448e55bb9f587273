"""Descriptors in messages that nobody receives: the kernel counts them for the user, over all guests and their caller, and refuses the next
descriptor of whoever's own limit is below the count. A guest sends as many as it can, also by threads that wait for room while the count is
low; another guest starts, runs commands and makes sockets meanwhile."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.escape.attack import ordinary
from tests.helpers import give_up_privileges

ROOT = Path(__file__).resolve().parent.parent.parent
SOFT, HARD = 300, 1024
"""Of the caller. What is in flight at last is more than the one and less than the other: it is no other test's trouble."""

PARK = """
import os, socket, sys, threading, time
few, many = [0] * 50, [0] * 85  # its sentry has one of its own for each while it sends
waiting = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(4)]
def send(sock):
    try: socket.send_fds(sock, [b"x"], many)
    except OSError: pass
threads = [threading.Thread(target=send, args=(ours,)) for ours, _ in waiting]
plain = []
for ours, _ in waiting:
    count = 0
    ours.setblocking(False)
    try:
        while True: ours.send(b"x"); count += 1
    except BlockingIOError: pass
    ours.setblocking(True)
    plain.append(count)
for thread in threads: thread.start()
time.sleep(0.3)  # nothing shows that they wait; if one does not yet, the attack is the weaker
kept, parked, why = [], 0, None
while why is None and parked < 20000:
    kept.append(socket.socketpair())
    kept[-1][0].setblocking(False)
    try:
        while parked < 20000: socket.send_fds(kept[-1][0], [b"x"], few); parked += len(few)
    except BlockingIOError: pass
    except OSError as error: why = error.errno if parked > 300 else None  # else others of the user have some in flight: they will go
for (_, theirs), count in zip(waiting, plain):
    for _ in range(count): theirs.recv(1)
for thread in threads: thread.join()
print(why, parked, flush=True)
sys.stdin.read()
"""

CALLER = """
import errno, os, resource, socket, subprocess, sys
from sandbox import Allow
from tests.escape.attack import box
walls, park = sys.argv[1:]
calls = "import socket; made = [socket.socket() for _ in range(20)]; print('made')"
with box(walls) as greedy, box(walls, network=[Allow("192.0.2.7:9")]) as before:
    process = greedy.popen([sys.executable, "-c", park], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    print(process.stdout.readline().decode(), end="", flush=True)
    ours, theirs = socket.socketpair()
    try: socket.send_fds(ours, [b"x"], [0])
    except OSError as error: print(errno.errorcode[error.errno])  # as every message to a sentry would be answered
    for _ in range(3): print(before.run([sys.executable, "-c", calls], timeout=60).stdout.decode(), end="")
    with box(walls, network=[Allow("192.0.2.7:9")]) as after:
        print(after.run([sys.executable, "-c", calls], timeout=60).stdout.decode(), end="")
    print(resource.getrlimit(resource.RLIMIT_NOFILE))
    process.communicate(b"")
"""


def _as_a_caller_with_limits() -> None:
    give_up_privileges()  # who has CAP_SYS_RESOURCE is not refused
    resource.setrlimit(resource.RLIMIT_NOFILE, (SOFT, HARD))


@ordinary
@pytest.mark.parametrize("walls", ["every wall", "no namespaces", "no wall"])
def test_another_guest_gets_its_descriptors(walls: str) -> None:
    arguments = [sys.executable, "-W", "ignore", "-c", CALLER, walls, PARK]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, timeout=200, preexec_fn=_as_a_caller_with_limits)
    assert done.returncode == 0, done
    first, refused, *made, limits = done.stdout.decode().splitlines()
    why, parked = first.split()
    assert (why, refused) == ("109", "ETOOMANYREFS"), done  # the guest had its fill, and it is enough to stop others
    assert SOFT < int(parked) < HARD, done
    assert made == ["made"] * 4, done
    assert limits == str((SOFT, HARD)), done  # the caller's own are as they were
