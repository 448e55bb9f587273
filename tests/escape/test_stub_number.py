"""A descriptor handed to a command under the number that the launcher executes: it would run without the stub, with the
launcher's trust."""

from __future__ import annotations

import os

import pytest

import sandbox
from tests.escape.attack import build, every_wall, ordinary, standing

STUB = 1000
PROGRAM = 'int main(void) { write(1, "runs by itself", 14); return WON; }'


@ordinary
@every_wall
def test_the_number_is_not_to_be_had(walls: str) -> None:
    program = os.open(build(PROGRAM), os.O_RDONLY)
    os.dup2(program, STUB)
    try:
        with standing(walls), pytest.raises(OSError):
            sandbox.run(["/bin/true"], pass_fds=[STUB])
        with standing(walls):
            done = sandbox.run("cat <&1001", shell=True, executable="/bin/bash", pass_fds=_moved(program, STUB + 1))
        assert done.stdout[1:4] == b"ELF"
    finally:
        os.close(STUB)
        os.close(STUB + 1)
        os.close(program)


def _moved(fd: int, number: int) -> list[int]:
    os.dup2(fd, number)
    return [number]


def test_what_stands_there_is_executed() -> None:
    """The launcher's child does exactly this."""
    child = os.fork()
    if child == 0:
        os.dup2(os.open(build(PROGRAM), os.O_RDONLY), STUB)
        os.execve(STUB, ["x"], {})
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42
