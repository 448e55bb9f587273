"""A guest holds connections to its proxy half open, as many as it can: without a byte, in the middle of a head, of a
handshake, of a body. Others are served meanwhile, and it itself when it has let go."""

from __future__ import annotations

import http.server
import socket
import subprocess
import sys
import threading
from typing import ClassVar

import pytest

from tests.escape.attack import ordinary
from tests.http_servers import Handler, Seen, Site, site

__all__ = ["site"]
pytestmark = ordinary

# A proxy that does not read yet has a queue for some eighty: beyond, connections are reset, and tried again a little later.
HOLD = """
import socket, sys, time
held, failed = [], {}
while len(held) < 400 and sum(failed.values()) < 2000:
    try:
        sock = socket.create_connection((sys.argv[3], int(sys.argv[1])), 10)
        sock.sendall(bytes.fromhex(sys.argv[2]))
        held.append(sock)
    except OSError as error:
        failed[str(error)] = failed.get(str(error), 0) + 1
        time.sleep(0.01)
print(len(held), failed, flush=True)
sys.stdin.read()
"""
ASK = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=60).read().decode().strip())"
HELD = {
    "nothing": b"",
    "a part of a head": b"GET /pub/x HTTP/1.1\r\nHost: api",
    "a part of a handshake": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "a part of a body": b"POST /pub/x HTTP/1.1\r\nHost: api.test\r\nContent-Length: 99\r\n\r\n",
}


def _is_held(said: str) -> None:
    """As many as the proxy takes."""
    assert int(said.split()[0]) > 250, said


@pytest.mark.parametrize("what", HELD)
def test_only_the_flood_itself_waits(site: Site, what: str) -> None:
    ask = [sys.executable, "-c", ASK, site.url("/pub/x", tls=False)]
    with site.box() as box, site.box() as other:
        hold = [sys.executable, "-c", HOLD, str(site.plain.port), HELD[what].hex(), "api.test"]
        flood = box.popen(hold, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert flood.stdout is not None and flood.stdin is not None
        _is_held(flood.stdout.readline())
        for _ in range(3):
            assert other.run(ask, text=True, timeout=100).stdout == "GET /pub/x 0\n"
        flood.stdin.close()
        flood.wait()
        while (done := box.run(ask, text=True, timeout=100)).returncode:  # what was held goes, soon
            assert box._guest.parts.net is not None
        assert done.stdout == "GET /pub/x 0\n"


class OneByOne(http.server.HTTPServer):
    """Serves nobody while it waits for somebody."""

    request_queue_size = 1024
    seen: ClassVar[list[Seen]] = []


@pytest.mark.parametrize("what", HELD)
def test_a_server_that_all_share_is_stopped(what: str) -> None:
    with OneByOne(("127.0.0.1", 0), Handler) as server:
        hold = [sys.executable, "-c", HOLD, str(server.server_port), HELD[what].hex(), "127.0.0.1"]
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        with subprocess.Popen(hold, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as flood:
            assert flood.stdout is not None
            _is_held(flood.stdout.readline())
            with socket.create_connection(server.server_address, 1) as sock:
                sock.sendall(b"GET /pub/x HTTP/1.0\r\n\r\n")
                with pytest.raises((TimeoutError, socket.timeout)):
                    sock.recv(99)
            flood.communicate()
        server.shutdown()
        thread.join()
