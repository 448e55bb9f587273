"""Jobs of compilers, git, archivers, shells and servers."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from pathlib import Path

from .._build import HERE
from ..runners import Failed, Job
from .case import Reading, Setup
from .work_files import author, c_project, npm_tarballs, shared_tree, tree
from .work_python import PREFIXES, PYTHON

__all__ = [
    *("checkout", "clone", "compiling", "find", "grep", "make", "nginx", "npm_ci", "packing", "pipelines", "redis", "redis_rate"),
    *("rated", "served", "shell_loop", "site", "status", "unpacking"),
]

NGINX = """{user}worker_processes 1;
pid {top}/nginx.pid;
error_log {top}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {top}/t1; proxy_temp_path {top}/t2; fastcgi_temp_path {top}/t3; uwsgi_temp_path {top}/t4; scgi_temp_path {top}/t5;
    server {{ listen 127.0.0.1:{port}; root {top}/html; }}
}}
"""
NGINX_STARTS = "nginx -p {top} -e {top}/error.log -c {top}/nginx.conf\n"
NGINX_STOPS = """nginx -p {top} -e {top}/error.log -c {top}/nginx.conf -s stop; turns=0
while [ -e nginx.pid ]; do turns=$((turns+1)); [ $turns -lt 100 ] || {{ tail -n 3 error.log >&2; exit 1; }}; sleep 0.02; done
"""
WRK = """{python} -I -S -c '{fetch}' {port}
wrk -t1 -c8 -d{seconds}s http://127.0.0.1:{port}/index.html
"""
FETCH = """
import socket, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as page:
    page.sendall(b"GET /index.html HTTP/1.0\\r\\n\\r\\n")
    sys.stdout.write(b"".join(iter(lambda: page.recv(4096), b"")).partition(b"\\r\\n\\r\\n")[2].decode())
"""
REDIS = """redis-server --port {port} --bind 127.0.0.1 --save '' --logfile redis.log & turns=0
until redis-cli -p {port} ping 2>/dev/null | grep -q PONG; do turns=$((turns+1)); [ $turns -lt 500 ] || exit 1; sleep 0.02; done
redis-benchmark -p {port} -n {requests} -c 10 -t set,get {how}
redis-cli -p {port} set answer 'forty two'
redis-cli -p {port} get answer
redis-cli -p {port} dbsize
redis-cli -p {port} info commandstats | sed -n 's/^cmdstat_\\([gs]et\\):\\(calls=[0-9]*\\),.*,\\(rejected_calls=.*\\)/\\1 \\2 \\3/p' | sort
redis-cli -p {port} shutdown nosave
wait
"""
REDIS_NEEDS = ("redis-server", "redis-cli", "redis-benchmark")


def shell(directory: Path, script: str, readable: tuple[Path, ...] = (), *, network: bool = False) -> Job:
    return Job(["/bin/sh", "-ec", script], directory, readable, network=network)


def compiling(setup: Setup, directory: Path) -> Job:
    for name in ("floor.c", "floor.h"):
        shutil.copy(HERE / "guests" / name, directory)
    return shell(directory, "gcc -std=c11 -D_GNU_SOURCE -O2 -c floor.c -o floor.o")


def make(setup: Setup, directory: Path) -> Job:
    c_project(directory, setup.scale.units)
    return shell(directory, "make -s -j2 && ./program")


def _repository(setup: Setup, directory: Path) -> Path:
    top = directory / "repository"
    top.mkdir()
    tree(top, setup.scale.tracked)
    _git(top, "init -q -b one")
    _git(top, "add -A")
    _git(top, "commit -q -m first")
    return top


def _git(top: Path, command: str) -> None:
    subprocess.run(["git", *command.split()], cwd=top, env={**os.environ, **author()}, check=True, capture_output=True)


def _in_git(directory: Path, script: str) -> Job:
    return Job(["/bin/sh", "-ec", script], directory, env=author())


def status(setup: Setup, directory: Path) -> Job:
    top = _repository(setup, directory)
    next(top.rglob("*.txt")).write_text("changed\n")
    return Job([shutil.which("git") or "git", "status", "--short"], top, env=author())


def clone(setup: Setup, directory: Path) -> Job:
    _repository(setup, directory)
    return _in_git(directory, "git clone -q repository copy && git -C copy rev-parse HEAD")


def checkout(setup: Setup, directory: Path) -> Job:
    """There and back, between two branches that differ in every second file."""
    top = _repository(setup, directory)
    _git(top, "checkout -q -b two")
    for path in sorted(top.rglob("*.txt"))[::2]:
        path.write_text("two\n")
    _git(top, "commit -q -a -m second")
    script = "git checkout -q one; git rev-parse HEAD; git checkout -q two; git rev-parse HEAD"
    return _in_git(directory, f"cd repository; {script}")


def find(setup: Setup, directory: Path) -> Job:
    top = shared_tree(setup)
    return shell(directory, f"find {top} -type f -name '*7.txt' -size -9 | sort | tail -n 3", (top,))


def grep(setup: Setup, directory: Path) -> Job:
    top = shared_tree(setup)
    return shell(directory, f"grep -rlx 'line 7' {top}", (top,))


def packing(setup: Setup, directory: Path) -> Job:
    top = shared_tree(setup)
    return shell(directory, f"tar -C {top} --sort=name --numeric-owner -cf packed.tar .", (top,))


def unpacking(setup: Setup, directory: Path) -> Job:
    subprocess.run(["tar", "-C", shared_tree(setup), "-cf", directory / "packed.tar", "."], check=True)
    return shell(directory, "mkdir unpacked && tar -C unpacked -xf packed.tar")


def shell_loop(setup: Setup, directory: Path) -> Job:
    return shell(directory, f"i=0; while [ $i -lt {setup.scale.turns} ]; do /bin/true; i=$((i+1)); done; echo $i")


def pipelines(setup: Setup, directory: Path) -> Job:
    turns = range(max(1, setup.scale.turns // 20))
    return shell(directory, f"for i in {' '.join(map(str, turns))}; do seq 20000 | sort -n | uniq -c | wc -l; done")


def npm_ci(setup: Setup, directory: Path) -> Job:
    """From a cache that is filled here: the lock file's addresses lead nowhere."""
    tarballs = npm_tarballs(directory, setup.scale.packages)
    quiet = "--loglevel=error --logs-max=0 --no-audit --no-fund --ignore-scripts --no-update-notifier --cache ./cache"
    fill = ["npm", "cache", "add", *quiet.split(), *map(str, tarballs)]
    subprocess.run(fill, cwd=directory, env={**os.environ, "HOME": str(directory)}, check=True, capture_output=True)
    return shell(directory, f"npm ci --offline {quiet} >/dev/null")


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def redis(setup: Setup, directory: Path) -> Job:
    return _redis(directory, requests=setup.scale.requests, how="-q >/dev/null")


