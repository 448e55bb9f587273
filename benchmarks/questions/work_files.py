"""Files for programs to work on, the same wherever they are made."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from .case import Setup

__all__ = ["author", "c_project", "many_tests", "npm_tarballs", "shared_tree", "tree", "wheelhouse"]

IN_EACH = 40
UNIT = """#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "parts.h"
static int compare(const void *a, const void *b) {{ return strcmp(*(char *const *)a, *(char *const *)b); }}
int part{number}(int turns) {{
    char *words[] = {{"oslo", "lima", "kyoto", "bern"}};
    int sum = {number};
    for (int i = 0; i < turns; i++) {{
        qsort(words, 4, sizeof *words, compare);
        sum += (int)strlen(words[i % 4]) * i;
    }}
    return sum;
}}
"""
MAKEFILE = """objects = $(patsubst %.c,%.o,$(wildcard *.c))
program: $(objects)
\tgcc -o $@ $(sort $^)
%.o: %.c parts.h
\tgcc -O1 -c -o $@ $<
"""


def tree(directory: Path, files: int) -> None:
    for number in range(files):
        folder = directory / f"folder-{number // (IN_EACH * 10):02}" / f"part-{number // IN_EACH % 10}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"file-{number:05}.txt").write_text(f"line {number}\n" * 20)


def shared_tree(setup: Setup) -> Path:
    """One tree that several cases read."""
    path = setup.folder("tree")
    if not any(path.iterdir()):
        tree(path, setup.scale.files)
    return path


def author() -> dict[str, str]:
    """An environment in which git's commits are always the same."""
    who = {f"GIT_{role}_{field}": value for role in ("AUTHOR", "COMMITTER") for field, value in _PERSON.items()}
    return {**who, "GIT_CONFIG_NOSYSTEM": "1", "GIT_OPTIONAL_LOCKS": "0"}


_PERSON = {"NAME": "a", "EMAIL": "a@example.invalid", "DATE": "2020-01-01T00:00:00Z"}


def c_project(directory: Path, units: int) -> None:
    (directory / "Makefile").write_text(MAKEFILE)
    names = [f"part{number}" for number in range(units)]
    (directory / "parts.h").write_text("".join(f"int {name}(int turns);\n" for name in names))
    for number in range(units):
        (directory / f"part{number}.c").write_text(UNIT.format(number=number))
    sums = " + ".join(f"{name}(3)" for name in names)
    (directory / "main.c").write_text(
        f'#include <stdio.h>\n#include "parts.h"\nint main(void) {{ return printf("%d\\n", {sums}) < 0; }}\n'
    )


def wheelhouse(directory: Path, packages: int) -> list[str]:
    """Wheels of pure Python without dependencies; the names of the packages."""
    directory.mkdir(exist_ok=True)
    names = [f"bench_package_{number}" for number in range(packages)]
    for name in names:
        _wheel(directory, name)
    return names


def _wheel(directory: Path, name: str) -> None:
    info = f"{name}-1.0.dist-info"
    files = {f"{name}/module_{number}.py": f"VALUE = {number}\n" * 50 for number in range(20)}
    files[f"{name}/__init__.py"] = ""
    files[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
    files[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nGenerator: bench\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(directory / f"{name}-1.0-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED) as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)


def npm_tarballs(directory: Path, packages: int) -> list[Path]:
    """Tarballs of packages; and a project that depends on them, whose lock file has their digests and addresses where nobody is."""
    names = [f"bench-package-{number}" for number in range(packages)]
    wanted = dict.fromkeys(names, "1.0.0")
    (directory / "tarballs").mkdir(exist_ok=True)
    paths = [directory / "tarballs" / f"{name}.tgz" for name in names]
    locked: dict[str, object] = {"": {"name": "bench", "version": "1.0.0", "dependencies": wanted}}
    for name, path in zip(names, paths):
        _tarball(path, dict(_npm_files(name)))
        address = f"https://registry.invalid/{name}/-/{name}-1.0.0.tgz"
        integrity = _sri(hashlib.sha512(path.read_bytes()).digest())
        locked[f"node_modules/{name}"] = {"version": "1.0.0", "resolved": address, "integrity": integrity}
    project = {"name": "bench", "version": "1.0.0", "dependencies": wanted}
    lock = {"name": "bench", "version": "1.0.0", "lockfileVersion": 3, "requires": True, "packages": locked}
    (directory / "package.json").write_text(json.dumps(project))
    (directory / "package-lock.json").write_text(json.dumps(lock))
    return paths


def _sri(digest: bytes) -> str:
    return "sha512-" + base64.b64encode(digest).decode()


def _npm_files(name: str) -> Iterator[tuple[str, str]]:
    yield "package/package.json", json.dumps({"name": name, "version": "1.0.0", "main": "index.js"})
    yield "package/index.js", "module.exports = [" + ", ".join(f'require("./lib/{n}")' for n in range(20)) + "];\n"
    for number in range(20):
        yield f"package/lib/{number}.js", f"module.exports = {number};\n" * 40


def _tarball(path: Path, files: dict[str, str]) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text), 0o644
            archive.addfile(entry, io.BytesIO(text.encode()))


def many_tests(directory: Path, tests: int) -> None:
    for start in range(0, tests, 50):
        functions = [
            f"def test_{number}():\n    assert {number} >= 0\n" for number in range(start, min(tests, start + 50))
        ]
        folder = directory / "tests" / f"group_{start // 500}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"test_part_{start // 50}.py").write_text("\n\n".join(functions))
