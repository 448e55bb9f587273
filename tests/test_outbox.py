"""What the kernel does not let pass yet, because too many descriptors of the user are in flight, waits and arrives in order."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.helpers import give_up_privileges

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = """
import resource, socket
from sandbox import _core
from sandbox._core import Message, MessageType
from sandbox._outbox import Outbox
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
ours.setblocking(False)
asked = []
outbox = Outbox(ours, lambda on: asked.append(on), lambda: asked.append("later"))
one, other = socket.socketpair()
socket.send_fds(one, [b"x"], [0] * 100)
outbox.post([Message(MessageType.SIGNAL, 1), Message(MessageType.RUN, 2, fds=[0]), Message(MessageType.SIGNAL, 3)])
outbox.post([Message(MessageType.SIGNAL, 4)])
print(asked)
asked.clear()
outbox.flush()
print(asked)
asked.clear()
other.close(); one.close()
while "later" in asked or not asked:  # others of the user have some in flight, perhaps
    asked.clear()
    outbox.flush()
print(asked)
print([(m.number, len(m.fds)) for m in (_core.receive(theirs) for _ in range(4))])
"""


def test_descriptors_that_are_refused_wait() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, timeout=60, preexec_fn=give_up_privileges
    )
    assert done.stdout.decode().splitlines() == [
        "[False, 'later']",
        "[False, 'later']",
        "[False]",
        "[(1, 0), (2, 1), (3, 0), (4, 0)]",
    ], done
