"""Popen: a command in a guest, in the terms of subprocess."""

from __future__ import annotations

import signal
import time
import weakref
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import IO, Any

from . import _streams, _trust
from ._audit import AuditSummary, AuditTarget
from ._audit.event import Filter
from ._coding import Coding
from ._command import make_spec, refuse_senseless
from ._communicate import Exchange, TimeIsOut, close_quietly
from ._errors import CommandTimeout
from ._events import Events, Stream
from ._guest import Guest
from ._messages import Usage
from ._network import Network
from ._open import PolicyLike, open_guest
from ._paths import AnyPath
from ._policy import Content, Limits
from ._pty import Terminal
from ._result import Result
from ._starting import start, wire_terminal

_COLLECT_SECONDS = 1.0
_STREAMS = ("stdin", "stdout", "stderr")


class Popen:
    """A running command, as `subprocess.Popen`: args, bufsize, executable, stdin, stdout, stderr, shell, cwd, env,
    text, encoding, errors, umask, start_new_session and pass_fds mean the same.

    stdin=None is no input; `cwd` is a guest path, /work by default; `env=None` is a clean environment; `pty=True` gives
    a terminal, `terminal`, with read, write and resize(rows, columns). `mounts`, `writable`, `files` (guest path
    first), `policy`, `limits`, `audit` and `network` make the sandbox that the command has for itself; it ends with the
    command. `trace=True` keeps its calls for `events`.

    >>> with Popen(["echo", "hello"], stdout=_streams.PIPE, text=True) as process:
    ...     process.stdout.read()
    'hello\\n'
    """

    def __init__(
        self,
        args: Any,
        bufsize: int = -1,
        executable: AnyPath | None = None,
        stdin: Any = None,
        stdout: Any = None,
        stderr: Any = None,
        *,
        shell: bool = False,
        cwd: AnyPath | None = None,
        env: Mapping[Any, Any] | None = None,
        universal_newlines: bool | None = None,
        text: bool | None = None,
        encoding: str | None = None,
        errors: str | None = None,
        umask: int = -1,
        start_new_session: bool = False,
        pass_fds: Iterable[int] = (),
        pipesize: int = -1,
        pty: bool = False,
        terminal_size: tuple[int, int] = (24, 80),
        mounts: Mapping[Any, AnyPath] | None = None,
        writable: Mapping[Any, AnyPath] | None = None,
        files: Mapping[Any, Content] | None = None,
        policy: PolicyLike = None,
        limits: Limits | None = None,
        audit: AuditTarget | None = None,
        network: Network | None = None,
        trace: bool = False,
        _guest: Guest | None = None,
        _policy_env: Mapping[str, str] | None = None,
        _start_timeout: float | None = None,
        **senseless: Any,
    ) -> None:
        refuse_senseless(senseless, "Popen")
        self.args = args
        self.stdin: IO[Any] | None = None
        self.stdout: IO[Any] | None = None
        self.stderr: IO[Any] | None = None
        self.terminal: Terminal | None = None
        self.returncode: int | None = None
        self.pid = 0
        self.usage = Usage()
        self.exceeded: str | None = None
        self.duration = 0.0
        self._coding = Coding(universal_newlines, text, encoding, errors)
        self._exchange: Exchange | None = None
        self._began = time.monotonic()
        if pty and stdin is not None:
            raise ValueError("pty=True gives the command its stdin")
        given = [mounts, writable, files, policy, limits, audit, network, trace]
        self._own = _guest is None
        pass_fds = list(pass_fds)
        _streams.check((stdin, stdout, stderr), pass_fds)
        if pty:
            self.terminal, wiring = wire_terminal(stdout, stderr, pass_fds, terminal_size)
        else:
            wiring = _streams.wire(stdin, stdout, stderr, pass_fds, pipesize)
        opened = None
        self._stream: Stream | None = None
        try:
            opened = None if _guest is not None else open_guest(*given)  # type: ignore[arg-type]
            spec = make_spec(
                args,
                executable=executable,
                shell=shell,
                cwd=cwd,
                env=env,
                policy_env=_trust.environment(opened.policy) if opened else _policy_env,
                umask=umask,
                start_new_session=start_new_session,
            )
            self._guest: Guest = _guest or opened.guest  # type: ignore[union-attr]
            self._finalizer = weakref.finalize(self, self._guest.end) if self._own else None
            self._before = AuditSummary({}) if self._own else self._guest.summary()
            self._stream = self._guest.listen(taken=False) if trace else None
            has_terminal = self.terminal is not None
            self._command = start(self._guest, spec, wiring, _start_timeout, terminal=has_terminal, own=self._own)
            self.pid = self._command.pid
            if self._stream is not None:
                self._stream.command = self._command
        except BaseException:
            wiring.close_all()
            if self._stream is not None:
                self._stream.leave()
            if self.terminal is not None:
                self.terminal.close()
            if opened:
                opened.guest.kill()
                opened.guest.wait_ended()
            raise
        self._open_streams(wiring.ours, bufsize)

    def _open_streams(self, ours: dict[int, int], bufsize: int) -> None:
        for number, fd in ours.items():
            setattr(self, _STREAMS[number], self._coding.open(fd, bufsize, written=number == 0))
        ours.clear()
        self._guest.hold_streams([self.stdin, self.stdout, self.stderr, self.terminal])

    # ---- while it runs --------------------------------------------------------------------------------------------

    def poll(self) -> int | None:
        """The return code, or None while the command runs."""
        if self.returncode is None and self._guest.wait(self._command, 0):
            self._take()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until the command has ended: its return code. CommandTimeout after `timeout` seconds; it runs on."""
        if self.returncode is None:
            if not self._guest.wait(self._command, timeout):
                raise CommandTimeout(self.args, timeout or 0.0)
            self._take()
        if self._own and self.stdout is None and self.stderr is None and self.terminal is None:
            self._end_own()
        self._raise_fault()
        assert self.returncode is not None
        return self.returncode

    def communicate(self, input: Any = None, timeout: float | None = None) -> tuple[Any, Any]:  # noqa: A002
        """Send `input`, read until the end, wait: (stdout, stderr). May be called again after a CommandTimeout."""
        deadline = None if timeout is None else time.monotonic() + timeout
        exchange = self._begin_exchange(input)
        try:
            exchange.run(deadline)
            remaining = None if deadline is None else max(0.0, deadline - time.monotonic())
            if self.returncode is None and not self._guest.wait(self._command, remaining):
                raise TimeIsOut
        except TimeIsOut:
            raise CommandTimeout(
                self.args, timeout or 0.0, exchange.output("stdout"), exchange.output("stderr")
            ) from None
        self._take()
        self._close_streams()
        self._end_own()
        self._raise_fault()
        decoded = self._coding.decoded
        return decoded(exchange.output("stdout")), decoded(exchange.output("stderr"))

    def wait_exit(self) -> None:
        """Wait until the command has ended, and leave everything else as it is. For a thread that only watches."""
        self._guest.wait(self._command)

    def send_signal(self, sig: int, *, group: bool = False) -> None:
        """Send a signal to the command, or to its process group, unless it has ended."""
        if self.poll() is None:
            self._guest.signal(self._command, int(sig), group=group)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def resize(self, rows: int, columns: int) -> None:
        """Change the size of the terminal of a command with pty=True."""
        if self.terminal is None:
            raise ValueError("the command has no terminal")
        self.terminal.resize(rows, columns)

    @property
    def walls(self) -> tuple[str, ...]:
        """The walls that stand around the guest."""
        return self._guest.walls

    @property
    def audit(self) -> AuditSummary:
        """Served calls of the guest since the command began."""
        return self._guest.summary().since(self._before)

    def events(
        self, *, call: str | None = None, path: str | None = None, verdict: str | None = None, pid: int | None = None
    ) -> Events:
        """The command's served calls as they come, an Event each; ends when the command has ended and all have come.
        None is any `call`, `verdict` and `pid`; `path` is a part of a path.

        Needs `trace=True`, and then the first `events` has all from the command's beginning on, but for those beyond
        the first MiB of records that come before it: `lost` counts them. With `audit=` alone, and at a second time, it
        has those from now on. In a Sandbox the calls of other commands of that time are among them. What runs natively
        is not served, so not there: see `python -m sandbox surface`. ValueError: the guest keeps no records.

        >>> with Popen(["cat", "/etc/hostname"], stdout=_streams.DEVNULL, trace=True) as process:
        ...     [event.verdict for event in process.events(path="/etc/hostname", call="openat")]
        ['done']
        """
        stream, self._stream = self._stream, None
        if stream is None:
            stream = self._guest.listen(taken=True)
            stream.command = self._command
        return Events(stream, Filter(pid, call, path, verdict), self._guest.raise_failure, self)

    def result(self, stdout: Any = None, stderr: Any = None) -> Result:
        """What `run` returns, once the command has ended."""
        returncode = self.wait()
        return Result(
            args=self.args,
            returncode=returncode,
            stdout=stdout,
            stderr=stderr,
            duration=self.duration,
            usage=replace(self.usage, network=self._guest.network_usage()),
            audit=self.audit,
            walls=self.walls,
            exceeded=self.exceeded,
        )

    def abort(self) -> tuple[bytes | None, bytes | None]:
        """Kill everything that the command started, wait for it: the output so far. In a Sandbox with other commands
        that is the command's process group, and everything where that does not end it."""
        if self._own:
            self._guest.kill()
            self._guest.wait_ended()
        else:
            self._guest.signal(self._command, signal.SIGKILL, group=True)
            if not self._guest.wait(self._command, 2 * _COLLECT_SECONDS):
                self._guest.kill()
                self._guest.wait_ended()
        exchange = self._exchange
        if exchange is None:
            return None, None
        with suppress(TimeIsOut, ValueError):
            exchange.run(time.monotonic() + _COLLECT_SECONDS)
        return exchange.output("stdout"), exchange.output("stderr")

    # ---- the end --------------------------------------------------------------------------------------------------

    def __enter__(self) -> Popen:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None and issubclass(kind, KeyboardInterrupt):  # type: ignore[arg-type]
            self.abort()
        self._close_streams()
        if self.returncode is None:
            self._guest.wait(self._command)
            self._take()
        self._end_own()
        if kind is None:
            self._raise_fault()

    def __repr__(self) -> str:
        return f"<Popen: returncode: {self.returncode} args: {self.args!r}>"

    def _begin_exchange(self, data: Any) -> Exchange:
        if self._exchange is None:
            if self.stdin is not None:
                _flush(self.stdin)
            outputs = {"stdout": self.stdout or self.terminal, "stderr": self.stderr}
            self._exchange = Exchange(
                self.stdin or self.terminal,
                outputs,
                self._guest.parts.output_bytes,
                lambda: self._guest.exceed("output_bytes"),
                self._guest.has_output,
            )
        if data is not None and self.stdin is None and self.terminal is None:
            raise ValueError("input needs stdin=PIPE")
        self._exchange.feed(self._coding.encoded(data))
        return self._exchange

    def _take(self) -> None:
        if self.returncode is None:
            self.duration = time.monotonic() - self._began
            self.returncode = self._command.returncode
            self.usage = self._command.usage
            self.exceeded = self._command.exceeded

    def _raise_fault(self) -> None:
        if self._guest.failure is not None and (self._own or self._command.lost):
            self._guest.raise_failure()

    def _close_streams(self) -> None:
        for stream in (self.stdin, self.stdout, self.stderr):
            close_quietly(stream)
        if self.terminal is not None:
            self.terminal.close()

    def _end_own(self) -> None:
        if self._own:
            self._guest.end()
            self._guest.wait_ended()


def _flush(stream: IO[Any]) -> None:
    with suppress(BrokenPipeError):
        stream.flush()
