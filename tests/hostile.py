"""A sentry in a guest's hands, for tests: an executable in Python that speaks, or breaks, the protocol."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import sandbox

_HEAD = """\
#!{python} -S
import sys
sys.path[:0] = {path!r}
import array, os, signal, socket, struct, time
from sandbox._core import Message, MessageType as T, receive, send
sock = socket.socket(fileno=3)
READY = struct.pack("16iii", *[0] * 16, 7, 1)
USAGE = struct.pack("3q", 0, 0, 0)

def setup():
    message = receive(sock)
    assert message.type == T.SETUP and len(message.fds) == 4
    return message

def ready():
    plan = setup()
    send(sock, Message(T.READY, 0, 0x3fe, text=READY))
    return plan

def wait_for(kind):
    while True:
        message = receive(sock)
        if message is None:
            sys.exit()
        if message.type == kind:
            return message

def raw(type, length=0, number=0, value=0, value2=0, text=b"", fds=()):
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds).tobytes())] if fds else []
    sock.sendmsg([struct.pack("<IIQqq", type, length, number, value, value2) + text], rights)

def forever():
    while receive(sock) is not None:
        pass

"""


def write(path: Path, body: str) -> str:
    """The executable's path. `body` is Python; `ready`, `wait_for`, `raw` and `forever` are there."""
    root = str(Path(sandbox.__file__).parent.parent)
    places = [root, *(place for place in sys.path if place.startswith("/"))]
    path.write_text(_HEAD.format(python=sys.executable, path=places) + textwrap.dedent(body))
    path.chmod(0o755)
    return str(path)
