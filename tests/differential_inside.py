"""The actor of test_differential.py in a guest, on standard input and output.

    python -m tests.differential_inside HERE THERE       the guest sees THERE at HERE"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

import sandbox
from tests import differential_actor


def main() -> None:
    warnings.simplefilter("ignore")
    here, there = sys.argv[1:3]
    actor = Path(differential_actor.__file__).resolve()
    python = os.path.realpath(sys.executable)
    process = sandbox.Popen(
        [python, "-I", str(actor), here],
        stdin=0,
        stdout=1,
        stderr=2,
        writable={here: there},
        mounts={str(actor): str(actor)},
    )
    raise SystemExit(process.wait())


if __name__ == "__main__":
    main()
