"""Real programs with something to do: each makes its own files below one directory and gives a job."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from .runners import Job

__all__ = ["PROGRAMS", "Program"]

IMPORTS = "import argparse, asyncio, decimal, email.message, http.client, json, logging"
HELLO = '#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\nint main(void) { puts("hello"); return 0; }\n'
AUTHOR = "-c user.name=a -c user.email=a@example.invalid"
MAKEFILE = "all: $(patsubst %.c,%.o,$(wildcard *.c))\n%.o: %.c\n\tgcc -O1 -c -o $@ $<\n"


@dataclass(frozen=True)
class Program:
    name: str
    make: Callable[[Path], Job]  # into that new directory


def _python(directory: Path) -> Job:
    return Job([os.path.realpath(sys.executable), "-I", "-c", IMPORTS], directory)


def _gcc(directory: Path) -> Job:
    (directory / "hello.c").write_text(HELLO)
    return Job(["gcc", "-O1", "-o", "hello", "hello.c"], directory)


def _git(directory: Path) -> Job:
    _tree(directory, 4000, 40)
    for command in ("init", "add -A", f"{AUTHOR} -c commit.gpgsign=false commit -m first"):
        subprocess.run(["git", *command.split()], cwd=directory, check=True, capture_output=True)
    return Job(["git", "status", "--short"], directory, env={"GIT_OPTIONAL_LOCKS": "0"})


def _find(directory: Path) -> Job:
    return Job(["sh", "-c", "find /usr/share -name 'no such name' 2>/dev/null || exit 0"], directory)


def _grep(directory: Path) -> Job:
    _tree(directory, 2000, 40)
    return Job(["sh", "-c", "grep -r 'no such text' . || exit 0"], directory)


def _shell(directory: Path) -> Job:
    return Job(["sh", "-c", "i=0; while [ $i -lt 100 ]; do /bin/true; i=$((i+1)); done"], directory)


def _pipeline(directory: Path) -> Job:
    return Job(["sh", "-c", "for i in 1 2 3 4 5; do seq 20000 | sort -n | uniq -c | wc -l; done"], directory)


def _make(directory: Path) -> Job:
    (directory / "Makefile").write_text(MAKEFILE)
    for number in range(8):
        (directory / f"part{number}.c").write_text(HELLO.replace("main", f"part{number}"))
    return Job(["make", "-s", "-B", "-j2"], directory)


def _compute(directory: Path) -> Job:
    return Job([os.path.realpath(sys.executable), "-I", "-S", "-c", "sum(i * i for i in range(3_000_000))"], directory)


def _tree(directory: Path, files: int, in_each: int) -> None:
    for number in range(files):
        folder = directory / f"folder-{number // in_each:03}"
        folder.mkdir(exist_ok=True)
        (folder / f"file-{number:04}.txt").write_text(f"line {number}\n" * 20)


PROGRAMS = (
    Program("python, 7 imports", _python),
    Program("gcc, one file", _gcc),
    Program("git status, 4000 files", _git),
    Program("find /usr/share", _find),
    Program("grep -r, 2000 files", _grep),
    Program("sh, 100 x /bin/true", _shell),
    Program("sh, 5 pipelines", _pipeline),
    Program("make -j2, 8 files", _make),
    Program("python, computing", _compute),
)
