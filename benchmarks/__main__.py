"""python -m benchmarks [question...] [options]        ask; keep result.json, report.html and table.md in a folder
python -m benchmarks report RESULT.json [PAGE.html]    make the page of a result
python -m benchmarks table RESULT.json                 print a result as Markdown
python -m benchmarks figures RESULT.json               print what was asked for, what it may be, and what it is
python -m benchmarks publish RESULT.json               keep a result in results/, and its tables in the two READMEs
python -m benchmarks pyperf RESULT.json SUITE.json     make it a suite of pyperf's: python -m pyperf check SUITE.json
python -m benchmarks compare OLD.json NEW.json         what a change did, with a test of significance"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Callable

from .questions import QUESTIONS
from .result import load
from .runners import RUNNERS

EXTRA = ("matplotlib", "pyperf", "rich", "scipy")


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", epilog=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("questions", nargs="*", metavar="question", help=f"of {', '.join(QUESTIONS)}; all by default")
    parser.add_argument(
        "--runners", type=_names, default=[], metavar="A,B", help=f"of {', '.join(RUNNERS)}; all that are here"
    )
    parser.add_argument(
        "--only", type=_names, default=[], metavar="X,Y", help="cases whose names have one of these parts"
    )
    parser.add_argument(
        "--core", choices=("idle", "busy"), help="the second core's state; by default one, then the other"
    )
    parser.add_argument(
        "--rounds", type=_positive, help="how often each case is measured by each runner; default 10"
    )
    parser.add_argument(
        "--quick", action="store_true", help="a tenth of the work, 3 rounds, second core idle: a look, no figures"
    )
    parser.add_argument("--figures", action="store_true", help="only what the table of figures needs, by the runners that it needs")
    parser.add_argument("--report", type=Path, metavar="PAGE", help="another place for the page than that folder")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="folder of the results; default: benchmarks/results/TIME"
    )
    return parser


def _refuse_unknown(parser: argparse.ArgumentParser, chosen: argparse.Namespace) -> None:
    for names, known, what in ((chosen.questions, QUESTIONS, "question"), (chosen.runners, RUNNERS, "runner")):
        for name in names:
            if name not in known:
                parser.error(f"{name}: no such {what}; there are {', '.join(known)}")


def _positive(text: str) -> int:
    if int(text) < 1:
        raise ValueError
    return int(text)


def _ask(arguments: Sequence[str]) -> int:
    from .run import Choice, run

    parser = _parser()
    chosen = parser.parse_args(arguments)
    _refuse_unknown(parser, chosen)
    cores = [chosen.core] if chosen.core else ["idle"] if chosen.quick else ["idle", "busy"]
    rounds = chosen.rounds or (3 if chosen.quick else 10)
    scale = "quick" if chosen.quick else "full"
    names = (chosen.questions, chosen.runners, chosen.only)
    return run(Choice(*names, cores, rounds, scale, chosen.figures, chosen.output, chosen.report))


def _report(source: str, target: str = "") -> int:
    from .report import page

    path = Path(target) if target else Path(source).with_name("report.html")
    path.write_text(page(load(Path(source))))
    print(path)
    return 0


def _table(source: str) -> int:
    from .tables import tables

    print(tables(load(Path(source))), end="")
    return 0


def _figures(source: str) -> int:
    from .figures import figures_table

    print(figures_table(load(Path(source))))
    return 0


def _publish(source: str) -> int:
    from .publish import publish

    for path in publish(Path(source)):
        print(path)
    return 0


def _pyperf(source: str, target: str) -> int:
    from .suite import write_suite

    print(f"{write_suite(Path(target), load(Path(source)))} series in {target}")
    return 0


def _compare(old: str, new: str) -> int:
    from .compare import compare

    print(compare(load(Path(old)), load(Path(new))), end="")
    return 0


COMMANDS: dict[str, tuple[Callable[..., int], tuple[int, ...]]] = {
    "report": (_report, (1, 2)),
    "table": (_table, (1,)),
    "figures": (_figures, (1,)),
    "publish": (_publish, (1,)),
    "pyperf": (_pyperf, (2,)),
    "compare": (_compare, (2,)),
}


def main(arguments: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments)
    command = COMMANDS.get(words[0]) if words else None
    try:
        if command is None:
            return _ask(words)
        act, counts = command
        if len(words) - 1 in counts:
            return act(*words[1:])
        print(__doc__, file=sys.stderr)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in EXTRA:
            raise
        print(f"benchmarks: {error.name} is missing: pip install -e '.[bench]'", file=sys.stderr)
    except (OSError, ValueError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
