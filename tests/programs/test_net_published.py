"""nginx and a load of requests, one within and one outside; a download that goes on where it was cut."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

import sandbox
from sandbox import Allow, Publish
from tests.helpers import Twin, free_port, program
from tests.programs.outside import server

CONF = """
{user} daemon off; worker_processes 2; pid {folder}/pid; error_log {folder}/error.log;
events {{}}
http {{ access_log off; client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3; uwsgi_temp_path {folder}/4;
  scgi_temp_path {folder}/5; server {{ {listen} location / {{ root {folder}/www; }} }} }}
"""
CHECKED = """
{nginx} -c $PWD/conf -e $PWD/error.log & server=$!
until {curl} -s -o /dev/null {url}; do kill -0 $server || exit 9; sleep 0.05; done
{client}
kill -QUIT $server; wait $server
"""


def configured(folder: Path, *addresses: str) -> str:
    """The text of a configuration with files in `folder`/www."""
    listen = " ".join(f"listen {address};" for address in addresses)
    return CONF.format(folder=folder, listen=listen, user="user root root;" if os.getuid() == 0 else "")


def load(url: str, seconds: int = 2) -> list[object]:
    return [program("wrk"), "-t2", "-c20", f"-d{seconds}s", url]


def is_good(told: str) -> bool:
    """Many requests, and none that failed, though some may have been slow."""
    done = re.search(r"(\d+) requests in", told)
    failed = "Non-2xx" in told or re.search(r"Socket errors: (?!connect 0, read 0, write 0,)", told)
    return done is not None and int(done[1]) > 100 and not failed


@pytest.mark.parametrize("network", ["loopback", [Allow("192.0.2.1:1")]], ids=["own namespace", "served"])
@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_a_download_goes_on(twin: Twin, network: Any, host: str) -> None:
    curl, port = program("curl"), free_port()
    twin.network = network
    twin.write("www/page", b"".join(b"%07d\n" % number for number in range(20000)))
    twin.write("conf", configured(twin.here, f"{host}:{port}"))
    url = f"http://{host}:{port}/page"
    client = f"{curl} -gsS -r 0-70000 -o page {url}; wc -c <page; curl -gsS -C - -o page {url} && cmp page www/page && echo whole"
    script = CHECKED.format(nginx=program("nginx"), curl=f"{curl} -g", url=f"'{url}'", client=client)
    assert twin.inside(script).stdout.split() == [b"70001", b"whole"]


def test_a_load_from_outside(twin: Twin) -> None:
    """wrk meets the guest's nginx at its published port."""
    port, command = free_port(), load("")
    twin.write("www/page", "x" * 2000)
    twin.write("conf", configured(twin.here, "0.0.0.0:8080"))
    command[-1] = f"http://127.0.0.1:{port}/page"
    script = CHECKED.format(nginx=program("nginx"), curl=program("curl"), url="http://127.0.0.1:8080/page", client="echo ready; read line")
    with sandbox.Popen(["sh", "-c", script], cwd=str(twin.here), env=twin.env, network=[Publish(guest=8080, host=f"127.0.0.1:{port}")],
                       writable={str(twin.here): str(twin.there)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as made:  # fmt: skip
        assert made.stdout is not None and made.stdout.readline() == b"ready\n"
        told = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=True).stdout
        made.communicate(b"\n", timeout=60)
        assert made.returncode == 0 and is_good(told), told


def test_a_load_from_inside(twin: Twin, tmp_path: Path) -> None:
    """The guest's wrk meets nginx of the host's, under a rule."""
    port, nginx = free_port(), program("nginx")
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "page").write_text("x" * 2000)
    (tmp_path / "conf").write_text(configured(tmp_path, f"127.0.0.1:{port}"))
    twin.network = [Allow(f"tcp://127.0.0.1:{port}")]
    with server([nginx, "-c", tmp_path / "conf", "-e", tmp_path / "error.log"], port):
        told = twin.inside(load(f"http://127.0.0.1:{port}/page")).stdout.decode()
    assert is_good(told), told
