"""The Python of the system and the one that runs the tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.helpers import Twin, interpreter

PYTHONS = sorted({path for path in ("/usr/bin/python3", interpreter()) if os.path.exists(path)})
PROGRAMS = {
    "subprocess": """
import subprocess, sys
print(subprocess.run(["echo", "a"], capture_output=True).stdout, subprocess.run("exit 3", shell=True).returncode)
print(subprocess.run([sys.executable, "-c", "import os; print(len(os.listdir('/proc/self/fd')))"], capture_output=True).stdout)
with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as p: print(p.communicate(b"x" * 100000)[0] == b"x" * 100000)
try: subprocess.run(["/no/such"])
except FileNotFoundError as e: print(e)
try: subprocess.run(["sleep", "100"], timeout=0.2)
except subprocess.TimeoutExpired as e: print(e.cmd)
print(subprocess.run(["sh", "-c", "kill -9 $$"]).returncode, subprocess.run(["pwd"], cwd="/", capture_output=True).stdout)
print([p.wait() for p in [subprocess.Popen(["true"]) for _ in range(20)]])
""",
    "threading": """
import threading, os
lock, total = threading.Lock(), 0
def work(n):
    global total
    for i in range(50):
        with open(f"t{n}", "a") as f: f.write(f"{i}\\n")
        os.stat(f"t{n}")
        with lock: total += 1
ts = [threading.Thread(target=work, args=(n,)) for n in range(20)]
[t.start() for t in ts]; [t.join() for t in ts]
print(total, sum(len(open(f"t{n}").readlines()) for n in range(20)))
""",
    "multiprocessing spawn": """
import multiprocessing as m
from work import square, put
if __name__ == "__main__":
    m.set_start_method("spawn")
    with m.Pool(3) as pool: print(pool.map(square, range(20)))
    q, l, v = m.Queue(), m.Lock(), m.Value("i", 0)
    ps = [m.Process(target=put, args=(q, l, v, i)) for i in range(4)]
    [p.start() for p in ps]; print(sorted(q.get() for _ in ps)); [p.join() for p in ps]; print(v.value, [p.exitcode for p in ps])
""",
    "multiprocessing fork": """
import multiprocessing as m, os
from work import square, put
if __name__ == "__main__":
    m.set_start_method("fork")
    with m.Pool(3) as pool: print(pool.map(square, range(20)), pool.apply_async(os.getcwd).get() == os.getcwd())
    q, l, v = m.Queue(), m.Lock(), m.Value("i", 0)
    ps = [m.Process(target=put, args=(q, l, v, i)) for i in range(4)]
    [p.start() for p in ps]; print(sorted(q.get() for _ in ps)); [p.join() for p in ps]; print(v.value, [p.exitcode for p in ps])
    from multiprocessing import shared_memory
    s = shared_memory.SharedMemory(create=True, size=100); s.buf[:3] = b"abc"; t = shared_memory.SharedMemory(s.name); print(bytes(t.buf[:3])); t.close(); s.close(); s.unlink()
    with m.Manager() as g: d = g.dict(); d["k"] = 1; print(dict(d))
""",
    "asyncio subprocess": """
import asyncio
async def main():
    p = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1); print(await p.communicate(b"hello"))
    ps = await asyncio.gather(*[asyncio.create_subprocess_shell(f"exit {i}") for i in range(10)])
    print([await p.wait() for p in ps])
    p = await asyncio.create_subprocess_exec("sleep", "100"); p.kill(); print(await p.wait())
    print(await asyncio.to_thread(open("made", "w").write, "x"))
    r, w = await asyncio.open_unix_connection("s") if False else (None, None)
    async def serve(r, w): w.write(await r.readline()); w.close()
    s = await asyncio.start_unix_server(serve, "sock"); r, w = await asyncio.open_unix_connection("sock"); w.write(b"line\\n"); print(await r.read()); s.close()
asyncio.run(main())
""",
    "tempfile and shutil": """
import tempfile, shutil, os, pathlib
with tempfile.TemporaryDirectory(dir=".") as d:
    pathlib.Path(d, "x").write_text("1"); os.symlink("x", d + "/l"); shutil.copytree(d, "copy", symlinks=True); print(sorted(os.listdir("copy")))
