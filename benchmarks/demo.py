"""The main job, as `make demo` shows it: run programs that nobody vouches for, on real data, and see what they did.

An analysis script and a shell pipeline get one directory to read and one to write. The script does its work, and then
looks around: the caller's files, the network, other processes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import sandbox

SALES = "city,amount\nOslo,120\nLima,80\nOslo,45\nKyoto,210\nLima,15\n"

UNTRUSTED = """
import csv, json, os, socket, sys
totals = {}
for row in csv.DictReader(open("/data/sales.csv")):
    totals[row["city"]] = totals.get(row["city"], 0) + int(row["amount"])
json.dump(totals, open("/out/totals.json", "w"))
print("totals:", totals)

def attempt(what, act):
    try:
        print(f"{what}: got {act()!r}")
    except OSError as error:
        print(f"{what}: {error.strerror}")

secret, key, caller = sys.argv[1:]
attempt("read a file beside the input", lambda: open(secret).read())
attempt("read the caller's key", lambda: open(key).read())
attempt("overwrite the input", lambda: open("/data/sales.csv", "w"))
attempt("open a connection", lambda: socket.create_connection(("192.0.2.1", 443), timeout=1))
attempt("kill the caller", lambda: os.kill(int(caller), 9))
sys.exit(3)
"""


def say(title: str) -> None:
    print(f"\n--- {title}", flush=True)


def show(result: sandbox.Result) -> None:
    print(result.stdout, end="")
    print(result.stderr, end="", file=sys.stderr)
    usage = result.usage
    print(
        f"exit status {result.returncode}, {result.duration:.3f} s, processor {usage.user + usage.system:.3f} s, ",
        end="",
    )
    print(f"memory {usage.peak_memory / 2**20:.1f} MiB")


def main() -> int:
    with tempfile.TemporaryDirectory() as scratch:
        data, out, secret, audit = (Path(scratch, name) for name in ("data", "out", "secret.txt", "audit"))
        data.mkdir()
        out.mkdir()
        (data / "sales.csv").write_text(SALES)
        secret.write_text("nobody's business")

        with sandbox.Sandbox(mounts={"/data": data}, writable={"/out": out}, audit=audit) as box:
            say("an untrusted Python program")
            key = os.path.expanduser("~/.ssh/id_ed25519")
            result = box.run(["python3", "-c", UNTRUSTED, str(secret), key, str(os.getpid())], text=True)
            show(result)

            say("a shell pipeline")
            pipeline = "tail -n +2 /data/sales.csv | cut -d, -f1 | sort | uniq -c | sort -rn | tee /out/cities.txt"
            show(box.run(["sh", "-c", pipeline], text=True, check=True))

        say("what it left in the one directory that it could write")
        for path in sorted(out.iterdir()):
            print(f"{path.name}: {path.read_text().split()}")
        say("the walls that stood")
        print(", ".join(result.walls) or "the filters, no_new_privs and no capabilities only")
        for title, wanted in (
            ("what was refused", ["--verdict", "denied"]),
            ("who asked for it", ["--path", "secret.txt"]),
        ):
            say(f"the audit trail, {title}: sandbox audit FILE {' '.join(wanted)}")
            subprocess.run([sys.executable, "-m", "sandbox", "audit", str(audit), *wanted], check=True)
        say("the audit trail, in counts: Result.audit")
        print(f"{'call':<20}{'done':>8}{'failed':>8}{'denied':>8}")
        for call, (denied, failed, done) in result.audit.calls.items():
            print(f"{call:<20}{done:>8}{failed:>8}{denied:>8}")
        return 0 if (data / "sales.csv").read_text() == SALES else 1


if __name__ == "__main__":
    sys.exit(main())
