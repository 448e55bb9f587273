"""A guest that can write to the directory of the caller's program leaves modules there, for a proxy to import before its
walls stand: its own proxy's, or the next guest's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import sandbox
import sandbox._http_code
from sandbox import AllowHTTP, PolicyError, Sandbox
from tests.escape.attack import ordinary

pytestmark = ordinary

PLANTED = ("base64", "json", "h11", "h2", "OpenSSL", "typing_extensions", "certificates")
CALLER = """
import sys
from sandbox import AllowHTTP, Sandbox
with Sandbox(writable={"/work": sys.argv[1]}) as box:
    for name in sys.argv[3:]:
        box.write(f"/work/{name}.py", f"open({sys.argv[2]!r}, 'w').write(__name__)\\n".encode())
with Sandbox(network=[AllowHTTP("GET", "a.test/*")]) as box:
    print(len(box.run(["cat", "/etc/ssl/certs/19fd6623.0"]).stdout))
"""


@pytest.mark.parametrize("how", ["program", "directory"])
def test_nothing_of_it_runs(tmp_path: Path, how: str) -> None:
    """Neither where the caller is a file in that directory nor where that is its working directory."""
    work, mark = tmp_path / "work", tmp_path / "ran"
    work.mkdir()
    (work / "caller.py").write_text(CALLER)
    words = [str(work / "caller.py")] if how == "program" else ["-c", CALLER]
    env = {**os.environ, "PYTHONPATH": str(Path(sandbox.__file__).parent.parent)}
    done = subprocess.run([sys.executable, *words, str(work), str(mark), *PLANTED], cwd=work, env=env, capture_output=True, text=True)
    assert done.returncode == 0 and int(done.stdout) > 100, done
    assert (work / "base64.py").exists() and not mark.exists()


def test_they_run_with_the_guard_left_out(tmp_path: Path) -> None:
    """In a process that looks there first."""
    (tmp_path / "base64.py").write_text("print('ran')\nraise SystemExit")
    words = ["-I", "-S", "-c", "import sys; sys.path.insert(0, sys.argv[1]); import base64", str(tmp_path)]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True)
    assert done.stdout == "ran\n"


PARTS = {
    "the package": lambda: os.path.dirname(sandbox.__file__),
    "what holds it": lambda: os.path.dirname(os.path.dirname(sandbox.__file__)),
    "a part of a library": lambda: sandbox._http_code._FOUND["h11"],
    "a part of Python": lambda: os.path.dirname(os.__file__) + "/json",
    "the interpreter": lambda: os.path.dirname(sys.executable),
}


@pytest.mark.parametrize("part", PARTS)
def test_a_guest_that_could_write_the_code_has_no_proxy(part: str, tmp_path: Path) -> None:
    """By any path, links included."""
    source = PARTS[part]()
    link = tmp_path / "link"
    link.symlink_to(source)
    for each in (source, link):
        with pytest.raises(PolicyError, match="of which its HTTP proxy is made"):
            Sandbox(writable={"/mnt": each}, network=[AllowHTTP("GET", "a.test/*")])
    with Sandbox(mounts={"/mnt": source}, network=[AllowHTTP("GET", "a.test/*")]) as box:
        assert box.run(["true"]).returncode == 0


def test_a_link_to_the_code_is_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who may write where the interpreter's link is may lead it elsewhere."""
    (tmp_path / "python").symlink_to(sys.executable)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    sandbox._http_code._code.cache_clear()
    try:
        with pytest.raises(PolicyError):
            sandbox._http_code.check_writable([str(tmp_path)])
    finally:
        sandbox._http_code._code.cache_clear()
