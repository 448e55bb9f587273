"""What a runner's guest reaches of the host, tried: beside what its safety says in words.

The guest is given one directory to write. What it changes, connects to and ends is looked for outside of it."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

from .questions.work_python import PREFIXES, PYTHON
from .runners import WAYS, Job, NotOffered, Runner

__all__ = ["tried"]

PROBE = """
import json, os, signal, socket, sys
beside, port, pid, marker = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4][::-1]
def got(act, *arguments):
    try:
        return act(*arguments)
    except OSError:
        return None
def read(path):
    with open(path) as file:
        return file.read()
def write():
    with open(beside + "/written", "w") as file:
        file.write(marker)
names = [name for name in got(os.listdir, "/proc") or () if name.isdigit()]
seen = any(marker in (got(read, f"/proc/{name}/cmdline") or "") for name in names)
print(json.dumps({"read": got(read, beside + "/secret") == marker, "shadow": bool(got(read, "/etc/shadow")), "see": seen}))
got(write)
got(lambda: socket.create_connection(("127.0.0.1", port), 5))
got(os.kill, pid, signal.SIGTERM)
"""


def tried(runner: Runner) -> dict[str, bool]:
    """By keys of WAYS. The guest has a network of its own where that is offered."""
    with tempfile.TemporaryDirectory(prefix="sandbox-benchmarks-", dir="/var/tmp") as name, socket.create_server(("127.0.0.1", 0)) as listener:
        own, beside, marker = Path(name, "own"), Path(name, "beside"), f"bystander-{name[-8:]}"
        for folder in (own, beside):
            folder.mkdir()
        (beside / "secret").write_text(marker)
        bystander = subprocess.Popen([marker], executable="/bin/cat", stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        try:
            numbers = (listener.getsockname()[1], bystander.pid)
            command = [PYTHON, "-I", "-S", "-c", PROBE, str(beside), *map(str, numbers), marker[::-1]]
            said = json.loads(_run(runner, Job(command, own, PREFIXES, network=True)))
            return {**dict.fromkeys(WAYS, False), **said, "write": (beside / "written").exists(), **_outside(listener, bystander)}
        finally:
            bystander.kill()
            bystander.communicate()


def _run(runner: Runner, job: Job) -> bytes:
    try:
        return runner.run(job).stdout
    except NotOffered:
        return runner.run(replace(job, network=False)).stdout


def _outside(listener: socket.socket, bystander: subprocess.Popen[bytes]) -> dict[str, bool]:
    """Who has connected waits in the listener's queue. A bystander that was not ended by the guest ends with its input."""
    listener.setblocking(False)
    try:
        listener.accept()[0].close()
        met = True
    except BlockingIOError:
        met = False
    bystander.communicate()
    return {"loopback": met, "end": bystander.returncode == -signal.SIGTERM}
