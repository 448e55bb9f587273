"""The events of a guest as they come, for who asks for them. Nobody asks: nothing is done, nothing is kept.

Bounded: what waits for a listener is _MOST and one batch of records. Who is slower than the guest makes that guest
wait, and no other, as a slow function of `audit=` does. Before the first look nobody is made to wait: what is more than
that is not kept, but counted."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from . import _core
from ._audit.event import Event, Filter
from ._audit.format import RECORDS
from ._audit.guest import Guest
from ._audit.join import of_block
from ._parts import Command

_MOST = 1 << 20  # bytes of records that may wait
_LOOK = 0.025  # seconds between two looks at the ring, while somebody waits


class Batch(NamedTuple):
    """Records as the ring had them, and how many before them were not kept; or another kind of block."""

    data: bytes
    skipped: int
    magic: bytes = RECORDS


class Stream:
    """The records of a guest for one listener: of one command's time where it has a `command`, else until the guest's
    end. `taken`: somebody looks, so the guest waits rather than that something is lost."""

    def __init__(self, guest: Guest, pull: Callable[[], None], *, taken: bool) -> None:
        self.command: Command | None = None
        self.taken, self.left, self.closed, self.lost = taken, False, False, 0
        self._guest, self._pull = guest, pull
        self._changed = threading.Condition()
        self._batches: deque[Batch] = deque()
        self._size = self._skipped = 0
        self._whole = False

    # ---- for Records, under its lock -------------------------------------------------------------------------------

    def begin(self, served: Iterable[tuple[int, bytes]], *, whole: bool) -> None:
        """`whole`: from the guest's first record on."""
        self._whole = whole
        for request, name in served:
            self.served(request, name)

    @property
    def over(self) -> bool:
        return self.left or self.closed

    def ended(self) -> bool:
        """Is what is in the ring now the last?"""
        return self.command is not None and self.command.ended

    def full(self) -> bool:
        return self.taken and not self.left and self._size >= _MOST

    def put(self, data: bytes) -> None:
        if self.left or not data:
            return
        if not self.taken and self._size >= _MOST:
            count = sum(1 for _ in _core.numbers(data))
            self._skipped += count
            self.lost += count
            return
        with self._changed:
            self._batches.append(Batch(data, self._skipped))
            self._size += len(data)
            self._skipped = 0
            self._changed.notify()

    def decided(self, magic: bytes, data: bytes) -> None:
        """What was decided without a call, which is lost where records would be."""
        if self.left or self.closed:
            return
        if not self.taken and self._size >= _MOST:
            self.lost += 1
            return
        with self._changed:
            self._batches.append(Batch(data, 0, magic))
            self._size += len(data)
            self._changed.notify()

    def served(self, request: int, name: bytes) -> None:
        self._guest.has_served(request, name)

    def close(self) -> None:
        with self._changed:
            self.closed = True
            self._changed.notify()

    def forget_after_fork(self) -> None:
        self._changed = threading.Condition()
        self._batches.clear()
        self.closed = True

    # ---- for the listener -------------------------------------------------------------------------------------------

    def leave(self) -> None:
        """Nobody looks any more. Takes no lock: it may be called wherever garbage is collected."""
        self.left = True
        self._batches.clear()

    def wait(self, off: threading.Event | None = None) -> bool:
        """Until there is something, or `off`; False where nothing will ever be."""
        while not self.left:
            closed = self.closed
            if not closed and not self._batches:
                self._pull()
            with self._changed:
                if self._batches or (off is not None and off.is_set()):
                    return True
                if closed:
                    return False
                if not self.closed:
                    self._changed.wait(_LOOK)
        return False

    def ready(self) -> Iterator[Event]:
        """What is there."""
        while (batch := self._next()) is not None:
            if batch.magic == RECORDS:
                if not self._whole:
                    self._guest.sequence = next(_core.numbers(batch.data), (1, 0))[0] - 1
                self._whole = True
                self._guest.sequence += batch.skipped
            yield from of_block(self._guest, batch.magic, batch.data)

    def _next(self) -> Batch | None:
        with self._changed:
            if not self._batches:
                return None
            batch = self._batches.popleft()
            self._size -= len(batch.data)
            return batch


class Events(Iterator[Event]):
    """Events as they come; ends when there will be no more. For one thread.

    A guest whose events are not taken waits when 2 MiB of records are behind, so do not wait for it between two events:
    end the loop, `close` this or leave its `with` block before. `lost` counts the calls that were not kept before the
    first look (see Popen.events). GuestFault: the guest has ended by a fault."""

    def __init__(self, stream: Stream, wanted: Filter, check: Callable[[], None], owner: object) -> None:
        stream.taken = True
        self.stream, self.wanted, self.check = stream, wanted, check
        self._owner = owner  # a Popen that is dropped ends its guest
        self._events = _events(stream, wanted, check)
        self._finalizer = weakref.finalize(self, stream.leave)
        self._finalizer.atexit = False

    @property
    def lost(self) -> int:
        return self.stream.lost

    def __next__(self) -> Event:
        return next(self._events)

    def close(self) -> None:
        """Take no more events; the guest is not held up any longer."""
        self._finalizer()

    def __enter__(self) -> Events:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _events(stream: Stream, wanted: Filter, check: Callable[[], None]) -> Iterator[Event]:
    """Of no Events, which is to be garbage as soon as nobody has it."""
    while stream.wait():
        for event in stream.ready():
            if stream.left:
                return  # between two events of one batch
            if wanted(event):
                yield event
    if not stream.left:
        check()
