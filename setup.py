"""Three targets: the extension sandbox._ffi, the static executable sandbox/sentry, the freestanding sandbox/stub."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

from setuptools import setup
from setuptools.command.build_ext import build_ext

EXTENSION_ONLY = {"spawn.c", "send.c", "drain.c"}
CHECKS = ["-std=c11", "-Wall", "-Wextra", "-Werror"]
SENTRY = [
    *CHECKS, "-O2", "-D_GNU_SOURCE", "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2", "-fstack-protector-strong",
    "-fPIE", "-static-pie", "-pthread", "-Wl,-z,relro,-z,now,-z,noexecstack",
]  # fmt: skip
# No C library and nothing that needs one; no relocations, which nobody would apply; one page-aligned image.
STUB = [
    *CHECKS, "-O2", "-ffreestanding", "-fno-builtin", "-fno-stack-protector", "-fno-asynchronous-unwind-tables",
    "-fcf-protection=none", "-fPIE", "-fvisibility=hidden", "-mgeneral-regs-only", "-nostdlib", "-static-pie",
    "-Wl,--no-dynamic-linker,--build-id=none,-z,noexecstack,-z,norelro",
]  # fmt: skip


def sources(folder: str, without: set[str]) -> list[str]:
    return sorted(str(path) for path in Path(folder).glob("*.c") if path.name not in without)


class BuildAll(build_ext):  # type: ignore[misc]  # setuptools is untyped where it is old
    """build_ext that also compiles the two executables and puts them beside the extension."""

    def executables(self) -> dict[Path, list[str]]:
        folder = Path("sandbox") if self.inplace else Path(self.build_lib) / "sandbox"
        return {
            folder / "sentry": [*SENTRY, *sources("csrc", EXTENSION_ONLY)],
            folder / "stub": [*STUB, *sources("csrc/stub", set())],
        }

    def run(self) -> None:
        compiler = shlex.split(os.environ.get("CC", "gcc"))
        wanted = shlex.split(os.environ.get("CFLAGS", ""))  # last, so that it can take a warning back
        for target, arguments in self.executables().items():
            target.parent.mkdir(parents=True, exist_ok=True)
            fresh = target.with_suffix(".new")  # moved into place: a running sentry keeps its file
            subprocess.run([*compiler, *arguments, *wanted, "-o", str(fresh)], check=True)
            fresh.replace(target)
        super().run()

    def get_outputs(self) -> list[str]:
        return [*super().get_outputs(), *map(str, self.executables())]


setup(
    cffi_modules=["csrc/ffi_build.py:builder"],
    cmdclass={"build_ext": BuildAll},
    options={"bdist_wheel": {"py_limited_api": "cp39"}},  # the extension uses the stable interface: one wheel for all
)
