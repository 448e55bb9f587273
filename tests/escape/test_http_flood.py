"""A guest holds connections to its proxy half open, as many as it can: without a byte, in the middle of a head, of a
handshake, of a body. Others are served meanwhile, and it itself when it has let go."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.escape.attack import ordinary
from tests.http_servers import Site, site

__all__ = ["site"]
pytestmark = ordinary

HOLD = """
import socket, sys
held = []
for _ in range(400):
    try:
        sock = socket.create_connection(("api.test", int(sys.argv[1])), 10)
        sock.sendall(bytes.fromhex(sys.argv[2]))
        held.append(sock)
    except OSError: pass
print(len(held), flush=True)
sys.stdin.read()
"""
ASK = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=60).read().decode().strip())"
HELD = {
    "nothing": b"",
    "a part of a head": b"GET /pub/x HTTP/1.1\r\nHost: api",
    "a part of a handshake": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "a part of a body": b"POST /pub/x HTTP/1.1\r\nHost: api.test\r\nContent-Length: 99\r\n\r\n",
}


@pytest.mark.parametrize("what", HELD)
def test_only_the_flood_itself_waits(site: Site, what: str) -> None:
    ask = [sys.executable, "-c", ASK, site.url("/pub/x", tls=False)]
    with site.box() as box, site.box() as other:
        hold = [sys.executable, "-c", HOLD, str(site.plain.port), HELD[what].hex()]
        flood = box.popen(hold, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert flood.stdout is not None and flood.stdin is not None
        assert int(flood.stdout.readline()) > 250  # as many as the proxy takes
        for _ in range(3):
            assert other.run(ask, text=True, timeout=100).stdout == "GET /pub/x 0\n"
        flood.stdin.close()
        flood.wait()
        while (done := box.run(ask, text=True, timeout=100)).returncode:  # what was held goes, soon
            assert box._guest.parts.net is not None
        assert done.stdout == "GET /pub/x 0\n"
