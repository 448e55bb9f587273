"""An ordinary user, and the project installed where that user can reach it. Needs root."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Optional

USER = "sandbox-test"
ROOT = Path(__file__).resolve().parent.parent


def user() -> pwd.struct_passwd:
    """The user, made once and kept."""
    try:
        return pwd.getpwnam(USER)
    except KeyError:
        make = ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent", USER]
        subprocess.run(make, check=True)
        return pwd.getpwnam(USER)


def become(who: pwd.struct_passwd) -> list[str]:
    """What to put before a command."""
    return ["setpriv", f"--reuid={who.pw_uid}", f"--regid={who.pw_gid}", "--clear-groups", "--bounding-set=-all", "--"]


def environment(home: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1",
            "USER": USER, "LOGNAME": USER}  # fmt: skip


def reachable(who: pwd.struct_passwd) -> Optional[str]:
    """An interpreter that the user may run."""
    for python in ("/usr/bin/python3", os.path.realpath(sys.executable), *filter(None, [shutil.which("python3")])):
        test = [*become(who), python, "-Ic", "import ensurepip, venv, sys; assert sys.version_info >= (3, 9)"]
        if os.path.exists(python) and subprocess.run(test, check=False, stderr=subprocess.DEVNULL).returncode == 0:
            return python
    return None


def install(python: str, target: Path, *packages: str) -> str:
    """A virtual environment with these packages; its interpreter."""
    subprocess.run([python, "-m", "venv", str(target)], check=True)
    mine = str(target / "bin" / "python")
    pip = [mine, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--root-user-action=ignore", *packages]
    subprocess.run(pip, check=True, stdin=subprocess.DEVNULL)
    return mine


def clean_copy(target: Path) -> Path:
    """The project's own files, as a clean clone would have them; new ones included."""
    listing = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listing, capture_output=True, check=False)
    if done.returncode:  # not a clone: a release
        unwanted = shutil.ignore_patterns(".git", ".venv", "build", "*.egg-info", "*.so", "__pycache__")
        shutil.copytree(ROOT, target, ignore=unwanted, symlinks=True)
        return target
    for name in filter(None, done.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    return target


def build_wheel(top: Path) -> Path:
    """A wheel built from a clean copy of the sources, in `top`."""
    copy, out = clean_copy(top / "source"), top / "wheel"
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(out), str(copy)]
    subprocess.run(build, check=True, stdin=subprocess.DEVNULL)
    return next(out.glob("*.whl"))


def copy_tests(top: Path) -> Path:
    """The tests in a directory that everybody can read."""
    shutil.copytree(ROOT / "tests", top / "tests", ignore=shutil.ignore_patterns("build", "__pycache__"))
    shutil.copy2(ROOT / "pyproject.toml", top)
    return top
