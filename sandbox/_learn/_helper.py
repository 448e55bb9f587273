"""The process that traces: its children are the program's and nobody else's, and what it waits for is not the caller's.

Told on its first descriptor what to run, it tells on its second what it has seen: JSON, both. The latter begins with
an empty line when the program does."""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn

try:
    import pyseccomp as seccomp
except ImportError:  # Debian's module: the same functions
    import seccomp

from sandbox._core import syscalls
from sandbox._errors import SandboxError

from ._seen import Need, Seen
from ._tracer import GRACE, Tracer

_RESET = ("SIGPIPE", "SIGXFSZ", "SIGINT", "SIGQUIT", "SIGTERM", "SIGALRM")
_HIDDEN = "io_uring_"  # what a ring does no filter sees; a guest has none, either


def main(spec_fd: int, report_fd: int) -> None:
    for fd in (spec_fd, report_fd):
        os.set_inheritable(fd, False)
    with open(spec_fd, "rb") as file:
        spec = json.loads(file.read())
    seen = Seen(env=spec["env"])
    report: dict[str, Any] = {}
    tracer = Tracer(seen)
    try:
        _run(tracer, spec, lambda: os.write(report_fd, b"\n"))
        if seen.paths.get(spec["cwd"]):
            seen.path(spec["cwd"], Need.HERE)
        report = {"status": os.waitstatus_to_exitcode(tracer.status), "seen": seen.to_json()}
    except SandboxError as error:
        report = {"error": str(error)}
    except OSError as error:
        report = {"errno": error.errno, "name": error.filename or spec["args"][0]}
    with open(report_fd, "w", encoding="ascii") as out:
        json.dump(report, out)


def _run(tracer: Tracer, spec: dict[str, Any], began: Callable[[], Any]) -> None:
    gate, opened = os.pipe()
    failed, failure = os.pipe()
    program = _filter(tracer)
    pid = os.fork()
    if not pid:
        os.close(opened)
        _execute(spec, program, gate, failure)
    os.close(failure)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's go to the program, and it decides
    signal.signal(signal.SIGQUIT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, lambda *_: tracer.kill())
    signal.signal(signal.SIGTERM, lambda *_: _end(pid))
    tracer.seize(pid, os.path.basename(spec["args"][0]))
    os.write(opened, b"\0")
    began()
    tracer.follow()
    with open(failed, "rb") as file:
        told = file.read().split(b"\0")
    if told != [b""]:
        raise OSError(int(told[0]), os.strerror(int(told[0])), os.fsdecode(told[1]))


def _end(pid: int) -> None:
    signal.alarm(GRACE)
    os.kill(pid, signal.SIGTERM)


def _filter(tracer: Tracer) -> Any:
    """Stop at the calls that tell something; the rest goes on untraced."""
    program = seccomp.SyscallFilter(seccomp.ALLOW)
    program.set_attr(seccomp.Attr.ACT_BADARCH, seccomp.ALLOW)
    for number in tracer.enters:
        program.add_rule(seccomp.TRACE(0), number)
    for row in syscalls():
        if row.name.startswith(_HIDDEN):
            program.add_rule(seccomp.ERRNO(errno.ENOSYS), row.nr)
    return program


def _execute(spec: dict[str, Any], program: Any, gate: int, failure: int) -> NoReturn:
    """In the child: wait until it is traced, then become the program. Nothing comes where the tracer gave up."""
    what = spec["cwd"]
    try:
        if os.read(gate, 1):
            for name in _RESET:
                signal.signal(getattr(signal, name), signal.SIG_DFL)
            os.chdir(what)
            what = spec["args"][0]
            program.load()
            os.execvpe(what, spec["args"], spec["env"])
    except OSError as error:
        os.write(failure, b"%d\0%s" % (error.errno or errno.EIO, os.fsencode(what)))
    finally:
        os._exit(127)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
