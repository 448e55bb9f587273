"""The tests again, as an ordinary user and as root with fewer privileges. Needs root."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import other_user
from tests.other_user import ROOT

CHOSEN = ["tests/programs", "tests/syscalls", "tests/test_walls.py", "tests/test_lifetime.py", "tests/test_limits.py",
          "tests/test_differential.py", "tests/test_loopback.py", "tests/test_internet.py", "tests/test_internet_names.py", "tests/test_names_audit.py", "tests/test_byte_limits.py", "tests/test_relay.py", "tests/test_connect.py", "tests/test_ports.py", "tests/test_socket_options.py", "tests/test_publish.py", "tests/test_publish_udp.py", "tests/escape/test_host_sockets.py", "tests/escape/test_path_only.py", "tests/escape/test_pipe_ends.py", "tests/escape/test_terminals.py", "tests/escape/test_proc_fd_reopen.py", "tests/escape/test_sentry_memory.py", "tests/escape/test_scm_rights.py",
          *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("tests/escape/test_net_*.py")),
          "tests/test_http_proxy.py", "tests/test_http_trust.py", *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("tests/escape/test_http_*.py"))]  # fmt: skip
CAP_SYS_RESOURCE = 24

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root to become another user")


@pytest.fixture(scope="session")
def project(shared_dir: Path, wheel: Path) -> tuple[str, Path]:
    """An environment with the project in it, and a copy of the tests, both readable for all."""
    python = other_user.reachable(other_user.user())
    if python is None:
        pytest.skip("no Python with venv that an ordinary user can reach")
    mine = other_user.install(python, shared_dir / "env", f"{wheel}[http]", "pytest", "hypothesis")
    folder = shared_dir / "project"
    folder.mkdir()
    return mine, other_user.copy_tests(folder)


def _report(command: list[str], cwd: Path, env: dict[str, str]) -> None:
    done = subprocess.run(command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors="replace", stdin=subprocess.DEVNULL, check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout[-20000:]


@pytest.mark.parametrize("chosen", CHOSEN)
def test_as_an_ordinary_user(project: tuple[str, Path], shared_dir: Path, chosen: str) -> None:
    python, folder = project
    user = other_user.user()
    home = shared_dir / f"home-{os.path.basename(chosen)}"
    home.mkdir()
    os.chown(home, user.pw_uid, user.pw_gid)
    tests = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--basetemp={home}/tmp", chosen]
    _report([*other_user.become(user), *tests], folder, other_user.environment(home))


def _has_sys_resource() -> bool:
    fields = dict(line.split(":\t") for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
    return bool(int(fields["CapEff"], 16) >> CAP_SYS_RESOURCE & 1)


@pytest.mark.parametrize("chosen", ["tests/programs/test_shell.py", "tests/test_limits.py"])
def test_as_root_without_sys_resource(chosen: str) -> None:
    """Containers often have root without CAP_SYS_RESOURCE."""
    if not _has_sys_resource():
        pytest.skip("root has no CAP_SYS_RESOURCE here: all tests have run so")
    command = ["setpriv", "--bounding-set=-sys_resource", "--", sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    _report([*command, chosen], ROOT, dict(os.environ))
