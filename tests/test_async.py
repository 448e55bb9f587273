"""The asyncio forms: nothing blocks the event loop, and a cancelled call kills what it has started."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

import sandbox
from sandbox import CommandFailed, CommandTimeout, Sandbox
from tests.test_run import alive

PIPE = -1


def go(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(coroutine)


def test_arun() -> None:
    result = go(sandbox.arun(["cat"], input="hello", text=True))
    assert (result.returncode, result.stdout) == (0, "hello")


def test_errors_come_through() -> None:
    with pytest.raises(CommandFailed):
        go(sandbox.arun(["false"], check=True))
    with pytest.raises(FileNotFoundError):
        go(sandbox.arun(["nonesuch"]))
    with pytest.raises(CommandTimeout):
        go(sandbox.arun(["sleep", "100"], timeout=0.2))


def test_many_at_once() -> None:
    """More than a thread pool has threads, all waiting for each other in one box."""

    async def main() -> list[bytes]:
        async with Sandbox() as box:
            box.run(["mkfifo", *(f"f{n}" for n in range(21))], check=True)
            box.write("last", b"")
            readers = [box.arun(f"cat f{n + 1} > f{n}", shell=True, check=True) for n in range(20)]
            tasks = [asyncio.ensure_future(reader) for reader in readers]
            end = asyncio.ensure_future(box.arun(["cat", "f0"]))
            await box.arun("echo through > f20", shell=True, check=True)
            await asyncio.gather(*tasks)
            return [(await end).stdout]

    assert go(main()) == [b"through\n"]


def test_loop_is_not_blocked() -> None:
    async def main() -> int:
        ticks = 0
        task = asyncio.ensure_future(sandbox.arun(["sleep", "0.5"]))
        while not task.done():
            await asyncio.sleep(0.01)
            ticks += 1
        return ticks

    assert go(main()) > 10


def test_cancelled_run_kills_the_guest() -> None:
    marker = f"88.{os.getpid()}"

    async def main() -> None:
        task = asyncio.ensure_future(sandbox.arun(["sleep", marker]))
        while not alive(marker):
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not alive(marker)

    go(main())


def test_cancelled_at_once() -> None:
    """Before the command has begun, too."""
    marker = f"89.{os.getpid()}"

    async def main() -> None:
        for delay in (0, 0.001, 0.003, 0.01):
            task = asyncio.ensure_future(sandbox.arun(["sleep", marker]))
            await asyncio.sleep(delay)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert not alive(marker)

    go(main())


def test_wait_for_is_a_timeout() -> None:
    marker = f"90.{os.getpid()}"

    async def main() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(sandbox.arun(["sleep", marker]), 0.3)
        assert not alive(marker)

    go(main())


def test_cancelled_command_leaves_the_box() -> None:
    async def main() -> bytes:
        async with Sandbox() as box:
            task = asyncio.ensure_future(box.arun(["sleep", "100"]))
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return (await box.arun(["echo", "on"])).stdout  # type: ignore[no-any-return]

    assert go(main()) == b"on\n"


def test_files(tmp_path: Path) -> None:
    async def main() -> None:
        async with Sandbox() as box:
            await box.awrite("d/f", b"x")
            assert await box.aread("d/f") == b"x"
            assert await box.alist() == ["d"] and await box.alist("d") == ["f"]
            await box.aexport("/work", tmp_path / "out")
        assert (tmp_path / "out/d/f").read_bytes() == b"x"
        assert box._guest.ended

    go(main())


def test_apopen_streams() -> None:
    async def main() -> None:
        async with Sandbox() as box, await box.apopen(["cat"], stdin=PIPE, stdout=PIPE) as process:
            assert process.stdin and process.stdout and process.pid > 0
            process.stdin.write(b"one\n")
            assert await process.stdout.readline() == b"one\n"
            assert process.returncode is None
            process.stdin.close()
            assert await process.wait() == 0

    go(main())


def test_apopen_communicate_and_signals() -> None:
    async def main() -> None:
        async with Sandbox() as box:
            process = await box.apopen("cat; echo err >&2", shell=True, stdin=PIPE, stdout=PIPE, stderr=PIPE)
            assert await process.communicate(b"x" * 300000) == (b"x" * 300000, b"err\n")
            async with await box.apopen(["sleep", "100"]) as sleeper:
                sleeper.terminate()
                assert await sleeper.wait() == -15
            with pytest.raises(ValueError, match="bytes"):
                await box.apopen(["true"], text=True)

    go(main())


def test_block_left_by_an_error_kills_the_command() -> None:
    async def main() -> None:
        async with Sandbox() as box:
            began = time.monotonic()
            with pytest.raises(KeyError):
                async with await box.apopen(["sleep", "100"], stdout=PIPE):
                    raise KeyError
            assert time.monotonic() - began < 30

    go(main())
