"""One guest of test_limits.py: reads what to run and its limits as JSON, prints what became of it."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import sandbox


def main() -> None:
    warnings.simplefilter("ignore")
    asked = json.loads(sys.argv[1])
    command = [str(Path(sys.executable).resolve()), "-c", asked["program"]]
    done = sandbox.run(command, limits=sandbox.Limits(**asked["limits"]), timeout=20, **asked.get("options", {}))
    err = done.stderr.decode(errors="replace")
    print(json.dumps([done.returncode, done.exceeded, done.stdout.decode(errors="replace"), err, list(done.walls)]))


if __name__ == "__main__":
    main()
