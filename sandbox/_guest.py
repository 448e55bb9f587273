"""One guest as the Supervisor holds it: its sentry, its commands, what it asks and what it is told."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import Any

from . import _core, _ending
from ._answers import Answers
from ._audit import AuditSummary
from ._commands import Commands
from ._core import Message, MessageType
from ._errors import GuestFault, SandboxError
from ._events import Stream
from ._fetches import Fetches, grants
from ._link import Link
from ._loop import Loop
from ._messages import (
    Drain,
    Event,
    Exited,
    Failed,
    Fault,
    Fetched,
    Judged,
    NetAsk,
    NetworkUsage,
    Ready,
    ServeFile,
    ServeProc,
    Started,
    Usage,
)
from ._moved import Moved
from ._parts import Command, Parts
from ._pipes import Pipes
from ._records import Records
from ._standing import lack, standing
from ._watch import Watch
from ._workers import Workers

START = 60.0  # seconds that it has to begin a command


class Guest:
    """Methods may be called from any thread; `_on_*` are called in the Supervisor's."""

    def __init__(
        self,
        parts: Parts,
        loop: Loop,
        workers: Workers,
        on_gone: Callable[[Guest], None],
        about: Mapping[str, object] | None = None,
    ) -> None:
        """`about` is what a reader of its records has to know; None where it keeps none."""
        self.parts = parts
        self._about = about
        self.ready: Ready | None = None
        self.walls: tuple[str, ...] = ()
        self.failure: BaseException | None = None
        self.exceeded: str | None = None
        self.usage = Usage()
        self.ended = False
        self.served_bytes = self.output_bytes = 0
        self._moved = Moved()
        self._loop, self._workers, self._gone = loop, workers, on_gone
        self._changed = threading.Condition()
        self._commands = Commands()
        self._fetches = Fetches(self._changed)
        self._last = 0
        self.ending = False
        self._foreign = False
        self._had_memory = True
        self._watch = Watch(parts, loop, self)
        self._pipes = Pipes()
        self._records = Records(parts.trail, parts.sink, workers, self._on_records_failed)
        count, failed = self._has_served, self._on_service_failed
        self._answers = Answers(parts, workers, self._records, self._post, count, failed)
        self._link = Link(parts.socket, loop, self._on_event, self.fail, self._kill_sentry)
        self._handlers: dict[type, Callable[[Any], None]] = {
            Ready: self._on_ready,
            Fault: self._on_fault,
            Started: self._commands.started,
            Exited: self._on_exited,
            Failed: self._commands.failed,
            ServeFile: self._answers.serve,
            ServeProc: self._answers.serve,
            NetAsk: self._answers.net,
            Fetched: self._fetches.take,
            Drain: self._on_drain,
        }

    def begin(self, setup: Sequence[Message]) -> None:
        """Watch the sentry and send it its plan."""
        self._link.begin()
        self._loop.watch(self.parts.pidfd, self._on_pidfd)
        self._watch.begin()
        self._post(setup)

    # ---- what callers do ------------------------------------------------------------------------------------------

    def run(self, command: int, fds: Sequence[int]) -> Command:
        """Start a command: a memfd with struct sbx_command, and its descriptors, which stay the caller's. It may be on
        its way before the guest is ready: a sentry begins none behind fewer walls than it must have."""
        with self._changed:
            self._check()
            self._last += 1
            made, messages = self._commands.order(self._last, [command, *fds])
        self._post(messages)
        return made

    def wait(self, command: Command, timeout: float | None = None) -> bool:
        """Has the command ended, within `timeout` seconds?"""
        with self._changed:
            return self._changed.wait_for(lambda: command.ended, timeout)

    def wait_started(self, command: Command, timeout: float) -> bool:
        """Has the command begun, or failed to, in `timeout` seconds? A sentry that needs more than START is closed."""
        with self._changed:
            if self._changed.wait_for(lambda: command.started or command.ended, min(timeout, START)):
                return True
        if timeout > START:
            self.fail(GuestFault(f"sentry closed: it has not begun a command in {START:g} seconds"))
            self.wait_ended()
        return False

    def wait_ready(self) -> None:
        """Until the walls stand; raises what kept the guest from it."""
        with self._changed:
            self._changed.wait_for(lambda: self.ready is not None or self.ended)
            self._check()

    def wait_ended(self, timeout: float | None = None) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self.ended, timeout)

    def signal(self, command: Command, number: int, *, group: bool) -> None:
        """To a running command, or to its process group, which may outlive it."""
        if command.started and (group or not command.ended):
            self._post([Message(MessageType.SIGNAL, command.number, number, command.pid if group else 0)])

    def fetch(self, how: _core.Fetch, path: bytes) -> int:
        """A descriptor of the guest's file, as the guest would resolve its path. It is never one that was opened for
        the path only, and is not trusted to be of any type."""
        with self._changed:
            self._check()
            self._last += 1
            fetch = self._fetches.ask(self._last)
            message = Message(MessageType.FETCH, self._last, int(how), text=path)
        self._post([message])
        fd = self._fetches.wait(fetch)
        if fd is None:
            self._check()
            raise OSError(fetch.error, os.strerror(fetch.error), os.fsdecode(path))
        if not grants(fd):
            os.close(fd)
            self.fail(GuestFault("sentry closed: it sent a descriptor that grants nothing"))
            self._check()
        return fd

    def network_usage(self) -> NetworkUsage | None:
        return None if self.parts.net is None else self.parts.net.usage

    def moved(self) -> Moved:
        """Over the network, as far as it is known."""
        self._moved = self._moved.now(self.network_usage())
        return self._moved

    def summary(self) -> AuditSummary:
        if self._foreign:
            self._check()
        return self._records.summary()

    def listen(self, *, taken: bool) -> Stream:
        """Its records from now on."""
        if self._about is None:
            raise ValueError("events: this guest keeps no records; trace=True or audit= lets it")
        if self._foreign:
            self._check()
        return self._records.listen(self.parts.tag, self._about, taken=taken)

    def has_output(self, size: int) -> None:
        """Bytes of a command's output that its caller keeps."""
        with self._changed:
            self.output_bytes += size

    def _has_served(self, size: int) -> None:
        with self._changed:
            self.served_bytes += size

    def end(self) -> None:
        """Begin to end the guest. Its commands, if any run, are killed."""
        with self._changed:
            if self.ending or self._foreign:
                return
            self.ending = True
            self._watch.end()
        try:
            self._link.post([Message(MessageType.END)])
        except OSError:
            self.kill()

    def kill(self) -> None:
        """End the sentry now, and so the guest."""
        with self._changed:
            if self.ended or self._foreign:
                return
            self.ending = True
            self._kill_sentry()

    def _kill_sentry(self) -> None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.parts.pidfd, signal.SIGKILL)

    def exceed(self, limit: str) -> None:
        """End the guest because of a limit that is kept on this side."""
        with self._changed:
            if not self.ending:
                self.exceeded = self.exceeded or limit
        self.kill()

    def fail(self, error: Exception) -> None:
        """End the guest because of an error, which its callers get."""
        with self._changed:
            if self.failure is None and not self.ending:
                self.failure = error
        self.kill()

    def hold_streams(self, streams: Iterable[Any]) -> None:
        """Our ends of a command's pipes: a forked child must not keep them open."""
        self._pipes.hold(streams)

    def forget_after_fork(self) -> None:
        """In a forked child: hold nothing of the parent's guest, and leave it alone. Objects that own a descriptor keep
        one, of nothing."""
        self._changed = threading.Condition()
        self._foreign = True
        self._pipes.forget_after_fork()
        self.parts.socket.close()
        os.close(self.parts.pidfd)
        if self.parts.net is not None:
            self.parts.net.close(forked=True)
        self._records.forget_after_fork()

    def raise_failure(self) -> None:
        if isinstance(self.failure, (SandboxError, OSError)):
            raise self.failure
        if self.failure is not None:
            raise GuestFault(f"{type(self.failure).__name__}: {self.failure}") from self.failure

    def _check(self) -> None:
        if self._foreign:
            raise SandboxError("this guest belongs to the process that made it, not to its forked child")
        self.raise_failure()
        if self.exceeded and (self.ended or self.ending):
            raise SandboxError(f"the guest has ended: limit {self.exceeded} exceeded")
        if self.ended or self.ending:
            raise SandboxError("the guest has ended")

    def _post(self, messages: Sequence[Message]) -> None:
        try:
            self._link.post(messages)
        except ConnectionError:
            pass  # it is gone; what it said last, and how it ended, comes by its socket and its pidfd
        except OSError as error:
            if not self.ending:
                self.fail(GuestFault(f"sentry does not take messages: {error.strerror}"))

    # ---- what the sentry says -------------------------------------------------------------------------------------

    def _on_event(self, event: Event) -> None:
        with self._changed:
            if self.ready is None and not isinstance(event, (Ready, Fault, Drain)):
                _drop(event)
                raise _core.Malformed(f"{type(event).__name__} before READY")
            self._handlers[type(event)](event)
            self._changed.notify_all()

    def _on_ready(self, event: Ready) -> None:
        if self.ready is not None:
            raise _core.Malformed("READY twice")
        self.walls, self.ready = standing(self.parts, event), event
        wanting = lack(self.parts, self.walls, event)
        if wanting is not None:
            self.fail(wanting)

    def _on_fault(self, event: Fault) -> None:
        if self.failure is None and not self.ending:
            self.failure = GuestFault(f"sentry: {event.text}")
        self.kill()

    def _on_exited(self, event: Exited) -> None:
        limit = self._commands.exited(event, self._watch.ran_out)
        self.exceeded = self.exceeded or limit

    def _on_drain(self, _: Drain) -> None:
        self._records.ask_drain()

    def judged(self, judged: Judged) -> None:
        """Its proxy or its resolver has decided."""
        if self.parts.net is not None:
            self.parts.net.judged(judged)
        self._records.decided(judged)

    def is_behind(self) -> bool:
        return self._records.full()

    def _on_service_failed(self, error: BaseException) -> None:
        """The guest has its EIO and is stopped; the caller gets the exception."""
        with self._changed:
            self.failure = self.failure or error
        self.end()

    def _on_records_failed(self, error: Exception) -> None:
        """Also where the guest is ending: its caller must know."""
        with self._changed:
            self.failure = self.failure or error
        self.kill()

    # ---- the end --------------------------------------------------------------------------------------------------

    def _on_pidfd(self, _: int) -> None:
        if not _ending.has_ended(self.parts):
            return
        self._loop.forget(self.parts.pidfd)
        self._link.finish()
        status, self.usage = _ending.reap(self.parts)
        with self._changed:
            self._had_memory = not self._watch.ran_out()
            if self.failure is None and not self.ending and self.exceeded is None and self._had_memory:
                self.failure = GuestFault(f"the sentry has ended by itself: {status}")
            self.ending = True
        if _ending.takes_time(self.parts, self.walls):
            self._workers.submit(self._clean_up)
        else:
            self._clean_up()

    def _clean_up(self) -> None:
        """Every step, whatever fails of another: callers wait for the last."""
        with ExitStack() as steps:
            steps.callback(self._part)
            steps.callback(self._records.close)
            if self.parts.net is not None:
                steps.callback(self.parts.net.close)
            steps.callback(self._answers.drop)
            self.usage = Usage(self.usage.user, self.usage.system, _ending.clear(self.parts))

    def _part(self) -> None:
        with self._changed, ExitStack() as steps:
            steps.callback(self._settle)
            steps.callback(self._gone, self)
            steps.callback(os.close, self.parts.pidfd)
            steps.callback(self.parts.socket.close)
            steps.callback(self._link.drop)

    def _settle(self) -> None:
        self._watch.cancel()
        if not self._had_memory:
            self.exceeded = self.exceeded or "memory"
        self._commands.lose(self.exceeded, self.usage)
        self._fetches.settle()
        self.ended = True
        self._changed.notify_all()


def _drop(event: Event) -> None:
    """Close the descriptor of an event that nobody takes."""
    for name in ("pidfd", "source", "fd"):
        fd = getattr(event, name, None)
        if fd is not None:
            os.close(fd)
