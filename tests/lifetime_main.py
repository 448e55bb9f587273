"""A caller for test_lifetime.py: starts a guest with every kind of process that could outlive it, says "ready", and does
what its second argument names.

    python -m tests.lifetime_main MARKER WHAT"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import sandbox

GUEST = """
import os, signal, sys, threading
MARKER = sys.argv[1]

def child(function):
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.close(reader)
        try:
            function(lambda: os.write(writer, b"x"))
        finally:
            os._exit(1)
    os.close(writer)
    os.read(reader, 1)
    os.close(reader)

def sleeper(ready):
    ready()
    signal.pause()

def daemon(ready):
    os.setsid()
    if os.fork() == 0:
        ready()
        signal.pause()
    os._exit(0)

def deaf(ready):
    for number in range(1, 32):
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_IGN)
    ready()
    while True:
        signal.pause()

def stopped(ready):
    ready()
    os.kill(os.getpid(), signal.SIGSTOP)

def blocked(ready):
    os.mkfifo("fifo")
    ready()
    os.open("fifo", os.O_RDONLY)

def busy(ready):
    ready()
    while True:
        os.stat(".")

def threads(ready):
    for _ in range(5):
        threading.Thread(target=lambda: [os.stat(".") for _ in iter(int, 1)]).start()
    ready()
    signal.pause()

def runner(ready):
    ready()
    while True:
        if os.fork():
            os._exit(0)

def program(ready):
    ready()
    os.execv("/bin/sleep", ["sleep", "100000", MARKER])

def own_group(ready):
    os.setpgid(0, 0)
    ready()
    signal.pause()

chosen = [sleeper, daemon, deaf, stopped, blocked, busy, threads, own_group]
if "runner" in sys.argv:
    chosen.append(runner)
for function in chosen:
    child(function)
print("ready", flush=True)
signal.pause()
"""


def start(marker: str, *more: str) -> sandbox.Popen:
    command = [str(Path(sys.executable).resolve()), "-c", GUEST, marker, *more]
    process = sandbox.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    line = process.stdout.readline()
    if line != b"ready\n":
        raise SystemExit(f"the guest says {line!r}")
    return process


def main() -> None:
    warnings.simplefilter("ignore")
    marker, what = sys.argv[1:3]
    if what == "interrupted":  # in the midst of run()
        print("ready", flush=True)
        sandbox.run([str(Path(sys.executable).resolve()), "-c", GUEST, marker], stdout=1)
        raise SystemExit("run() came back")
    process = start(marker, *sys.argv[3:])
    if what == "forked" and os.fork() == 0:
        while True:
            signal.pause()
    print("ready", flush=True)
    if what in ("hold", "forked"):
        try:
            process.wait()
        except sandbox.GuestFault as fault:
            print("GuestFault", fault, flush=True)
            raise SystemExit(3) from None
    elif what == "raise":
        raise RuntimeError("on purpose")
    elif what == "hard exit":
        os._exit(0)
    elif what == "thread":
        threading.Thread(target=process.wait, daemon=True).start()
    elif what == "killed command":
        with process:
            process.kill()
            assert process.wait() == -signal.SIGKILL
        print("waited", flush=True)
        sys.stdin.read()
    elif what != "exit":
        raise SystemExit(f"what is {what}?")


if __name__ == "__main__":
    main()
