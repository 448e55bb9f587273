"""Jobs of the interpreter that runs the benchmarks: as a guest it needs its own prefix, and nothing of a virtual environment."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

from ..runners import Job
from .case import Setup, Unmade
from .work_files import many_tests, wheelhouse

__all__ = ["collection", "computing", "database", "imports", "pip_install"]

PYTHON = os.path.realpath(sys.executable)
PREFIXES = [Path(os.path.realpath(sys.base_prefix))]
MODULES = "import argparse, asyncio, decimal, email.message, http.client, json, logging; print(json.dumps([1]))"
DATABASE = """
import sqlite3, sys
rows = int(sys.argv[1])
db = sqlite3.connect("bench.db", isolation_level=None)
db.execute("pragma synchronous = off")
db.execute("create table t (id integer primary key, city text, amount integer)")
for start in range(0, rows, 200):
    with db:
        db.execute("begin")
        db.executemany("insert into t values (?, ?, ?)", ((n, f"city {n % 97}", n * 7 % 1000) for n in range(start, start + 200)))
db.execute("create index by_city on t (city)")
for n in range(0, rows, 10):
    db.execute("update t set amount = amount + 1 where id = ?", (n,)) if n % 500 == 0 else db.execute("select * from t where id = ?", (n,)).fetchone()
print(db.execute("select count(*), sum(amount), count(distinct city) from t").fetchone())
"""


def python(directory: Path, *arguments: str, **env: str) -> Job:
    return Job([PYTHON, *arguments], directory, PREFIXES, env)


def imports(setup: Setup, directory: Path) -> Job:
    return python(directory, "-I", "-c", MODULES)


def computing(setup: Setup, directory: Path) -> Job:
    return python(directory, "-I", "-S", "-c", f"print(sum(i * i for i in range({setup.scale.rows * 100})))")


def database(setup: Setup, directory: Path) -> Job:
    (directory / "bench.py").write_text(DATABASE)
    return python(directory, "-I", "bench.py", str(setup.scale.rows))


def pip_install(setup: Setup, directory: Path) -> Job:
    if subprocess.run([PYTHON, "-m", "pip", "--version"], capture_output=True).returncode:
        raise Unmade("this Python has no pip")
    names = wheelhouse(directory / "wheels", setup.scale.packages)
    options = ["--quiet", "--no-index", "--no-cache-dir", "--disable-pip-version-check", "--root-user-action=ignore"]
    return python(
        directory, "-m", "pip", "install", *options, "--find-links", "wheels", "--target", "installed", *names
    )


def collection(setup: Setup, directory: Path) -> Job:
    site = Path(sysconfig.get_paths()["purelib"])
    if not (site / "pytest").is_dir():
        raise Unmade("this Python has no pytest")
    many_tests(directory, setup.scale.tests)
    settings = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(site)}
    options = ["--collect-only", "-qq", "-p", "no:cacheprovider", "--rootdir=."]
    return Job([PYTHON, "-m", "pytest", *options, "tests"], directory, [*PREFIXES, site], settings)
