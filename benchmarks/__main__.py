"""python -m benchmarks [question...] [options]; python -m benchmarks compare OLD.json NEW.json"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from . import bench_calls, bench_memory, bench_programs, bench_start
from ._build import HERE
from .compare import compare, tables
from .measure import CORES, Figure, Setup, load, machine, save
from .runners import RUNNERS, found

QUESTIONS = {
    "calls": (bench_calls.bench, ("native", "floor", "sandbox", "bubblewrap", "proot", "runsc")),
    "start": (bench_start.bench, ("native", "sandbox", "sandbox-cli", "bubblewrap", "proot", "runsc")),
    "programs": (bench_programs.bench, ("native", "floor-unpinned", "sandbox", "bubblewrap", "proot", "runsc")),
    "pair": (bench_programs.bench_pair, ("native", "sandbox")),
    "memory": (bench_memory.bench, ("sandbox",)),
}


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="What the sandbox costs.")
    parser.add_argument("questions", nargs="*", metavar="question", help=f"{', '.join(QUESTIONS)}; default all")
    parser.add_argument("--runners", help=f"of {', '.join(RUNNERS)}, separated by commas; default: those that fit")
    parser.add_argument("--only", help="names of calls, or parts of names of programs, separated by commas")
    parser.add_argument("--core", choices=CORES, help="second core idle or busy; default: the one, then the other")
    parser.add_argument("--repeat", type=int, default=5, help="rounds, the runners taking turns; default 5")
    parser.add_argument("--output", type=Path, help="JSON file; default: results/TIME.json")
    chosen = parser.parse_args(arguments)
    for question in chosen.questions:
        if question not in QUESTIONS:
            parser.error(f"{question}: no such question")
    return chosen


def main(arguments: Sequence[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["compare"]:
        if len(arguments) != 3:
            print(__doc__, file=sys.stderr)
            return 2
        print(compare(load(Path(arguments[1]))[1], load(Path(arguments[2]))[1]))
        return 0
    return _run(_arguments(arguments))


def _run(chosen: argparse.Namespace) -> int:
    wanted = chosen.runners.split(",") if chosen.runners else None
    unknown = [name for name in wanted or [] if name not in RUNNERS]
    if unknown:
        print(f"no such runner: {', '.join(unknown)}", file=sys.stderr)
        return 2
    here, words = found(wanted)
    for name, word in words.items():
        print(f"{name}: {word}", file=sys.stderr)
    about: dict[str, object] = {"machine": machine(), "runners": words}
    figures: list[Figure] = []
    failures: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="sandbox-benchmarks-", dir="/var/tmp") as scratch:
        for question in chosen.questions or QUESTIONS:
            bench, fit = QUESTIONS[question]
            runners = {name: runner for name, runner in here.items() if name in (wanted or fit)}
            directory = Path(scratch, question)
            directory.mkdir()
            only = chosen.only.split(",") if chosen.only else []
            cores = [chosen.core] if chosen.core else CORES
            samples = bench(Setup(runners, cores, chosen.repeat, directory, only))
            figures += samples.figures()
            failures.update({f"{question}, {what}, {who}": why for (what, who), why in samples.failures.items()})
    output = chosen.output or HERE / "results" / time.strftime("%Y%m%d-%H%M%S.json")
    save(output, {**about, "failures": failures}, figures)
    print(tables(figures))
    print(f"\nkept in {output}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
