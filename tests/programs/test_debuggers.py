"""Programs that trace others are refused, and say so."""

from __future__ import annotations

import pytest

from tests.helpers import Twin, program


@pytest.mark.parametrize("command", [["gdb", "-batch", "-ex", "run", "/bin/true"], ["strace", "/bin/true"]])
def test_tracer_is_refused(twin: Twin, command: list[str]) -> None:
    """It ends with a message that names ptrace and the reason, and does not hang."""
    program(command[0])
    done = twin.inside(command)
    text = (done.stdout + done.stderr).lower()
    assert b"ptrace" in text or b"trace" in text
    assert b"not permitted" in text
