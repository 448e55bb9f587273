"""The code that a guest's proxy is made of. It runs before the proxy's walls stand, so no guest may be able to change
it: it is found when this package is imported, never in the working directory, and no writable mount may hold it."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path

from ._errors import PolicyError, SandboxError

NEEDED = ("h11", "h2", "hpack", "hyperframe", "cryptography", "OpenSSL")
_BESIDE = ("_cffi_backend", "cffi", "pyseccomp", "seccomp", "typing_extensions")  # as far as they are installed
_LINKS_MAX = 40
_PACKAGE = Path(__file__).resolve().parent


def _search() -> list[str]:
    """sys.path without what is relative, and without the working directory."""
    try:
        here = os.getcwd()
    except OSError:
        here = ""
    every = [entry for entry in sys.path if os.path.isabs(entry) and os.path.realpath(entry) != here]
    return [str(_PACKAGE.parent), *every]


def _find(names: Iterable[str]) -> dict[str, str]:
    """Modules by name: their directory, or their file."""
    path, found = _search(), {}
    for name in names:
        spec = PathFinder.find_spec(name, path)
        if spec is not None and spec.origin is not None:
            found[name] = os.path.dirname(spec.origin) if spec.submodule_search_locations else spec.origin
    return found


_FOUND = _find((*NEEDED, *_BESIDE))  # before any guest of this process can have written anywhere


def need_libraries() -> None:
    """SandboxError: one is missing."""
    for name in NEEDED:
        if name not in _FOUND:
            raise SandboxError(f"AllowHTTP needs the module {name}: install the extra sandbox[http]")


def homes() -> list[str]:
    """Directories where a proxy looks for modules, after those of Python itself; this package's before all."""
    return list(dict.fromkeys([str(_PACKAGE.parent), *map(os.path.dirname, _FOUND.values())]))


def check_writable(sources: Iterable[str]) -> None:
    """INVARIANT own-code. PolicyError: one of the host's paths that a guest can write to holds a part of the code, or
    is one."""
    for source in sources:
        real = os.path.realpath(source)
        for path in _code():
            if _is_below(path, real) or _is_below(real, path):
                raise PolicyError(
                    f"mount {source}: a guest with AllowHTTP cannot write to {path}, of which its HTTP proxy is made"
                )


@cache
def _code() -> tuple[str, ...]:
    own = [sys.executable, os.path.join(sys.prefix, "pyvenv.cfg"), str(_PACKAGE)]
    standard = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib")]
    return tuple(dict.fromkeys(way for path in (*own, *standard, *_FOUND.values()) for way in _ways(path)))


def _ways(path: str) -> Iterator[str]:
    """A path, and what it leads to link by link."""
    yield os.path.abspath(path)
    for _ in range(_LINKS_MAX):
        folder, name = os.path.split(path)
        path = os.path.join(os.path.realpath(folder), name)
        yield path
        if not os.path.islink(path):
            return
        path = os.path.join(os.path.dirname(path), os.readlink(path))


def _is_below(path: str, folder: str) -> bool:
    return os.path.commonpath((path, folder)) == folder
