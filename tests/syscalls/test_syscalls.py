"""Every call family of the served filesystem: each case prints the same natively and inside."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.escape.attack import ordinary, standing
from tests.helpers import Twin, interpreter

HERE = Path(__file__).resolve().parent


def _cases() -> list[str]:
    found = []
    for path in sorted((HERE / "cases").glob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                found.append(f"{path.stem}.{node.name}")
    return found


@pytest.mark.parametrize("case", _cases())
def test_same_as_linux(twin: Twin, case: str) -> None:
    """Results, errnos and the directory left are equal."""
    name, function = case.split(".")
    twin.mounts = {str(HERE): str(HERE)}
    command = [interpreter(), "-I", "-B", HERE / "probe.py", HERE / "cases" / f"{name}.py", function]
    twin.same(command, env={"PYTHONDONTWRITEBYTECODE": "1"})


@ordinary
@pytest.mark.parametrize("case", ["abstract_names", "abstract_datagrams", "names_of_the_kernels_choice"])
def test_without_a_network_namespace(twin: Twin, case: str) -> None:
    """Abstract names, which would be the host's there."""
    twin.mounts = {str(HERE): str(HERE)}
    with standing("no namespaces"):
        twin.same([interpreter(), "-I", "-B", HERE / "probe.py", HERE / "cases" / "sockets.py", case])
