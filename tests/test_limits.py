"""Every limit, with a guest that exceeds it, in each way that enforces it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import sandbox

ROOT = Path(__file__).resolve().parent.parent
# Limits are kept by a cgroup; without one by counting; files by tmpfs, and without namespaces by measuring.
WAYS = [(), ("cgroup",), ("cgroup", "namespaces"), ("cgroup", "namespaces", "landlock")]
MIB = 1 << 20


class Outcome(NamedTuple):
    status: int
    exceeded: Any
    stdout: str
    stderr: str
    walls: list[str]


def guest(refused: tuple[str, ...], program: str, **limits: Any) -> Outcome:
    asked = json.dumps({"program": program, "limits": limits})
    command = [sys.executable, "-m", "tests.refusing", *refused, "--", sys.executable, "-m", "tests.limits_main", asked]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return Outcome(*json.loads(done.stdout))


ways = pytest.mark.parametrize("refused", WAYS, ids="+".join)

# Bounded, so that a limit that does not hold costs the machine no more than 1 GiB.
MEMORY = {
    "one process": "kept = []\nfor _ in range(1024): kept.append(bytearray(b'x' * (1 << 20)))",
    "many processes": "import os, signal\nfor _ in range(40):\n if os.fork() == 0:\n  kept = b'x' * (10 << 20)\n  signal.pause()\n"
    "while any(os.wait()): pass",
    "shared mapping": "import mmap\nkept = []\nfor _ in range(1024):\n m = mmap.mmap(-1, 1 << 20)\n m.write(b'x' * (1 << 20))\n kept.append(m)",
    "memory file": "import os\nfd = os.memfd_create('x')\nfor _ in range(1024): os.write(fd, b'x' * (1 << 20))",
    "memory file without descriptor": "import mmap, os\nkept = []\nfor _ in range(1024):\n fd = os.memfd_create('x')\n "
    "os.ftruncate(fd, 1 << 20)\n m = mmap.mmap(fd, 1 << 20)\n os.close(fd)\n m.write(b'x' * (1 << 20))\n kept.append(m)",
}  # fmt: skip


@ways
@pytest.mark.parametrize("how", MEMORY)
def test_memory(refused: tuple[str, ...], how: str) -> None:
    """A guest that takes more than its memory is ended, or its allocation fails."""
    done = guest(refused, MEMORY[how] + "\nimport time\ntime.sleep(3)\nprint('never ended')", memory=200 * MIB)
    assert "never ended" not in done.stdout
    failed = done.status == 1 and any(word in done.stderr for word in ("MemoryError", "Cannot allocate", "OSError"))
    assert failed or (done.status < 0 and done.exceeded == "memory"), done


@ways
def test_memory_within(refused: tuple[str, ...]) -> None:
    done = guest(refused, "kept = b'x' * (50 << 20)\nprint(len(kept))", memory=200 * MIB)
    assert (done.status, done.exceeded, done.stdout) == (0, None, f"{50 << 20}\n")


QUIET = "import os, signal\ndef quiet():\n os.close(1); os.close(2); signal.pause()\nmade = 0\n"
PROCESSES = {
    "children": QUIET + "try:\n while made < 200:\n  if os.fork() == 0: quiet()\n  made += 1\nexcept OSError as error: print(error.errno)\nprint(made)",
    "chain": QUIET + "try:\n while made < 200:\n  if os.fork():\n   os.wait()\n   os._exit(0)\n  made += 1\nexcept OSError as error:\n print(error.errno, made)",
    "daemons": QUIET + "try:\n while made < 200:\n  if os.fork() == 0:\n   os.setsid()\n   os.fork()\n   quiet()\n  made += 1\n"
    "except OSError as error: print(error.errno)\nprint(made)",
}  # fmt: skip


@ways
@pytest.mark.parametrize("how", PROCESSES)
def test_processes(refused: tuple[str, ...], how: str) -> None:
    """No more processes than allowed: fork fails with EAGAIN, or the guest is ended."""
    done = guest(refused, PROCESSES[how] + "\nimport time\ntime.sleep(3)", processes=20)
    number, made = (done.stdout.split() + ["", ""])[:2]
    exact = done.exceeded is None and number == "11" and int(made) < 20
    assert exact or (done.status < 0 and done.exceeded == "processes"), done


@ways
def test_processes_within(refused: tuple[str, ...]) -> None:
    """Processes that end make room."""
    program = "import os\nfor _ in range(100):\n if os.fork() == 0: os._exit(0)\n os.wait()\nprint('fine')"
    done = guest(refused, program, processes=20)
    assert (done.status, done.exceeded, done.stdout) == (0, None, "fine\n")


@ways
def test_open_files(refused: tuple[str, ...]) -> None:
    program = "import os, resource\nmade = []\ntry:\n while True: made.append(os.open('/dev/null', 0))\nexcept OSError as e: print(e.errno, made[-1])\nprint(resource.getrlimit(resource.RLIMIT_NOFILE))\ntry: resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))\nexcept ValueError: print('stays')"
    done = guest(refused, program, open_files=32)
    assert (done.status, done.stdout) == (0, "24 31\n(32, 32)\nstays\n"), done


@ways
def test_file_size(refused: tuple[str, ...]) -> None:
    """SIGXFSZ as with ulimit -f, or EFBIG for those that ignore it."""
    program = "import signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_{})\nf = open('f', 'wb', 0)\nfor _ in range(1000): f.write(b'x' * 100000)"
    done = guest(refused, program.format("DFL"), file_size=MIB)
    assert (done.status, done.exceeded) == (-25, "file_size"), done
    done = guest(refused, program.format("IGN"), file_size=MIB)
    assert done.status == 1 and "File too large" in done.stderr, done
    done = guest(refused, "import os\nopen('f', 'w')\nos.truncate('f', 2 << 20)", file_size=MIB)
    assert done.status != 0, done


CPU = {
    "one process": "while True: pass",
    "children": "import os\nfor _ in range(3):\n if os.fork() == 0:\n  while True: pass\nwhile True: pass",
    "in turn": "import os, time\nwhile True:\n pid = os.fork()\n if pid == 0:\n  end = time.process_time() + 0.3\n  while time.process_time() < end: pass\n  os._exit(0)\n os.wait()",
    "threads": "import threading, hashlib\ndef f():\n while True: hashlib.sha256(b'x' * 1000000)\n[threading.Thread(target=f).start() for _ in range(2)]",
    "deaf": "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass",
}  # fmt: skip


@pytest.mark.parametrize("refused", [WAYS[0], WAYS[2]], ids="+".join)
@pytest.mark.parametrize("how", CPU)
def test_cpu_seconds(refused: tuple[str, ...], how: str) -> None:
    """Processor time counts for the whole guest, however it is spread."""
    done = guest(refused, CPU[how], cpu_seconds=1)
    assert done.status < 0 and done.exceeded == "cpu_seconds", done


WALL = {
    "sleeping": "import time\ntime.sleep(3)",
    "blocked": "import os\nos.mkfifo('f')\nos.open('f', 0)",
    "stopped": "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)",
    "busy": "import os\nwhile True: os.stat('.')",
}  # fmt: skip


@pytest.mark.parametrize("refused", [WAYS[0], WAYS[2]], ids="+".join)
@pytest.mark.parametrize("how", WALL)
def test_wall_seconds(refused: tuple[str, ...], how: str) -> None:
    done = guest(refused, WALL[how], wall_seconds=1)
    assert done.status < 0 and done.exceeded == "wall_seconds", done


BYTES = {
    "one file": "f = open('f', 'wb', 0)\nfor _ in range(8192): f.write(b'x' * 65536)",
    "many files": "n = 0\nwhile n < 8192:\n with open(f'f{n}', 'wb') as f: f.write(b'x' * 65536)\n n += 1",
    "two directories": "n = 0\nwhile n < 8192:\n with open(f\"{('/tmp', '/work')[n % 2]}/f{n}\", 'wb') as f: f.write(b'x' * 65536)\n n += 1",
    "without a name": "import os\nf = os.open('f', os.O_CREAT | os.O_RDWR)\nos.unlink('f')\nfor _ in range(8192): os.write(f, b'x' * 65536)",
    "allocated": "import os\nf = os.open('f', os.O_CREAT | os.O_RDWR)\nos.posix_fallocate(f, 0, 100 << 20)\nimport time\ntime.sleep(3)",
    "mapped": "import mmap, os\nf = os.open('f', os.O_CREAT | os.O_RDWR)\nos.ftruncate(f, 64 << 20)\nm = mmap.mmap(f, 64 << 20)\nfor n in range(0, 64 << 20, 4096): m[n] = 1\nimport time\ntime.sleep(3)",
    "shared memory": "f = open('/dev/shm/f', 'wb', 0)\nfor _ in range(8192): f.write(b'x' * 65536)",
}  # fmt: skip


@pytest.mark.parametrize("refused", [WAYS[0], WAYS[2]], ids="+".join)
@pytest.mark.parametrize("how", BYTES)
def test_scratch_bytes(refused: tuple[str, ...], how: str) -> None:
    """Writing ends with ENOSPC (SIGBUS for a map), or the guest is ended."""
    done = guest(refused, BYTES[how] + "\nimport time\ntime.sleep(3)\nprint('never ended')", scratch_bytes=16 * MIB)
    full = (done.status == 1 and "No space left" in done.stderr) or done.status == -7
    assert full or (done.status < 0 and done.exceeded == "scratch_bytes"), done


FILES = {
    "files": "n = 0\nwhile n < 50000:\n open(f'f{n}', 'w').close()\n n += 1",
    "directories": "import os\nn = 0\nwhile n < 50000:\n os.mkdir(f'd{n}')\n n += 1",
    "deep": "import os\nfor _ in range(50000):\n os.mkdir('d')\n os.chdir('d') if len(os.getcwd()) < 3000 else os.chdir('/tmp') if not os.path.exists('/tmp/d') else os.mkdir('x')",
    "links": "import os\nn = 0\nwhile n < 50000:\n os.symlink('x', f'l{n}')\n n += 1",
    "fifos": "import os\nn = 0\nwhile n < 50000:\n os.mkfifo(f'p{n}')\n n += 1",
    "open without a name": "import os, resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)\nwhile True: os.open('.', os.O_TMPFILE | os.O_RDWR)",
}  # fmt: skip


@pytest.mark.parametrize("refused", [WAYS[0], WAYS[2]], ids="+".join)
@pytest.mark.parametrize("how", FILES)
def test_scratch_files(refused: tuple[str, ...], how: str) -> None:
    done = guest(refused, FILES[how] + "\nimport time\ntime.sleep(3)\nprint('never ended')", scratch_files=500)
    full = done.status == 1 and any(word in done.stderr for word in ("No space left", "File exists", "Too many open"))
    assert full or (done.status < 0 and done.exceeded in ("scratch_files", "scratch_bytes")), done


def test_limits_count_for_the_sandbox() -> None:
    """Commands of one Sandbox share its limits."""
    with sandbox.Sandbox(limits=sandbox.Limits(scratch_bytes=8 * MIB)) as box:
        assert box.run("head -c 5000000 /dev/zero >a", shell=True).returncode == 0
        assert box.run("head -c 5000000 /dev/zero >b", shell=True).returncode != 0
        assert box.run("rm a b; head -c 5000000 /dev/zero >b", shell=True).returncode == 0


@pytest.mark.parametrize("to", ["stdout", "stderr", "terminal"])
def test_output_bytes(to: str) -> None:
    """What is printed without end is not kept without end: the guest ends, and what there was room for is given."""
    script = "yes >&2" if to == "stderr" else "yes"
    done = sandbox.run(script, shell=True, limits=sandbox.Limits(output_bytes=100000), pty=to == "terminal", timeout=60)
    kept = done.stderr if to == "stderr" else done.stdout
    assert done.exceeded == "output_bytes" and done.returncode < 0 and len(kept) == 100000
    exact = sandbox.run("head -c 100000 /dev/zero", shell=True, limits=sandbox.Limits(output_bytes=100000))
    assert exact.exceeded is None and exact.returncode == 0 and len(exact.stdout) == 100000
