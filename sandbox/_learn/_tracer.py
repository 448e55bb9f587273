"""Following a program and all that it starts, by ptrace.

python-ptrace's binding makes the calls. Its event loop is not used: with more than one process it polls each in turn
and sleeps between, it raises at a group stop, it counts a process of clone() as a thread, and it stops at every system
call twice. Here the program wears a seccomp filter that stops it at the calls that tell something, so that it reads,
writes and computes at its own speed; PTRACE_SEIZE keeps stop signals what they are.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from ctypes import addressof, create_string_buffer
from typing import Any

from ptrace import PtraceError
from ptrace.binding.func import PTRACE_CONT, PTRACE_SYSCALL, ptrace, ptrace_geteventmsg, ptrace_getregs

from sandbox._errors import SandboxError
from sandbox._paths import printable

from ._files import Files
from ._peaks import Peaks
from ._refusals import hindrance, unseen, why_untraced
from ._seen import Seen
from ._sockets import Sockets
from ._task import Enter, Task

_SEIZE, _INTERRUPT, _LISTEN, _SYSCALL_INFO = 0x4206, 0x4207, 0x4208, 0x420E
_INFO_SIZE, _IS_ENTRY = 88, 1  # struct ptrace_syscall_info, whose first byte says which stop it is
_FORK, _VFORK, _CLONE, _EXEC, _EXIT, _SECCOMP, _STOP = 1, 2, 3, 4, 6, 7, 128  # events
_EXIT_KILL = 1 << 20
_OPTIONS = 1 | sum(1 << event for event in (_FORK, _VFORK, _CLONE, _EXEC, _EXIT, _SECCOMP)) | _EXIT_KILL
_WALL = 0x40000000
_SYSCALL_STOP = signal.SIGTRAP | 0x80
_GROUP_STOPS = (signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)
_SIGN = 1 << 63
GRACE = 5
"""Seconds from SIGTERM to SIGKILL."""


class Tracer:
    """Of one program. `pid` is its first process, `status` how that ended, as wait says it."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen
        self._files = Files(seen)
        self._peaks = Peaks(seen)
        sockets = Sockets(seen, self._files)
        self._plain = sockets.plain
        self.enters: dict[int, Enter] = {**dict(self._files.calls()), **dict(sockets.calls())}
        self._tasks: dict[int, Task] = {}
        self._started = False
        self.pid = 0
        self.status = 0

    def seize(self, pid: int, name: str) -> None:
        """Begin with a process that has not yet executed its program."""
        try:
            ptrace(_SEIZE, pid, 0, _OPTIONS)
        except PtraceError as error:
            reason = why_untraced(pid, os.strerror(error.errno or 0))
            raise SandboxError(f"learn: the program cannot be traced: {reason}") from None
        self.pid = pid
        self._add(Task(pid, pid, name))

    def follow(self) -> None:
        """Until nothing of it is left. What the first process leaves behind when it ends is ended, too."""
        while self._tasks:
            try:
                tid, status, usage = os.wait4(-1, _WALL)
            except ChildProcessError:
                break
            if os.WIFSTOPPED(status):
                with suppress(PtraceError):  # killed meanwhile: its end is told by another wait
                    self._stopped(self._task(tid), status)
            else:
                self._ended(tid, status, usage)
        self._peaks.finish()

    def kill(self, number: int = signal.SIGKILL) -> None:
        for process in {task.process for task in self._tasks.values()}:
            with suppress(ProcessLookupError):
                os.kill(process, number)

    # ---- stops ----------------------------------------------------------------------------------------------------

    def _task(self, tid: int) -> Task:
        """One that was not told of yet is a new one, and has executed nothing."""
        if tid not in self._tasks:
            process, parent = _kin(tid)
            origin = self._tasks.get(process) or self._tasks.get(parent)
            self._add(Task(tid, process, origin.program if origin else ""))
        return self._tasks[tid]

    def _add(self, task: Task) -> None:
        self._tasks[task.tid] = task
        self._peaks.began(task.tid, task.process)

    def _remove(self, tid: int) -> Task | None:
        task = self._tasks.pop(tid, None)
        if task is not None:
            self._peaks.gone(tid)
        return task

    def _stopped(self, task: Task, status: int) -> None:
        number, event = os.WSTOPSIG(status), status >> 16
        request, deliver = self._onward(task), 0
        if event == _SECCOMP:
            request = PTRACE_SYSCALL if self._entered(task) else self._onward(task)
        elif event == _EXEC:
            self._executed(task)
        elif event == _EXIT:
            self._peaks.leaving(task.process)
        elif event == _STOP:
            request = _LISTEN if number in _GROUP_STOPS else request
        elif event:
            self._born(task)
        elif number == _SYSCALL_STOP:
            self._at_call(task)
            request = self._onward(task)
        else:
            deliver = number
        ptrace(request, task.tid, 0, deliver)

    def _born(self, parent: Task) -> None:
        tid = ptrace_geteventmsg(parent.tid)
        if tid not in self._tasks and os.path.exists(f"/proc/{tid}"):
            self._add(Task(tid, _kin(tid)[0], parent.program))

    def _entered(self, task: Task) -> bool:
        """Is the result of the call that is about to be made of interest?"""
        registers = ptrace_getregs(task.tid)
        enter = self.enters.get(registers.orig_rax)
        task.leave = enter(task, _arguments(registers)) if enter else None
        return task.leave is not None

    def _onward(self, task: Task) -> int:
        return int(PTRACE_SYSCALL if task.process in self._plain.asks else PTRACE_CONT)

    def _at_call(self, task: Task) -> None:
        info = create_string_buffer(_INFO_SIZE)
        ptrace(_SYSCALL_INFO, task.tid, _INFO_SIZE, addressof(info))
        if info.raw[0] != _IS_ENTRY:
            return self._returned(task)
        registers = ptrace_getregs(task.tid)
        task.leave, asks = self._plain.entered(task, registers.orig_rax, _arguments(registers))
        if asks:
            for other in self._tasks.values():
                if other.process == task.process and other is not task:
                    with suppress(PtraceError):  # it stands still, or is gone
                        ptrace(_INTERRUPT, other.tid)

    def _returned(self, task: Task) -> None:
        leave, task.leave = task.leave, None
        if leave is not None:
            result = ptrace_getregs(task.tid).rax
            leave(result - (_SIGN << 1) if result & _SIGN else result)

    def _executed(self, task: Task) -> None:
        """The thread that did it goes on under the number of its process; the others are gone."""
        former = self._tasks[task.tid] if task.tid == (tid := ptrace_geteventmsg(task.tid)) else self._remove(tid)
        for other in [each for each in self._tasks.values() if each.process == task.process and each is not task]:
            self._remove(other.tid)
        leave, task.leave = (former or task).leave, None
        if leave is not None:
            leave(0)
        self._plain.forget(task.process)
        task.program = _command(task.tid) or task.program
        self._examine(task)
        self._files.executed(task)

    def _examine(self, task: Task) -> None:
        path = task.link("exe")
        name, reason = (path, hindrance(path)) if path else (task.program, unseen(task.tid))
        if reason and not self._started:
            raise SandboxError(f"learn: {printable(name)}: {reason}")
        self._started = True
        if reason:
            self._seen.notes.add(f"{name}: {reason}")

    def _ended(self, tid: int, status: int, usage: Any) -> None:
        self._remove(tid)
        self._plain.forget(tid)
        self._peaks.used(usage)
        if tid == self.pid:
            self.status = status
            if self._tasks:
                self.kill(signal.SIGTERM)
                signal.alarm(GRACE)


def _arguments(registers: Any) -> tuple[int, ...]:
    return (registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8, registers.r9)


def _command(tid: int) -> str:
    with suppress(OSError), open(f"/proc/{tid}/comm", "rb") as file:
        return os.fsdecode(file.read().rstrip(b"\n"))
    return ""


def _kin(tid: int) -> tuple[int, int]:
    """The process of a thread, and that one's parent."""
    found = {}
    with suppress(OSError), open(f"/proc/{tid}/status", encoding="utf-8", errors="replace") as file:
        found = dict(line.split(":", 1) for line in file if ":" in line)
    return int(found.get("Tgid", tid)), int(found.get("PPid", 0))