def redis_rate(setup: Setup, directory: Path, *, pipelined: int) -> Job:
    """The same load, of which redis-benchmark tells the rates."""
    requests = max(10_000, 10 * setup.scale.requests)  # fewer are over before its clock ticks
    return _redis(directory, requests=requests, how=f"-P {pipelined} --csv")


def _redis(directory: Path, **settings: object) -> Job:
    return shell(directory, REDIS.format(port=_free_port(), **settings), network=True)


def rated(stdout: bytes) -> Reading:
    """Microseconds for each SET and each GET, of what redis-benchmark says. The rest, what the server has done and kept, is evidence."""
    rates = {call: float(rate) for call, rate in re.findall(rb'^"([GS]ET)","([\d.]+)"', stdout, re.MULTILINE)}
    if not all(rates.get(call) for call in (b"SET", b"GET")):
        raise Failed(f"redis-benchmark: {stdout[-200:].decode(errors='replace')}")
    done = [line for line in stdout.splitlines() if not line.startswith(b'"')]
    return Reading((1e6 / rates[b"SET"], 1e6 / rates[b"GET"]), b"\n".join(done))


def site(directory: Path) -> dict[str, object]:
    """A page, nginx's settings for it, and what the scripts here are filled with."""
    (directory / "html").mkdir(exist_ok=True)
    (directory / "html" / "index.html").write_text("hello\n" * 100)
    settings: dict[str, object] = {"top": directory, "port": _free_port(), "python": PYTHON, "fetch": FETCH}
    user = "user root;\n" if os.getuid() == 0 else ""
    (directory / "nginx.conf").write_text(NGINX.format(user=user, **settings))
    return settings


def nginx(setup: Setup, directory: Path) -> Job:
    script = (NGINX_STARTS + WRK + NGINX_STOPS).format(seconds=setup.scale.seconds, **site(directory))
    return shell(directory, script, tuple(PREFIXES), network=True)


def served(stdout: bytes) -> Reading:
    """Microseconds for each request, of what wrk says; the page that was fetched before is evidence."""
    page, _, said = stdout.partition(b"Running ")
    rate = re.search(rb"Requests/sec:\s+([\d.]+)", said)
    wrong = re.search(rb"(Non-2xx|Socket errors).*", said)
    if rate is None or float(rate[1]) == 0 or wrong:
        raise Failed(f"wrk: {(wrong.group() if wrong else stdout[-200:]).decode(errors='replace')}")
    return Reading((1e6 / float(rate[1]),), page)
