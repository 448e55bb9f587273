"""Three targets: the extension sandbox._ffi, the static executable sandbox/sentry, the freestanding sandbox/stub."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

from setuptools import setup
from setuptools.command.build_ext import build_ext

EXTENSION_ONLY = {"spawn.c", "drain.c"}
CHECKS = ["-std=c11", "-Wall", "-Wextra", "-Werror"]
SENTRY = [
    *CHECKS, "-O2", "-D_GNU_SOURCE", "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2", "-fstack-protector-strong",
    "-fPIE", "-static-pie", "-pthread", "-Wl,-z,relro,-z,now,-z,noexecstack",
]  # fmt: skip
# A sentry starts with musl in a tenth of the time (docs/design.md, 9). Where it is kept: libraries, headers.
MUSL = [
    ("/usr/lib/x86_64-linux-musl", "/usr/include/x86_64-linux-musl"),  # Debian
    ("/usr/x86_64-linux-musl/lib64", "/usr/x86_64-linux-musl/include"),  # Fedora
    ("/usr/lib/musl/lib", "/usr/lib/musl/include"),  # Arch
    ("/usr/local/musl/lib", "/usr/local/musl/include"),  # its own choice
]
# No C library and nothing that needs one; no relocations, which nobody would apply; one page-aligned image.
STUB = [
    *CHECKS, "-O2", "-ffreestanding", "-fno-builtin", "-fno-stack-protector", "-fno-asynchronous-unwind-tables",
    "-fcf-protection=none", "-fPIE", "-fvisibility=hidden", "-mgeneral-regs-only", "-nostdlib", "-static-pie",
    "-Wl,--no-dynamic-linker,--build-id=none,-z,noexecstack,-z,norelro",
]  # fmt: skip


def sources(folder: str, without: set[str]) -> list[str]:
    return sorted(str(path) for path in Path(folder).glob("*.c") if path.name not in without)


def compiler() -> list[str]:
    return shlex.split(os.environ.get("CC", "gcc"))


def asked(option: str) -> str:
    return subprocess.run([*compiler(), option], capture_output=True, text=True, check=True).stdout.strip()


def static_sentry(files: list[str]) -> list[str]:
    """The sentry's options and sources: with musl if it is here and SANDBOX_LIBC is not `glibc`."""
    here = [kept for kept in MUSL if Path(kept[0], "rcrt1.o").exists()]
    if not here or os.environ.get("SANDBOX_LIBC") == "glibc":
        return [*SENTRY, *files]
    libraries, headers = here[0]
    kernel = ["/usr/include", f"/usr/include/{asked('-print-multiarch')}"]  # linux/ and asm/, after musl's own
    return [
        *SENTRY, "-nostdinc", "-isystem", headers, "-isystem", asked("-print-file-name=include"),
        *(part for folder in kernel for part in ("-idirafter", folder)),
        "-nostdlib", f"{libraries}/rcrt1.o", f"{libraries}/crti.o", *files,
        f"{libraries}/libc.a", asked("-print-libgcc-file-name"), f"{libraries}/crtn.o",
    ]  # fmt: skip


class BuildAll(build_ext):  # type: ignore[misc]  # setuptools is untyped where it is old
    """build_ext that also compiles the two executables and puts them beside the extension."""

    def executables(self) -> dict[Path, list[str]]:
        folder = Path("sandbox") if self.inplace else Path(self.build_lib) / "sandbox"
        return {
            folder / "sentry": static_sentry(sources("csrc", EXTENSION_ONLY)),
            folder / "stub": [*STUB, *sources("csrc/stub", set())],
        }

    def run(self) -> None:
        wanted = shlex.split(os.environ.get("CFLAGS", ""))  # last, so that it can take a warning back
        for target, arguments in self.executables().items():
            target.parent.mkdir(parents=True, exist_ok=True)
            fresh = target.with_suffix(".new")  # moved into place: a running sentry keeps its file
            subprocess.run([*compiler(), *arguments, *wanted, "-o", str(fresh)], check=True)
            fresh.replace(target)
        super().run()

    def get_outputs(self) -> list[str]:
        return [*super().get_outputs(), *map(str, self.executables())]


setup(
    cffi_modules=["csrc/ffi_build.py:builder"],
    cmdclass={"build_ext": BuildAll},
    options={"bdist_wheel": {"py_limited_api": "cp39"}},  # the extension uses the stable interface: one wheel for all
)
