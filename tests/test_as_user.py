"""The tests again, as an ordinary user and as root with fewer privileges. Needs root."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, install

USER = "sandbox-test"
CHOSEN = ["tests/programs", "tests/syscalls", "tests/test_walls.py", "tests/test_lifetime.py", "tests/test_limits.py",
          "tests/test_differential.py"]  # fmt: skip

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root to become another user")


@pytest.fixture(scope="session")
def user() -> pwd.struct_passwd:
    """An ordinary user, made once and kept."""
    try:
        return pwd.getpwnam(USER)
    except KeyError:
        make = ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent", USER]
        subprocess.run(make, check=True)
        return pwd.getpwnam(USER)


def _as(user: pwd.struct_passwd) -> list[str]:
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--bounding-set=-all", "--"]


def _reachable(user: pwd.struct_passwd) -> str:
    """An interpreter that the user may run."""
    for python in ("/usr/bin/python3", os.path.realpath(sys.executable), *filter(None, [shutil.which("python3")])):
        test = [*_as(user), python, "-Ic", "import ensurepip, venv, sys; assert sys.version_info >= (3, 9)"]
        if os.path.exists(python) and subprocess.run(test, check=False, stderr=subprocess.DEVNULL).returncode == 0:
            return python
    pytest.skip("no Python with venv that an ordinary user can reach")


@pytest.fixture(scope="session")
def project(shared_dir: Path, wheel: Path, user: pwd.struct_passwd) -> tuple[str, Path]:
    """An environment and the tests in a directory that the user can read; the interpreter and the directory."""
    python = install(_reachable(user), shared_dir / "env", str(wheel), "pytest", "hypothesis")
    tests = shared_dir / "project" / "tests"
    shutil.copytree(ROOT / "tests", tests, ignore=shutil.ignore_patterns("build", "__pycache__"))
    shutil.copy2(ROOT / "pyproject.toml", tests.parent)
    return python, tests.parent


def _report(command: list[str], cwd: Path, env: dict[str, str]) -> None:
    done = subprocess.run(command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors="replace", stdin=subprocess.DEVNULL, check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout[-20000:]


@pytest.mark.parametrize("chosen", CHOSEN)
def test_as_an_ordinary_user(project: tuple[str, Path], user: pwd.struct_passwd, tmp_path: Path, chosen: str) -> None:
    python, folder = project
    home = tmp_path / "home"
    home.mkdir()
    for path in (tmp_path, *list(tmp_path.parents)[:2]):  # pytest's own directories are closed to others
        path.chmod(path.stat().st_mode | 0o111)
    os.chown(home, user.pw_uid, user.pw_gid)
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1",
           "USER": USER, "LOGNAME": USER}  # fmt: skip
    pytest_command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--basetemp={home}/tmp", chosen]
    _report([*_as(user), *pytest_command], folder, env)


@pytest.mark.parametrize("chosen", ["tests/programs/test_shell.py", "tests/test_limits.py"])
def test_as_root_without_sys_resource(chosen: str) -> None:
    """Containers often have root without CAP_SYS_RESOURCE."""
    command = ["setpriv", "--bounding-set=-sys_resource", "--", sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    _report([*command, chosen], ROOT, dict(os.environ))
