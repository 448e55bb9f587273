"""One guest as the Supervisor holds it: its sentry, its commands, what it asks and what it is told."""

from __future__ import annotations

import os
import signal
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import Any

from . import _core, _ending, _inbox
from ._audit import AuditSummary
from ._core import Message, MessageType
from ._errors import GuestFault, SandboxError, WallMissing
from ._events import Stream
from ._fetches import Fetches, grants
from ._loop import WRITABLE, Loop, Timer
from ._memfd import sealed
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
from ._outbox import Outbox
from ._parts import Command, Parts
from ._records import Records
from ._serving import Serving
from ._workers import Workers
from .services._names_of_sockets import shown
from .services._options import without_network

GRACE = 2.0  # seconds that a sentry has to end by itself
START = 60.0  # seconds that it has to begin a command
_SETUP = 30.0  # seconds that it has until its guest can begin
_AGAIN = 0.02  # seconds until a message with descriptors that the kernel refuses is tried again
_LOOK = 0.1  # seconds between two looks at a guest's cgroup
_ADDRESSED = ("bind", "connect", "send")
_KILLED = -int(signal.SIGKILL)


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
        self.failure: Exception | None = None
        self.exceeded: str | None = None
        self.usage = Usage()
        self.ended = False
        self.served_bytes = self.output_bytes = 0
        self._loop, self._workers, self._gone = loop, workers, on_gone
        self._changed = threading.Condition()
        self._commands: dict[int, Command] = {}
        self._failed: set[int] = set()
        self._fetches = Fetches(self._changed)
        self._last = 0
        self._held: list[list[Message]] | None = []  # commands that wait for READY
        self._ending = False
        self._foreign = False
        self._had_memory = True
        self._timers: list[Timer] = []
        self._looking: Timer | None = None
        self._streams: list[weakref.ref[Any]] = []
        self._records = Records(parts.trail, parts.sink, workers, self._on_records_failed)
        makers = (parts.files, parts.file_count, parts.proc)
        self._serving = Serving(*makers, workers, self._answer, self._on_service_failed)
        self._outbox = Outbox(parts.socket, lambda on: loop.also_writable(parts.socket.fileno(), on), self._flush_later)

    def begin(self, setup: Sequence[Message]) -> None:
        """Watch the sentry and send it its plan."""
        self._loop.watch(self.parts.socket.fileno(), self._on_socket)
        self._loop.watch(self.parts.pidfd, self._on_pidfd)
        if self.parts.wall_seconds is not None:
            self._timers.append(self._loop.call_at(time.monotonic() + self.parts.wall_seconds, self._on_wall_time))
        self._timers.append(self._loop.call_at(time.monotonic() + _SETUP, self._on_setup_time))
        if self.parts.watch_memory:
            self._look_at_memory()
        self._post(setup)

    # ---- what callers do ------------------------------------------------------------------------------------------

    def run(self, command: int, fds: Sequence[int]) -> Command:
        """Start a command: a memfd with struct sbx_command, and its descriptors, which stay the caller's."""
        with self._changed:
            self._check()
            self._last += 1
            made = self._commands[self._last] = Command(self._last)
            every = [command, *fds]
            most = _core.MESSAGE_FDS
            kinds = [MessageType.RUN] + [MessageType.FDS] * (len(every) // most)
            parts = [every[at : at + most] for at in range(0, len(every), most)]
            messages = [Message(kind, made.number, fds=part) for kind, part in zip(kinds, parts)]
            if self._held is not None:
                self._held.append([message._replace(fds=[os.dup(fd) for fd in message.fds]) for message in messages])
                return made
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

    def end(self) -> None:
        """Begin to end the guest. Its commands, if any run, are killed."""
        with self._changed:
            if self._ending or self._foreign:
                return
            self._ending = True
            self._timers.append(self._loop.call_at(time.monotonic() + GRACE, self.kill))
        try:
            self._outbox.post([Message(MessageType.END)])
        except OSError:
            self.kill()

    def kill(self) -> None:
        """End the sentry now, and so the guest."""
        with self._changed:
            if self.ended or self._foreign:
                return
            self._ending = True
            self._kill_sentry()

    def _kill_sentry(self) -> None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.parts.pidfd, signal.SIGKILL)

    def exceed(self, limit: str) -> None:
        """End the guest because of a limit that is kept on this side."""
        with self._changed:
            if not self._ending:
                self.exceeded = self.exceeded or limit
        self.kill()

    def fail(self, error: Exception) -> None:
        """End the guest because of an error, which its callers get."""
        with self._changed:
            if self.failure is None and not self._ending:
                self.failure = error
        self.kill()

    def hold_streams(self, streams: Iterable[Any]) -> None:
        """Our ends of a command's pipes: a forked child must not keep them open."""
        self._streams = [ref for ref in self._streams if ref() is not None]
        self._streams += [weakref.ref(stream) for stream in streams if stream is not None]

    def forget_after_fork(self) -> None:
        """In a forked child: hold nothing of the parent's guest, and leave it alone. Objects that own a descriptor keep
        one, of nothing."""
        self._changed = threading.Condition()
        self._foreign = True
        streams = [stream for ref in self._streams if (stream := ref()) is not None and not stream.closed]
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        for stream in streams:
            os.dup2(null, stream.fileno(), inheritable=False)
        os.close(null)
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
        if self.exceeded and (self.ended or self._ending):
            raise SandboxError(f"the guest has ended: limit {self.exceeded} exceeded")
        if self.ended or self._ending:
            raise SandboxError("the guest has ended")

    def _post(self, messages: Sequence[Message]) -> None:
        try:
            self._outbox.post(messages)
        except ConnectionError:
            pass  # it is gone; what it said last, and how it ended, comes by its socket and its pidfd
        except OSError as error:
            if not self._ending:
                self.fail(GuestFault(f"sentry does not take messages: {error.strerror}"))

    # ---- what the sentry says -------------------------------------------------------------------------------------

    def _on_socket(self, events: int) -> None:
        if events & WRITABLE:
            self._flush()
        if events & ~WRITABLE:
            self._receive()

    def _flush(self) -> None:
        with suppress(OSError):
            self._outbox.flush()

    def _flush_later(self) -> None:
        self._loop.call_at(time.monotonic() + _AGAIN, self._flush)

    def _receive(self) -> bool:
        """Take one message: others' sentries have their turn. False at the end of the stream."""
        try:
            message = _core.receive(self.parts.socket)
            if message is not None:
                self._on_event(_inbox.parse(message))
                return True
        except BlockingIOError:
            return False
        except _core.Malformed as error:
            self.fail(GuestFault(f"sentry closed: it sent what no sentry sends: {error}"))
        except OSError:
            pass
        except Exception as error:  # ours: a guest does not go on with it
            self.fail(GuestFault(f"sentry closed: {type(error).__name__}: {error}"))
        self._loop.forget(self.parts.socket.fileno())
        self._kill_sentry()
        return False

    def _on_event(self, event: Event) -> None:
        handler = self._HANDLERS[type(event)]
        with self._changed:
            if self.ready is None and not isinstance(event, (Ready, Fault, Drain)):
                _drop(event)
                raise _core.Malformed(f"{type(event).__name__} before READY")
            handler(self, event)
            self._changed.notify_all()

    def _command(self, number: int, what: str) -> Command:
        command = self._commands.get(number)
        if command is None or command.ended:
            raise _core.Malformed(f"{what} of command {number}, which does not run")
        return command

    def _on_ready(self, event: Ready) -> None:
        if self.ready is not None:
            raise _core.Malformed("READY twice")
        own = (*self.parts.spawned_walls, *(("cgroup",) if self.parts.cgroup else ()))
        self.walls = tuple(dict.fromkeys((*event.walls, *own)))
        self.ready = event
        for wall in self.parts.require:
            if wall not in self.walls:
                number = event.missing.get(wall, 0)
                reason = os.strerror(number) if number else "cannot be had here"
                return self.fail(WallMissing(wall, reason))
        lacking = [wall for wall in self.parts.assumed if wall not in self.walls]
        if lacking:
            return self.fail(GuestFault(f"walls that the filter relies on do not stand: {', '.join(lacking)}"))
        held, self._held = self._held or [], None
        for messages in held:
            self._post(messages)
            _close_all(messages)

    def _on_fault(self, event: Fault) -> None:
        if self.failure is None and not self._ending:
            self.failure = GuestFault(f"sentry: {event.text}")
        self.kill()

    def _on_started(self, event: Started) -> None:
        if event.pidfd is not None:
            os.close(event.pidfd)
        command = self._command(event.command, "STARTED")
        if command.started:
            raise _core.Malformed("STARTED twice")
        command.started, command.pid = True, event.pid

    def _on_failed(self, event: Failed) -> None:
        command = self._command(event.command, "FAILED")
        command.error, command.at_cwd, command.returncode = event.error, event.at_cwd, 127
        command.ended = True
        del self._commands[event.command]
        self._failed.add(event.command)  # EXITED may come for the process that could not

    def _on_exited(self, event: Exited) -> None:
        if event.command in self._failed:
            return self._failed.discard(event.command)
        command = self._command(event.command, "EXITED")
        del self._commands[event.command]
        command.returncode, command.usage, command.exceeded = event.returncode, event.usage, event.exceeded
        if command.exceeded is None and event.returncode == _KILLED and self._ran_out():
            command.exceeded = "memory"
        self.exceeded = self.exceeded or command.exceeded
        command.ended = True

    def _ran_out(self) -> bool:
        return self.parts.cgroup is not None and self.parts.cgroup.ran_out()

    def _on_drain(self, _: Drain) -> None:
        self._records.ask_drain()

    def _on_fetched(self, event: Fetched) -> None:
        self._fetches.take(event)

    # ---- services -------------------------------------------------------------------------------------------------

    def _on_serve(self, event: ServeFile | ServeProc) -> None:
        self._serving.take(event)

    def _on_net(self, event: NetAsk) -> None:
        try:
            answer = without_network(event) if self.parts.net is None else self.parts.net.handle(event)
        finally:
            _drop(event)
        if answer is None:
            raise _core.Malformed("a request to the network, which this guest has not")
        self._records.served(event.request, _served(event, answer.rule))
        fds = [] if answer.fd is None else [answer.fd]
        try:
            self._post([Message(MessageType.REPLY, event.request, answer.value, text=answer.address, fds=fds)])
        finally:
            for fd in fds:
                os.close(fd)

    def judged(self, judged: Judged) -> None:
        """Its proxy or its resolver has decided."""
        if self.parts.net is not None:
            self.parts.net.judged(judged)
        self._records.decided(judged)

    def is_behind(self) -> bool:
        return self._records.full()

    def _answer(self, request: int, name: bytes, content: bytes, error: int) -> None:
        self._records.served(request, name)
        if error:
            return self._post([Message(MessageType.REPLY, request, -error)])
        with self._changed:
            self.served_bytes += len(content)
        fd = sealed(content, "sandbox-file")
        try:
            self._post([Message(MessageType.REPLY, request, 0, fds=[fd])])
        finally:
            os.close(fd)

    def _on_service_failed(self, error: Exception) -> None:
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

    def _on_setup_time(self) -> None:
        if self.ready is None:
            self.fail(GuestFault(f"sentry closed: it has not set up its guest in {_SETUP:g} seconds"))

    def _on_wall_time(self) -> None:
        self.exceed("wall_seconds")

    def _look_at_memory(self) -> None:
        """The kernel ends one process for want of memory; the limit is the guest's, so the guest ends."""
        with self._changed:
            if self._ending:
                return
            if not self._ran_out():
                self._looking = self._loop.call_at(time.monotonic() + _LOOK, self._look_at_memory)
                return
            self.exceeded = self.exceeded or "memory"
        self.kill()

    def _on_pidfd(self, _: int) -> None:
        if not _ending.has_ended(self.parts):
            return
        self._loop.forget(self.parts.pidfd)
        while self._receive():
            pass
        self._loop.forget(self.parts.socket.fileno())
        status, self.usage = _ending.reap(self.parts)
        with self._changed:
            self._had_memory = not self._ran_out()
            if self.failure is None and not self._ending and self.exceeded is None and self._had_memory:
                self.failure = GuestFault(f"the sentry has ended by itself: {status}")
            self._ending = True
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
            steps.callback(self._serving.drop)
            self.usage = Usage(self.usage.user, self.usage.system, _ending.clear(self.parts))

    def _part(self) -> None:
        with self._changed, ExitStack() as steps:
            steps.callback(self._settle)
            steps.callback(self._gone, self)
            steps.callback(os.close, self.parts.pidfd)
            steps.callback(self.parts.socket.close)
            steps.callback(self._outbox.drop)

    def _settle(self) -> None:
        for timer in (*self._timers, self._looking):
            if timer is not None:
                timer.cancel()
        if not self._had_memory:
            self.exceeded = self.exceeded or "memory"
        for messages in self._held or ():
            _close_all(messages)
        self._held = None
        for command in self._commands.values():
            if not command.ended:
                command.returncode, command.exceeded, command.usage = _KILLED, self.exceeded, self.usage
                command.lost = command.ended = True
        self._fetches.settle()
        self.ended = True
        self._changed.notify_all()

    _HANDLERS: dict[type, Callable[..., None]] = {
        Ready: _on_ready,
        Fault: _on_fault,
        Started: _on_started,
        Exited: _on_exited,
        Failed: _on_failed,
        ServeFile: _on_serve,
        ServeProc: _on_serve,
        NetAsk: _on_net,
        Fetched: _on_fetched,
        Drain: _on_drain,
    }


def _served(asked: NetAsk, rule: str) -> bytes:
    """What a record of a request to the network says: the call, the address that was judged, the rule."""
    address = shown(asked.address) if asked.kind in _ADDRESSED else ""
    return f"net/{asked.kind} {address}".rstrip().encode() + b"\0" + rule.encode()


def _drop(event: Event) -> None:
    """Close the descriptor of an event that nobody takes."""
    for name in ("pidfd", "source", "fd"):
        fd = getattr(event, name, None)
        if fd is not None:
            os.close(fd)


def _close_all(messages: Sequence[Message]) -> None:
    for message in messages:
        for fd in message.fds:
            os.close(fd)
