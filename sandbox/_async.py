"""The same for asyncio. What waits does so in a thread of its own, so that no number of waiting calls stands in the way
of another; a cancelled call kills what it has started.

asyncio, half of the time of `import sandbox`, is imported where it is used."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from ._events import Events, Stream
from ._paths import AnyPath
from ._popen import Popen
from ._result import Result
from ._run import run_with

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator

    from ._audit.event import Event

T = TypeVar("T")
_AT_ONCE = 64  # events between two turns of the event loop's other tasks


async def in_thread(work: Callable[[], T], on_cancel: Callable[[], None] | None = None) -> T:
    """The result of `work`, which runs in a daemon thread. When the caller is cancelled `on_cancel` is called, and the
    cancellation goes on when `work` has come back."""
    import asyncio

    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: Any, error: BaseException | None) -> None:
        if not future.done():
            future.set_exception(error) if error is not None else future.set_result(result)

    def body() -> None:
        try:
            result, error = work(), None
        except BaseException as raised:
            result, error = None, raised
        with suppress(RuntimeError):  # the event loop is closed: nobody waits
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=body, name="sandbox-async", daemon=True).start()
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        if on_cancel is not None:
            on_cancel()
            await asyncio.wait([future])
        if future.done() and not future.cancelled():
            future.exception()  # seen
        raise


class _Run:
    """One run that can be called off from another thread, at any time."""

    def __init__(self, popen: Callable[..., Popen]) -> None:
        self._popen = popen
        self._lock = threading.Lock()
        self._process: Popen | None = None
        self._off = False

    def started(self, process: Popen) -> None:
        with self._lock:
            self._process = process
            off = self._off
        if off:
            process.abort()

    def call_off(self) -> None:
        with self._lock:
            self._off = True
            process = self._process
        if process is not None:
            threading.Thread(target=process.abort, name="sandbox-async", daemon=True).start()

    def run(self, args: Any, options: dict[str, Any]) -> Result:
        data = options.pop("input", None)
        return run_with(self._popen, args, data=data, started=self.started, **options)


async def _arun(popen: Callable[..., Popen], args: Any, options: dict[str, Any]) -> Result:
    run = _Run(popen)
    return await in_thread(lambda: run.run(args, options), run.call_off)


async def arun(args: Any, **options: Any) -> Result:
    """`run` for asyncio, with its parameters. A cancelled call kills the guest.

    >>> import asyncio
    >>> asyncio.run(arun(["echo", "hello"], text=True)).stdout
    'hello\\n'
    """
    return await _arun(Popen, args, options)


class AsyncEvents:
    """Events for `async for`; `close`, `lost` and the rest as Events. A cancelled wait loses none."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._ready: Iterator[Event] = iter(())
        self._seen = 0

    @property
    def lost(self) -> int:
        return self._events.lost

    def close(self) -> None:
        """Take no more events."""
        self._events.close()

    def __aiter__(self) -> AsyncEvents:
        return self

    async def __anext__(self) -> Event:
        stream = self._events.stream
        while True:
            await self._let_others()
            found = next(self._ready, None)
            if found is None:
                await self._more(stream)
            elif self._events.wanted(found):
                return found

    async def _more(self, stream: Stream) -> None:
        off = threading.Event()
        if await in_thread(lambda: stream.wait(off), off.set):
            self._ready = stream.ready()
            return
        if not stream.left:
            self._events.check()
        raise StopAsyncIteration

    async def _let_others(self) -> None:
        """A guest that never pauses does not keep the event loop."""
        import asyncio

        self._seen += 1
        if self._seen % _AT_ONCE == 0:
            await asyncio.sleep(0)

    async def __aenter__(self) -> AsyncEvents:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()


