"""Questions to a name server by write, and answers by read, as Go's own resolver makes them: on a connected socket.

No filter can stop at these calls for a few sockets only, and a program that stopped at each would be slow. So whoever
connects to a name server is followed from call to call until it has closed that socket; its other threads, too, as soon
as one has asked by write: the answer may come to any of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sandbox._core import syscalls

from ._sockaddr import vector
from ._task import Leave, Task, signed

Buffers = list["tuple[int, int]"]
_CALLS = ("read", "readv", "write", "writev", "close")
Answered = Callable[[Task, str, Buffers, int], None]


class Plain:
    """`asks` holds the sockets that each process has connected to a name server, by their inodes. `answered` is told of
    what was read from one."""

    def __init__(self, answered: Answered) -> None:
        self.asks: dict[int, set[str]] = {}
        self._answered = answered
        self._calls = {row.nr: row.name for row in syscalls() if row.name in _CALLS}

    def connected(self, task: Task, inode: str) -> None:
        self.asks.setdefault(task.process, set()).add(inode)

    def forget(self, process: int) -> None:
        """It is another program now, or gone."""
        self.asks.pop(process, None)

    def entered(self, task: Task, number: int, arguments: tuple[int, ...]) -> tuple[Leave | None, bool]:
        """What is to be done when the call has returned; and: is it a question?"""
        name = self._calls.get(number, "")
        inode = task.link(f"fd/{signed(arguments[0])}") if name else ""
        if inode not in self.asks.get(task.process, ()):
            return None, False
        if name == "close":
            return (lambda _: self._closed(task.process, inode)), False
        if name.startswith("write"):
            return None, True
        buffers = list(_buffers(task, name, arguments))
        return (lambda result: self._answered(task, inode, buffers, result)), False

    def _closed(self, process: int, inode: str) -> None:
        left = self.asks.get(process, set())
        left.discard(inode)
        if not left:
            self.forget(process)


def _buffers(task: Task, name: str, arguments: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    if name == "readv":
        yield from vector(task, arguments[1], arguments[2])
    else:
        yield arguments[1], arguments[2]
