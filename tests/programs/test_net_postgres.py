"""PostgreSQL inside: its unix socket and TCP within the guest, and a benchmark outside by a published port."""

from __future__ import annotations

import os
import subprocess
from glob import glob
from typing import Any

import pytest

import sandbox
from sandbox import Allow, Publish
from tests.helpers import Twin, free_port, program

pytestmark = pytest.mark.skipif(os.getuid() == 0, reason="initdb refuses root; test_as_user runs this as another user")
SERVER = """
PATH=$PATH:{bin}; exec 2>&1
initdb -D data -A {auth} -U postgres --no-sync >log || cat log
postgres -D data -k $PWD -p 5432 -c listen_addresses={hosts} -c fsync=off >log 2>&1 & server=$!
until pg_isready -q -h $PWD; do kill -0 $server || exit 1; sleep 0.05; done
export PGUSER=postgres PGDATABASE=postgres
{client}
kill -INT $server; wait $server; grep -c 'database system is shut down' log
"""


def binaries() -> str:
    """Where initdb and postgres are: no path of a shell's has them on Debian."""
    folders = sorted(glob("/usr/lib/postgresql/*/bin"))
    return os.path.dirname(program("initdb", *reversed(folders)))


@pytest.fixture(params=["loopback", [Allow("192.0.2.1:1")]], ids=["own namespace", "served"])
def network(request: pytest.FixtureRequest) -> Any:
    return request.param


def ran(twin: Twin, client: str, *, auth: str = "trust", hosts: str = "127.0.0.1,::1") -> list[str]:
    done = twin.inside(SERVER.format(bin=binaries(), client=client, auth=auth, hosts=hosts))
    assert done.status == 0, done
    return done.stdout.decode().split()


def test_clients(twin: Twin, network: Any) -> None:
    """By path, by IPv4 and IPv6; many at once; a notification; a copy."""
    twin.network = network
    ask = "psql -Atqc"
    client = f"""
for host in $PWD 127.0.0.1 ::1 localhost; do {ask} 'select 40 + 2' -h $host; done
{ask} 'create table t(n int)' -h $PWD
for i in $(seq 10); do {ask} "insert into t select $i from generate_series(1, 100)" -h 127.0.0.1 & clients="$clients $!"; done; wait $clients
{ask} 'copy t to stdout' -h ::1 | wc -l; {ask} 'select count(*), sum(n) from t' -h $PWD
{ask} "listen done; notify done, 'told'" -h 127.0.0.1 | grep -o '"told"'
"""
    assert ran(twin, client) == ["42"] * 4 + ["1000", "1000|5500", '"told"', "1"]


def test_the_servers_processes_know_their_peer(twin: Twin, network: Any) -> None:
    """Peer authentication: by the user that the kernel says is at the other end of the unix socket."""
    twin.network = network
    client = """
echo "people $(id -un) postgres" >>data/pg_ident.conf; echo 'local all all peer map=people' >data/pg_hba.conf
kill -HUP $server; until psql -Atqc 'select current_user' -h $PWD; do sleep 0.05; done
"""
    lines = ran(twin, client)
    assert lines[-2:] == ["postgres", "1"], lines


def test_a_benchmark_outside(twin: Twin) -> None:
    """pgbench of the host's meets the server at the published port: data, then ten clients."""
    port, bench = free_port(), program("pgbench", binaries())
    twin.network = [Publish(guest=5432, host=f"127.0.0.1:{port}")]
    server = SERVER.format(bin=binaries(), client="echo ready; read line", auth="trust", hosts="127.0.0.1")
    with sandbox.Popen(["sh", "-c", server], cwd=str(twin.here), env=twin.env, network=twin.network,
                       writable={str(twin.here): str(twin.there)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as made:  # fmt: skip
        assert made.stdout is not None and made.stdout.readline() == b"ready\n"
        where = ["-h", "127.0.0.1", "-p", str(port), "-U", "postgres", "postgres"]
        subprocess.run([bench, "-q", "-i", "-s", "1", *where], check=True, capture_output=True)
        told = subprocess.run([bench, "-n", "-c", "10", "-t", "20", *where], check=True, capture_output=True, text=True)
        assert "number of transactions actually processed: 200/200" in told.stdout, told
        output, _ = made.communicate(b"\n", timeout=60)
        assert output.split()[-1] == b"1", output