class AsyncPopen:
    """A Popen whose waiting forms are awaited. `stdout` and `stderr` are asyncio.StreamReader, `stdin` an
    asyncio.StreamWriter, where they were PIPE."""

    def __init__(self, process: Popen) -> None:
        self.process = process
        self.stdin: asyncio.StreamWriter | None = None
        self.stdout: asyncio.StreamReader | None = None
        self.stderr: asyncio.StreamReader | None = None

    async def connect(self) -> AsyncPopen:
        self.stdout = await _reader(self.process.stdout)
        self.stderr = await _reader(self.process.stderr)
        self.stdin = await _writer(self.process.stdin)
        return self

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def returncode(self) -> int | None:
        return self.process.poll()

    async def wait(self) -> int:
        return await in_thread(self.process.wait)

    async def communicate(self, input: bytes | None = None) -> tuple[bytes | None, bytes | None]:  # noqa: A002
        """Send `input`, read until the end, wait: (stdout, stderr)."""
        import asyncio

        _, out, err = await asyncio.gather(self._feed(input), _all_of(self.stdout), _all_of(self.stderr))
        await self.wait()
        return out, err

    async def _feed(self, data: bytes | None) -> None:
        if self.stdin is None:
            return
        with suppress(BrokenPipeError, ConnectionResetError):  # the command does not want it
            self.stdin.write(data or b"")
            await self.stdin.drain()
        self.stdin.close()

    def events(self, **wanted: Any) -> AsyncEvents:
        """Popen.events for `async for`."""
        return AsyncEvents(self.process.events(**wanted))

    def send_signal(self, sig: int) -> None:
        self.process.send_signal(sig)

    def terminate(self) -> None:
        self.process.terminate()

    def kill(self) -> None:
        self.process.kill()

    async def __aenter__(self) -> AsyncPopen:
        return self

    async def __aexit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            await in_thread(self.process.abort)
        if self.stdin is not None:
            self.stdin.close()
        await in_thread(lambda: self.process.__exit__(None))


async def _all_of(reader: asyncio.StreamReader | None) -> bytes | None:
    return None if reader is None else await reader.read()


async def _reader(pipe: Any) -> asyncio.StreamReader | None:
    import asyncio

    if pipe is None:
        return None
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    return reader


async def _writer(pipe: Any) -> asyncio.StreamWriter | None:
    import asyncio

    if pipe is None:
        return None
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, pipe)
    return asyncio.StreamWriter(transport, protocol, None, loop)


class AsyncForms:
    """Async forms of Sandbox's methods; `async with Sandbox() as box` ends it without blocking the event loop."""

    async def arun(self: Any, args: Any, **options: Any) -> Result:
        """`run`; a cancelled call kills the command."""
        return await _arun(self.popen, args, options)

    async def apopen(self: Any, args: Any, **options: Any) -> AsyncPopen:
        """`popen`, of bytes."""
        for name in ("text", "universal_newlines", "encoding", "errors", "bufsize"):
            if options.get(name):
                raise ValueError(f"{name}: the streams are of bytes")
        process: Popen = await in_thread(lambda: self.popen(args, bufsize=0, **options))
        return await AsyncPopen(process).connect()

    def aevents(self: Any, **wanted: Any) -> AsyncEvents:
        """`events` for `async for`."""
        return AsyncEvents(self.events(**wanted))

    async def aread(self: Any, path: AnyPath, **options: Any) -> bytes:
        return await in_thread(lambda: self.read(path, **options))

    async def awrite(self: Any, path: AnyPath, data: bytes) -> None:
        await in_thread(lambda: self.write(path, data))

    async def alist(self: Any, *path: AnyPath) -> list[str]:
        return await in_thread(lambda: self.list(*path))

    async def aexport(self: Any, path: AnyPath, host_dir: AnyPath) -> None:
        await in_thread(lambda: self.export(path, host_dir))

    async def aclose(self: Any) -> None:
        await in_thread(self.close)

    async def __aenter__(self: T) -> T:
        return self

    async def __aexit__(self: Any, *_: object) -> None:
        await self.aclose()
