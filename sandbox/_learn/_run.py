"""Running the program in the helper process, and what that tells."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from typing import Any, Union

from sandbox._errors import SandboxError
from sandbox._paths import AnyPath
from sandbox._policy import clean_env

from ._learned import Learned, Run
from ._seen import Need, Seen

Arguments = Union[str, bytes, "os.PathLike[Any]", Sequence[AnyPath]]


def learn(
    cmd: Arguments,
    *,
    cwd: AnyPath | None = None,
    env: Mapping[Any, Any] | None = None,
    stdin: Any = None,
    stdout: Any = None,
    stderr: Any = None,
    stop_after: float | None = None,
    _chosen: Collection[str] | None = None,
) -> Learned:
    """Run a trusted program natively, watch it with all that it starts, and derive the smallest readable policy under
    which it does the same inside. Needs the extra `learn`: `pip install 'sandbox[learn]'`.

    The program runs with all the rights of the caller. `cwd`, `env` and the streams are those of `subprocess`; without
    `env` the program has the caller's variables, of which the policy keeps those of language and time and those whose
    value names a place that it grants. What looks like a secret is never written down. `stop_after` in seconds ends a
    program that would go on, such as a server, by SIGTERM, and 5 seconds later by SIGKILL; so is ended what the program
    leaves running when it ends. A program that fails is learned from, too: see `Learned.returncode`.

    SandboxError: python-ptrace is missing, or the program cannot be traced (it is set-user-ID or 32-bit, may not be
    read, or is traced already). A program that cannot be executed raises what subprocess raises.

    >>> learned = learn(["cat", "/etc/hostname"], stdout=subprocess.DEVNULL)
    >>> learned.returncode, learned.policy.mounts
    (0, ())
    """
    if find_spec("ptrace") is None:
        raise SandboxError("learn: python-ptrace is not installed: pip install 'sandbox[learn]'")
    listed = [cmd] if isinstance(cmd, (str, bytes, os.PathLike)) else list(cmd)
    args = [os.fsdecode(part) for part in listed]
    if not args or not args[0]:
        raise ValueError("learn: there is no command")
    here = os.path.realpath(os.fsdecode(cwd or os.curdir))
    given = clean_env(os.environ if env is None else env, "env")
    if os.path.realpath(given.get("PWD", here)) != here:  # of another directory, which a shell would look at
        del given["PWD"]
    report = _trace({"args": args, "cwd": here, "env": given}, (stdin, stdout, stderr), stop_after)
    if "error" in report:
        raise SandboxError(report["error"])
    if "errno" in report:
        raise OSError(report["errno"], os.strerror(report["errno"]), report["name"])
    seen = Seen.from_json(report["seen"])
    seen.given = set(_chosen if _chosen is not None else env or ())
    needs_here = here in seen.paths and seen.paths[here].need & Need.HERE
    return Learned.of(seen, [Run(tuple(args), here if needs_here else None, report["status"])])


def _trace(spec: dict[str, Any], streams: tuple[Any, Any, Any], stop_after: float | None) -> dict[str, Any]:
    stdin, stdout, stderr = streams
    theirs, ours = os.pipe()
    told, telling = os.pipe()
    command = [sys.executable, "-m", "sandbox._learn._helper", str(theirs), str(telling)]
    path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)
    helper = subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=stderr, pass_fds=(theirs, telling),
                              env={**os.environ, "PYTHONPATH": path})  # fmt: skip
    try:
        os.close(theirs)
        os.close(telling)
        with suppress(BrokenPipeError), open(ours, "w", encoding="ascii") as out:
            json.dump(spec, out)
        with open(told, "rb", buffering=0) as file:
            text = file.read(1)
            if stop_after is not None and text.isspace() and not select.select([file], [], [], stop_after)[0]:
                helper.terminate()
            text += file.read()
        helper.wait()
    finally:
        helper.kill()  # and the kernel what it traces
        helper.wait()
    if not text.strip():
        raise SandboxError(f"learn: the tracer ended with status {helper.returncode}")
    return dict(json.loads(text))
