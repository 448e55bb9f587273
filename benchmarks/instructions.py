"""python -m benchmarks.instructions [--keep]: what the sentry does for one served call, counted and not timed.

guests/served.c drives the sentry's own code. Instructions are counted by callgrind, or by the processor's counters where there is no
valgrind; system calls by strace, and the question whether the caller still waits, which is an ioctl, by the program itself. Two runs of different length
are subtracted: what remains is calls alone, and the same each time. Compared with instructions.json: more than a few
percent more is status 1, and so are more system calls than the ceiling, whatever is kept. Status 2: nothing could be counted, or
what is kept is of another compiler or method. --keep writes the numbers down."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ._build import BUILD, HERE, compile_c

__all__ = ["Counted", "compare", "count", "main", "program"]

KEPT = HERE / "instructions.json"
CALLS = ("stat", "open", "stat-relative", "open-relative", "stat-recorded", "open-recorded")
CEILING = {"stat": 4, "open": 6, "stat-relative": 5, "open-relative": 6, "stat-recorded": 4, "open-recorded": 6}
FEW, MANY = 1000, 3000
TOLERANCE = 0.02
FINE, MORE, UNKNOWN = 0, 1, 2
FLAGS = "-std=c11 -O2 -D_GNU_SOURCE -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 -fstack-protector-strong -static -pthread"  # as setup.py's
WRAPPED = ("ioctl", "syscall", "mounts_whole", "answer_now")
NOT_LINKED = {"sentry.c", "spawn.c", "drain.c"}
SAME_LIBC = {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-AVX512F,-AVX512VL,-ERMS,-FSRM"}  # its memcpy fits the processor


@dataclass(frozen=True)
class Counted:
    """By call: instructions and system calls (None: no strace); and what they depend on."""

    method: str
    compiler: str
    instructions: dict[str, int]
    syscalls: dict[str, int | None]

    def to_json(self) -> dict[str, Any]:
        return {"format": 1, **self.__dict__}


class Unable(Exception):
    """It cannot be counted here; says why."""


def program() -> Path:
    """guests/served.c with the sentry's code, built anew where that has changed."""
    top = HERE.parent
    sources = [path for path in sorted((top / "csrc").glob("*.c")) if path.name not in NOT_LINKED]
    own = HERE / "guests" / "served.c"
    headers = [*(top / "csrc").glob("*.h"), top / "tests" / "fuzz" / "build_plan.h"]
    wraps = [f"-Wl,--wrap={name}" for name in WRAPPED]
    includes = [f"-I{top / 'csrc'}", f"-I{top / 'tests' / 'fuzz'}"]
    command = ["gcc", *FLAGS.split(), *includes, *wraps, *map(str, (own, *sources))]
    return compile_c(BUILD / "served", command, [own, *sources, *headers])


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **SAME_LIBC}, timeout=300)
    if done.returncode:
        raise Unable(
            f"{Path(command[0]).name}: status {done.returncode}: {(done.stderr or done.stdout).strip()[-300:]}"
        )
    return done


def _by_callgrind(program: Path, call: str, times: int) -> int:
    with tempfile.NamedTemporaryFile() as out:
        options = ["--tool=callgrind", f"--callgrind-out-file={out.name}"]
        done = _run(["valgrind", *options, str(program), call, str(times)])
    return _found(r"Collected\s*:\s*(\d+)", done.stderr)


def _by_perf(program: Path, call: str, times: int) -> int:
    done = _run(["perf", "stat", "-x,", "-e", "instructions:u", str(program), call, str(times)])
    return _found(r"^(\d+),,instructions", done.stderr)


METHODS = {"callgrind": ("valgrind", _by_callgrind), "perf": ("perf", _by_perf)}


def _found(pattern: str, text: str) -> int:
    found = re.search(pattern, text, re.MULTILINE)
    if found is None:
        raise Unable(f"no count in {text.strip()[-200:]!r}")
    return int(found[1])


def _system_calls(program: Path, call: str, times: int) -> int:
    done = _run(["strace", "-f", "-qq", "-c", str(program), call, str(times)])
    looked = int(json.loads(done.stdout)["looked"])
    return looked + _found(r"^100.00\s+[\d.]+\s+\d*\s+(\d+)\s.*total$", done.stderr)


def count() -> Counted:
    """Unable: with no tool that is here."""
    target = program()
    reasons = []
    for method, (tool, measure) in METHODS.items():
        if shutil.which(tool):
            try:
                found = {call: _each(measure(target, call, FEW), measure(target, call, MANY)) for call in CALLS}
                return Counted(method, _compiler(), found, {call: _calls(target, call) for call in CALLS})
            except Unable as reason:
                reasons.append(str(reason))
    raise Unable("; ".join(reasons) or "neither valgrind nor perf is here")


def _each(few: int, many: int) -> int:
    return round((many - few) / (MANY - FEW))


def _calls(program: Path, call: str) -> int | None:
    if shutil.which("strace") is None:
        return None
    return _each(_system_calls(program, call, FEW), _system_calls(program, call, MANY))


def _compiler() -> str:
    said = subprocess.run(["gcc", "--version"], capture_output=True, text=True, check=True).stdout
    return f"{said.partition(chr(10))[0]}, {' '.join(platform.libc_ver())}, {platform.machine()}"


def compare(kept: dict[str, Any], now: Counted) -> tuple[int, list[str]]:
    """The status, 0 where it is no worse; and what there is to say."""
    high = [f"{call}: {calls} system calls, and {CEILING[call]} are the most" for call, calls in now.syscalls.items() if calls and calls > CEILING[call]]
    if high:
        return MORE, high
    if kept.get("method") != now.method or kept.get("compiler") != now.compiler:
        return UNKNOWN, [f"not compared: kept are numbers by {kept.get('method')}, {kept.get('compiler')}"]
    if None in now.syscalls.values():
        return UNKNOWN, ["not compared: no strace is here"]
    words = [_word(kept, now, call) for call in CALLS if call in now.instructions]
    return FINE if all(fine for fine, _ in words) else MORE, [word for _, word in words]


def _word(kept: dict[str, Any], now: Counted, call: str) -> tuple[bool, str]:
    before, after = kept["instructions"].get(call), now.instructions[call]
    if before is None:
        return True, f"{call}: nothing is kept of it"
    calls_before, calls_after = kept["syscalls"][call], now.syscalls[call]
    worse = after > before * (1 + TOLERANCE) or (calls_after or 0) > (calls_before or calls_after or 0)
    change = (
        f"{before} to {after} instructions ({after / before - 1:+.1%}), {calls_before} to {calls_after} system calls"
    )
    return not worse, f"{call}: {'MORE: ' if worse else ''}{change}"


def main(arguments: Sequence[str]) -> int:
    try:
        now = count()
    except Unable as reason:
        print(f"the sentry's instructions cannot be counted here: {reason}", file=sys.stderr)
        return UNKNOWN
    for call in CALLS:
        print(
            f"served {call}: {now.instructions[call]} instructions, {now.syscalls[call]} system calls beyond receive and reply"
        )
    if "--keep" in arguments or not KEPT.exists():
        KEPT.write_text(json.dumps(now.to_json(), indent=1) + "\n")
    status, words = compare(json.loads(KEPT.read_text()), now)
    print("\n".join(words))
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
