"""Runs the programs of test_walls.py in guests and prints what they did, as JSON."""

from __future__ import annotations

import json
import sys
import tempfile
import warnings
from pathlib import Path

import sandbox

HELLO = '#include <stdio.h>\nint main(void) { puts("compiled"); return 4; }\n'
COMMANDS = {
    "true": ["/bin/true"],
    "false": ["/bin/false"],
    "ls": ["/bin/ls", "/"],
    "python": [str(Path(sys.executable).resolve()), "-c", "import os, threading; print(os.getcwd(), os.listdir('.'))"],
    "pipeline": ["/bin/sh", "-c", "seq 1000 | sort -n | uniq -c | wc -l; echo x >/tmp/f; cat /tmp/f; rm /tmp/f; ls /tmp"],
    "gcc": ["/bin/sh", "-c", "gcc -o hello hello.c && ./hello"],
    "reading": ["/bin/sh", "-c", "cat /data/in; echo no >/data/in; cat /data/in; ls -d /etc/shadow /root/.bashrc"],
    "writing": ["/bin/sh", "-c", "echo from the guest >/out/made; mkdir /out/dir; ln -s made /out/link; cat /out/link"],
    "descriptors": ["/bin/sh", "-c", "exec 3>/out/file; echo a >&3; chmod 600 /out/file; touch -d @5 /out/file; stat -c '%a %Y' /out/file"],
    "fifo": ["/bin/sh", "-c", "mkfifo p; cat p & echo through >p; wait; flock . echo locked"],
}  # fmt: skip


def main() -> None:
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        top = Path(name)
        (top / "data").mkdir()
        (top / "out").mkdir()
        (top / "data" / "in").write_text("input\n")
        done: dict[str, object] = {}
        walls: tuple[str, ...] = ()
        for label, command in COMMANDS.items():
            result = sandbox.run(
                command,
                mounts={"/data": top / "data"},
                writable={"/out": top / "out"},
                files={"/work/hello.c": HELLO.encode()},
                timeout=120,
            )
            done[label] = [result.returncode, result.stdout.decode(), result.stderr.decode()]
            walls = result.walls
        done["left"] = sorted(path.name for path in (top / "out").iterdir())
        print(json.dumps({"done": done, "walls": walls}))


if __name__ == "__main__":
    main()
