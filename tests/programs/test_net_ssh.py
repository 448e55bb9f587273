"""ssh, and git and rsync over it, to a server of the host's under a rule; rsync's own daemon within the guest."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import Allow
from tests.helpers import Twin, free_port, program
from tests.programs.outside import Sshd, sshd


@pytest.fixture
def server(twin: Twin) -> Iterator[Sshd]:
    """The guest has its key, and may reach it."""
    folder = twin.here.parent / "sshd"
    folder.mkdir()
    with sshd(folder) as made:
        twin.mounts = {str(made.folder): str(made.folder)}
        twin.network = [Allow(f"tcp://127.0.0.1:{made.port}")]
        yield made


@pytest.fixture
def repository(twin: Twin) -> Path:
    """Of the host's: no guest sees it as a file."""
    path = twin.here.parent / "repository"
    script = f'git init -q -b main {path}; cd {path}; seq 20000 >numbers; git add .; git -c user.name=a -c user.email=a@b commit -qm one'
    subprocess.run(["sh", "-ec", script], check=True, env=twin.env)
    return path


def test_commands(twin: Twin, server: Sshd) -> None:
    """With input, output and status, many over one connection, and (a server of root's can) a terminal."""
    script = f"""
ssh='{server.ssh}'
echo input | $ssh 127.0.0.1 'cat; echo error >&2; exit 7' 2>&1; echo $?
$ssh -N -M -S $PWD/control 127.0.0.1 & until $ssh -S $PWD/control -O check 127.0.0.1 2>/dev/null; do sleep 0.05; done
for i in 1 2 3; do $ssh -S $PWD/control 127.0.0.1 echo over $i; done; $ssh -S $PWD/control -O exit 127.0.0.1 2>/dev/null; wait
$ssh -tt 127.0.0.1 'test -t 0 && echo terminal' 2>/dev/null
"""
    lines = [line.strip() for line in twin.inside(script).stdout.splitlines() if b"home directory" not in line]
    assert lines == [b"input", b"error", b"7", b"over 1", b"over 2", b"over 3", *[b"terminal"] * (os.getuid() == 0)]


def test_a_forwarded_port(twin: Twin, server: Sshd) -> None:
    """ssh listens in the guest for what it carries outside."""
    port = free_port()
    script = f"""
{server.ssh} -N -L {port}:127.0.0.1:{server.port} 127.0.0.1 2>/dev/null & forward=$!
until {server.client(port)} 127.0.0.1 echo forwarded 2>/dev/null; do sleep 0.1; done
kill $forward
"""
    assert twin.inside(script).stdout == b"forwarded\n"


def test_another_port_is_refused(twin: Twin, server: Sshd) -> None:
    """The server is at a port of its own; the usual one is the guest's."""
    done = twin.inside(f"{server.client(22)} 127.0.0.1 true")
    assert (done.status, b"Connection refused" in done.stderr) == (255, True), done


def test_git(twin: Twin, server: Sshd, repository: Path) -> None:
    """A clone, a commit that is pushed, and its fetch."""
    script = f"""
export GIT_SSH_COMMAND='{server.ssh}'; exec 2>errors
{program("git")} clone -q 127.0.0.1:{repository} copy || cat errors; cd copy; wc -l <numbers
echo more >>numbers; git -c user.name=a -c user.email=a@b commit -qam two; git push -q origin HEAD:other && git ls-remote -q origin | cut -f2
"""
    done = twin.inside(script)
    assert done.stdout.split() == [b"20000", b"HEAD", b"refs/heads/main", b"refs/heads/other"], done


def test_rsync_over_ssh(twin: Twin, server: Sshd, repository: Path) -> None:
    """Both ways; a second time only what has changed goes."""
    rsync = program("rsync")
    script = f"""
export RSYNC_RSH='{server.ssh}'; exec 2>errors
{rsync} -a 127.0.0.1:{repository}/numbers . && wc -l <numbers; echo more >>numbers
{rsync} -a --stats --no-whole-file numbers 127.0.0.1:{repository}/numbers | sed -n 's/Literal data: \\([0-9,]*\\) bytes/\\1/p'
"""
    done = twin.inside(script)
    lines, literal = done.stdout.split()
    assert lines == b"20000" and int(literal.replace(b",", b"")) < 2000, done
    assert (repository / "numbers").read_bytes().endswith(b"20000\nmore\n")


DAEMON = """
use chroot = no
port = {port}
address = 127.0.0.1
pid file = {here}/pid
log file = {here}/log
[files]
path = {here}/served
read only = yes
"""


@pytest.mark.skipif(os.getuid() == 0, reason="root's daemon sets its groups, which needs a capability; test_as_user runs it")
@pytest.mark.parametrize("network", ["loopback", [Allow("192.0.2.1:1")]], ids=["own namespace", "served"])
def test_rsync_daemon(twin: Twin, network: object) -> None:
    """A daemon and its clients, as processes of one guest."""
    rsync, port = program("rsync"), free_port()
    twin.network = network
    for name in ("one", "deep/two"):
        twin.write(f"served/{name}", name * 100)
    twin.write("conf", DAEMON.format(port=port, here=twin.here))
    script = f"""
{rsync} --daemon --config=conf --no-detach & daemon=$!
until {rsync} rsync://127.0.0.1:{port}/ 2>/dev/null; do sleep 0.05; done
{rsync} -a rsync://127.0.0.1:{port}/files/ copy && diff -r served copy && echo same
{rsync} copy/one rsync://127.0.0.1:{port}/files/three 2>&1 | grep -o 'read only'
kill $daemon; wait $daemon
"""
    assert twin.inside(script).stdout.split() == [b"files", b"same", b"read", b"only"]