with tempfile.NamedTemporaryFile() as f: f.write(b"x"); f.flush(); print(os.path.getsize(f.name), f.name.startswith("/tmp/"))
with tempfile.TemporaryFile() as f: f.write(b"x" * 100); f.seek(0); print(len(f.read()))
with tempfile.SpooledTemporaryFile(10) as f: f.write(b"y" * 50); print(f.tell())
print(shutil.make_archive("a", "gztar", "copy").endswith("a.tar.gz")); os.unlink("a.tar.gz"); shutil.move("copy", "moved"); shutil.rmtree("moved"); print(shutil.which("sh") is not None, shutil.disk_usage(".").total > 0)
print(list(pathlib.Path(".").glob("**/*")), pathlib.Path("missing").exists())
""",
    "sqlite3": """
import sqlite3, threading
c = sqlite3.connect("d.db"); c.execute("create table t(a)"); c.commit()
def work(n):
    d = sqlite3.connect("d.db", timeout=60)
    for i in range(10):
        with d: d.execute("insert into t values(?)", (i,))
ts = [threading.Thread(target=work, args=(n,)) for n in range(4)]
[t.start() for t in ts]; [t.join() for t in ts]
print(c.execute("select count(*) from t").fetchall()); c.execute("pragma journal_mode=wal"); c.close()
""",
    "mmap, select, signal, fcntl": """
import mmap, select, signal, fcntl, os
open("m", "wb").write(b"0" * 8192); f = open("m", "r+b"); m = mmap.mmap(f.fileno(), 0); m[:5] = b"hello"; m.flush(); print(open("m", "rb").read(5))
r, w = os.pipe(); e = select.epoll(); e.register(r); os.write(w, b"x"); print(len(e.poll(1)), select.select([r], [], [], 0)[0] == [r])
signal.signal(signal.SIGUSR1, lambda *_: print("usr1")); os.kill(os.getpid(), signal.SIGUSR1); fcntl.flock(f, fcntl.LOCK_EX); fcntl.lockf(f, fcntl.LOCK_EX)
print(signal.sigtimedwait([signal.SIGUSR2], 0.01))
""",
    "uncaught": "import os\nos.mkdir('x')\nraise SystemExit(os.stat('missing'))",
    "network": """
import socket
for f, a in ((socket.AF_INET, ("127.0.0.1", 9)), (socket.AF_INET6, ("::1", 9))):
    try: s = socket.socket(f); s.settimeout(1); s.connect(a)
    except OSError: print("refused")
try: socket.create_connection(("localhost", 9), 1)
except OSError: print("refused")
""",
}  # fmt: skip
WORK = "def square(x):\n    return x * x\ndef put(q, l, v, i):\n    q.put(i)\n    with l: v.value += i\n"


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("name", PROGRAMS)
def test_python(twin: Twin, python: str, name: str) -> None:
    twin.write("main.py", PROGRAMS[name])
    twin.write("work.py", WORK)
    status = 1 if name == "uncaught" else 0
    twin.same([python, "-B", "main.py"], status=status, trees=name != "sqlite3")


def _project(twin: Twin) -> None:
    twin.write("thing/setup.cfg", "[metadata]\nname = thing\nversion = 1.0\n[options]\npackages = thing\n[options.entry_points]\n"
               "console_scripts =\n  say-thing = thing:say\n")  # fmt: skip
    twin.write("thing/pyproject.toml", '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n')
    twin.write("thing/thing/__init__.py", "def say():\n    print('a thing')\n")


def _wheel(folder: Path) -> None:
    """A wheel by hand: no registry is needed to build it."""
    import zipfile

    with zipfile.ZipFile(folder / "thing-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("thing/__init__.py", "def say():\n    print('a thing')\n")
        archive.writestr("thing-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n")
        archive.writestr("thing-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("thing-1.0.dist-info/entry_points.txt", "[console_scripts]\nsay-thing = thing:say\n")
        archive.writestr("thing-1.0.dist-info/RECORD", "")


@pytest.mark.parametrize("python", PYTHONS)
def test_venv_and_pip(twin: Twin, python: str) -> None:
    """A virtual environment, and pip installs a local wheel into it and runs its script."""
    for folder in (twin.here, twin.there):
        _wheel(folder)
    probe = twin.native([python, "-c", "import ensurepip, venv"])
    if probe.status:
        pytest.skip(f"{python} has no ensurepip")
    script = f"{python} -m venv env && env/bin/pip install -q --no-index --disable-pip-version-check ./thing-1.0-py3-none-any.whl " \
             "&& env/bin/say-thing && env/bin/pip list --disable-pip-version-check | grep -c thing && env/bin/pip uninstall -qy thing; ls env/bin"  # fmt: skip
    twin.same(script, trees=False)
