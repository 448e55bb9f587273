"""HTTP/3 goes by UDP, where nobody judges it: a guest tries the host of a rule, beside rules that allow UDP."""

from __future__ import annotations

import socket
import sys

import pytest

from sandbox import Allow, AllowHTTP, Hosts, Sandbox
from tests.escape.attack import ordinary

pytestmark = ordinary

SEND = """
import socket, sys
s = socket.socket(type=socket.SOCK_DGRAM)
for how in (lambda at: s.sendto(b"hello", at), lambda at: (s.connect(at), s.send(b"hello"))):
    try: how((sys.argv[1], int(sys.argv[2]))); print("sent")
    except OSError as error: print(error.strerror)
"""


@pytest.mark.parametrize("broad", ["*:PORT", "*.test", "127.0.0.0/8:PORT", "127.0.0.1:PORT"])
@pytest.mark.parametrize("guarded", [True, False])
def test_no_datagram_reaches_the_host_of_a_rule(broad: str, guarded: bool) -> None:
    """Where another rule would let it, that is no more exact; without a rule of HTTP it does."""
    with socket.socket(type=socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.setblocking(False)
        port = server.getsockname()[1]
        target = broad.replace("PORT", str(port))
        named = not target[0].isdigit()
        rules = [Allow(target, private=True) if named else Allow(target)]
        rules += [AllowHTTP("*", f"https://api.test:{port}/*", private=True)] if guarded else []  # type: ignore[list-item]
        with Sandbox(network=[*rules, Hosts({"api.test": "127.0.0.1"})]) as box:
            done = box.run([sys.executable, "-c", SEND, "api.test", str(port)], text=True, timeout=100)
        assert done.returncode == 0, done  # at its own loopback, where nobody is, a guest may send
        try:
            assert server.recv(9) == b"hello" and not guarded
        except BlockingIOError:
            assert guarded
