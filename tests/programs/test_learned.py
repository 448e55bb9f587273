"""A policy learned from a native run is enough inside, and grants nothing broad."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import sandbox
from sandbox._learn._broad import is_broad
from tests.helpers import Twin, free_port, interpreter, program, shell
from tests.programs.test_python import _wheel

pytest.importorskip("ptrace")


def learned(twin: Twin, script: str) -> sandbox.Learned:
    """Learn from a script in `here`."""
    made = sandbox.learn(shell(script), cwd=twin.here, env=twin.env, stdout=subprocess.DEVNULL)
    assert made.returncode == 0
    text = made.to_toml()
    assert sandbox.Policy.loads(text) == made.policy
    assert [place for place in (*made.policy.mounts, *made.policy.scratch) if is_broad(place.target)] == [], text
    return made


def inside(script: str, made: sandbox.Learned) -> subprocess.CompletedProcess[bytes]:
    done = sandbox.run(shell(script), policy=made.policy, cwd=made.cwd, timeout=120)
    assert done.returncode == 0, (done, made.to_toml())
    return subprocess.CompletedProcess(script, done.returncode, done.stdout, done.stderr)


def fails_without(script: str, made: sandbox.Learned) -> None:
    """It is the learned lines that let it run."""
    bare = sandbox.Policy(env=made.policy.env)
    assert sandbox.run(shell(script), policy=bare, timeout=120).returncode != 0


def _git(twin: Twin) -> str:
    git = program("git")
    twin.write("input", "x\n")
    return f"""set -e; cp input text; rm -rf repo copy; {git} init -q repo; cd repo; mv ../text file; {git} add .
{git} -c user.name=a -c user.email=a@b commit -qm one; {git} gc -q; {git} status --short; cd ..
{git} clone -q repo copy; cat copy/file"""


def _pip(twin: Twin) -> str:
    _wheel(twin.here)
    python = interpreter()
    if twin.native([python, "-c", "import ensurepip, venv"]).status:
        pytest.skip(f"{python} has no ensurepip")
    return f"""set -e; rm -rf env; {python} -m venv env
env/bin/pip install -q --no-index --disable-pip-version-check ./thing-1.0-py3-none-any.whl; env/bin/say-thing"""


def _gcc(twin: Twin) -> str:
    twin.write("lib/value.h", "#define VALUE 7\n")
    twin.write("main.c", '#include <stdio.h>\n#include "value.h"\nint main(void) { printf("%d\\n", VALUE); }\n')
    return f"set -e; {program('gcc')} -O1 -Ilib -o main main.c; ./main"


def _numpy(twin: Twin) -> str:
    if subprocess.run([sys.executable, "-c", "import numpy"], capture_output=True).returncode:
        pytest.skip("no numpy on this machine")
    twin.write("main.py", "import numpy as n\nn.save('a', n.eye(50))\nprint(n.linalg.inv(n.load('a.npy')).sum())\n")
    return f"{sys.executable} main.py"


def _redis(twin: Twin) -> str:
    redis, tool, port = program("redis-server"), program("redis-cli"), free_port()
    return f"""{redis} --port {port} --bind 127.0.0.1 -::1 --dir $PWD --daemonize yes --pidfile $PWD/pid --logfile $PWD/log >/dev/null
until {tool} -p {port} ping >/dev/null 2>&1; do sleep 0.05; done
{tool} -p {port} set key value; {tool} -p {port} get key; {tool} -p {port} shutdown save; while [ -e pid ]; do sleep 0.05; done"""


NGINX = """
{user} worker_processes 2; pid {here}/pid; error_log {here}/error.log;
events {{}}
http {{ access_log off; client_body_temp_path {here}/1; proxy_temp_path {here}/2; fastcgi_temp_path {here}/3; uwsgi_temp_path {here}/4; scgi_temp_path {here}/5;
  server {{ listen 127.0.0.1:{port}; location / {{ root {here}/www; }} }} }}
"""


def _nginx(twin: Twin) -> str:
    nginx, curl, port = program("nginx"), program("curl"), free_port()
    twin.write("www/page", "x" * 1000)
    twin.write("conf", NGINX.format(here=twin.here, port=port, user="user root root;" if os.getuid() == 0 else ""))
    return f"""{nginx} -c $PWD/conf -e $PWD/error.log || exit 9
until {curl} -s -o /dev/null http://127.0.0.1:{port}/page; do sleep 0.05; done
for i in 1 2 3; do {curl} -s http://127.0.0.1:{port}/page | wc -c; done; kill $(cat pid); while [ -e pid ]; do sleep 0.05; done"""


def _node(twin: Twin) -> str:
    node = program("node")
    twin.write("lib/a.js", "module.exports = require('fs').readFileSync(__dirname + '/data', 'utf8').trim()")
    twin.write("lib/data", "data\n")
    twin.write("main.js", "require('fs/promises').writeFile('out', require('./lib/a')).then(() => console.log(require('./lib/a')))")
    return f"{node} main.js && cat out"


PROGRAMS = {"git": _git, "pip": _pip, "gcc": _gcc, "numpy": _numpy, "redis": _redis, "nginx": _nginx, "node": _node}


@pytest.mark.parametrize("name", PROGRAMS)
def test_learned_policy_is_enough(twin: Twin, name: str) -> None:
    make: Callable[[Twin], str] = PROGRAMS[name]
    script = make(twin)
    native = twin.native(script)
    assert native.status == 0, native
    made = learned(twin, script)
    serves = name in ("redis", "nginx")
    if not serves:  # which would wait for their server for ever
        fails_without(script, made)
    assert inside(script, made).stdout == native.stdout
    assert made.policy.network == ("loopback" if serves else "none")


def test_policy_of_a_read_only_run_writes_nothing(twin: Twin) -> None:
    """What only reads is granted nothing writable, and cannot write."""
    git = program("git")
    assert twin.native(f"{git} init -q; echo x >f; {git} add .; {git} -c user.name=a -c user.email=a@b commit -qm one").status == 0
    made = learned(twin, f"{git} log --format=%s; {git} cat-file -p HEAD:f")
    assert [mount.target for mount in made.policy.mounts if mount.writable] == []
    assert inside(f"{git} log --format=%s", made).stdout == b"one\n"
    assert sandbox.run(shell("echo y >f"), policy=made.policy, cwd=made.cwd).returncode != 0


def test_learned_from_two_runs(twin: Twin) -> None:
    """Each of two runs fails under what was learned of the other, and both run under what both need."""
    one, two = "cat a/one", "cat b/two && echo x >b/made"
    twin.write("a/one", "1\n")
    twin.write("b/two", "2\n")
    first, second = learned(twin, one), learned(twin, two)
    assert sandbox.run(shell(two), policy=first.policy, cwd=first.cwd).returncode
    assert sandbox.run(shell(one), policy=second.policy, cwd=second.cwd).returncode
    both = first | second
    assert inside(one, both).stdout + inside(two, both).stdout == b"1\n2\n"
    assert Path(twin.here, "b/made").read_bytes() == b"x\n"
