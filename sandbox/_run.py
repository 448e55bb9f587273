"""run: one command in a sandbox of its own, from beginning to end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ._errors import CommandTimeout
from ._open import warn_if_bare
from ._popen import Popen
from ._result import Result
from ._streams import PIPE

UNSET = object()


def run(
    args: Any,
    *,
    input: Any = None,  # noqa: A002
    capture_output: bool = True,
    timeout: float | None = None,
    check: bool = False,
    stdin: Any = None,
    stdout: Any = UNSET,
    stderr: Any = UNSET,
    **options: Any,
) -> Result:
    """Run a command in a sandbox of its own and wait for it. As `subprocess.run`, and `options` are those of Popen:
    mounts, writable, files, policy, limits, network, audit, cwd, env, text, ...

    Output is captured unless capture_output=False, or stdout or stderr are given; stdin=None is no input. `timeout` in
    seconds: then everything is killed and CommandTimeout raised, with the output so far. check=True raises
    CommandFailed for another status than 0.

    >>> run(["cat"], input=b"hello").stdout
    b'hello'
    >>> run(["sh", "-c", "cat in.txt; exit 3"], files={"/work/in.txt": b"hi"}, text=True).returncode
    3
    """
    chosen = {"stdin": stdin, "stdout": stdout, "stderr": stderr, "capture_output": capture_output}
    return run_with(Popen, args, data=input, timeout=timeout, check=check, **chosen, **options)


def run_with(
    popen: Callable[..., Popen],
    args: Any,
    *,
    data: Any = None,
    capture_output: bool = True,
    timeout: float | None = None,
    check: bool = False,
    stdin: Any = None,
    stdout: Any = UNSET,
    stderr: Any = UNSET,
    started: Callable[[Popen], None] | None = None,
    **options: Any,
) -> Result:
    """`run` with a Popen of the caller's, which `started` is told of."""
    default = PIPE if capture_output and not options.get("pty") else None
    stdout = default if stdout is UNSET else stdout
    stderr = default if stderr is UNSET else stderr
    if data is not None:
        if stdin is not None:
            raise ValueError("stdin and input may not both be used")
        stdin = None if options.get("pty") else PIPE
    began = time.monotonic()
    with popen(args, stdin=stdin, stdout=stdout, stderr=stderr, _start_timeout=timeout, **options) as process:
        if started is not None:
            started(process)
        try:
            out, err = process.communicate(data, timeout and max(0.0, timeout - (time.monotonic() - began)))
        except CommandTimeout:
            out, err = process.abort()
            raise CommandTimeout(args, timeout or 0.0, out, err) from None
        except BaseException:
            process.abort()
            raise
    warn_if_bare(process._guest)
    result = process.result(out, err)
    if check:
        result.check_returncode()
    return result
