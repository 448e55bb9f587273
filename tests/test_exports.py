"""The public names: exactly these, typed, documented, with examples that run."""

from __future__ import annotations

import doctest
import importlib
import inspect
from pathlib import Path

import pytest

import sandbox

PUBLIC = [
    *("Allow", "AllowHTTP", "AuditFile", "CommandFailed", "CommandTimeout", "Deny", "Event", "Explanation", "File", "GuestFault", "Header", "Hosts", "Learned", "Limits", "Metrics", "Mount", "Policy"),
    *("PolicyError", "Popen", "Publish", "Resolvers", "Result", "Sandbox", "SandboxError", "Scratch", "WallMissing", "arun", "learn", "metrics", "run"),
]
PACKAGE = Path(sandbox.__file__).parent
MODULES = [
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.name not in ("__init__.py",)
]


def test_all_is_the_public_names() -> None:
    """__all__ is flat, sorted and complete, and nothing else is public but modules of the command line."""
    assert sandbox.__all__ == PUBLIC == sorted(PUBLIC)
    others = {name for name in vars(sandbox) if not name.startswith("_")} - set(PUBLIC)
    assert others <= {"annotations", "services", "doctor", "surface", "prometheus", "otel"}


@pytest.mark.parametrize("name", PUBLIC)
def test_documented(name: str) -> None:
    """Every public name and every public method has a docstring."""
    thing = getattr(sandbox, name)
    assert inspect.getdoc(thing)
    if not inspect.isclass(thing) or not thing.__module__.startswith("sandbox"):
        return
    for attribute, value in vars(thing).items():
        known = attribute in ("terminate", "kill", "aread", "awrite", "alist", "aexport", "aclose")
        if inspect.isfunction(value) and not attribute.startswith("_") and not known:
            assert value.__doc__, f"{name}.{attribute}"


def test_typed() -> None:
    """Type checkers are told that the package is typed."""
    assert (PACKAGE / "py.typed").exists()


@pytest.mark.parametrize("name", ["__init__", *MODULES])
def test_examples_run(name: str) -> None:
    """The examples of the docstrings do what they show."""
    module = sandbox if name == "__init__" else importlib.import_module(f"sandbox.{name}")
    names = {**vars(module), "run": sandbox.run}
    result = doctest.testmod(module, extraglobs=names, verbose=False)
    assert result.failed == 0
