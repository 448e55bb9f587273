"""A guest begins a thousand connects that nobody answers, half of them in threads that wait, or fills a listener of its own that never
accepts, and goes on trying: another guest's calls take as long as before."""

from __future__ import annotations

import socket
import statistics
import struct
import subprocess
import sys
from collections.abc import Callable, Iterable
from typing import Optional

import pytest

from sandbox import Allow
from tests.escape.attack import box, every_wall, ordinary

BEGIN = """
import resource, socket, sys, threading, time
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
threading.stack_size(65536)
def again(address):
    while True:
        sock = socket.socket(); sock.setblocking(False); sock.connect_ex(address); sock.close()
        time.sleep(0.002)  # faster is a load like any other
"""
ATTACKS = {
    "nobody answers": """
crowd = [socket.socket() for _ in range(500)]
for sock in crowd: sock.setblocking(False); sock.connect_ex(("192.0.2.77", 9))
def wait():
    try: socket.socket().connect(("192.0.2.77", 9))
    except OSError: pass
for _ in range(500): threading.Thread(target=wait, daemon=True).start()
threading.Thread(target=again, args=(("192.0.2.77", 9),), daemon=True).start()
""",
    "half-open": """
server = socket.socket(); server.bind(("127.0.0.1", 0)); server.listen(0)
crowd = [socket.socket() for _ in range(500)]
for sock in crowd: sock.setblocking(False); sock.connect_ex(server.getsockname())
threading.Thread(target=again, args=(server.getsockname(),), daemon=True).start()
""",
    "few": """
server = socket.socket(); server.bind(("127.0.0.1", 0)); server.listen(0)
for _ in range(4): threading.Thread(target=again, args=(server.getsockname(),), daemon=True).start()
""",
}
END = """
print("begun", flush=True)
sys.stdin.read()
import os; os._exit(0)
"""
CALLS = """
import socket, sys, time
for line in sys.stdin:
    took = []
    for _ in range(int(line)):
        begun = time.perf_counter()
        with socket.socket() as sock: sock.connect(("127.0.0.1", int(sys.argv[1])))
        took.append(time.perf_counter() - begun)
    print(*took, flush=True)
"""


def seconds(walls: Optional[str], attack: str, rounds: int, count: int, of: Callable[[Iterable[float]], float] = min) -> tuple[float, float]:
    """What a connect takes, by way of the Supervisor, alone and beside the attack: `of` the medians of rounds of calls."""
    with socket.create_server(("127.0.0.1", 0), backlog=4000) as server:
        port = server.getsockname()[1]
        with box(walls, network=[Allow("192.0.2.77:9")]) as slow, box(walls, network=[Allow(f"127.0.0.1:{port}")]) as other:
            calls = other.popen([sys.executable, "-c", CALLS, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

            def median(count: int) -> float:
                assert calls.stdin is not None and calls.stdout is not None
                calls.stdin.write(b"%d\n" % count)
                calls.stdin.flush()
                return statistics.median(map(float, calls.stdout.readline().split()))

            alone = min(median(100) for _ in range(3))
            crowd = slow.popen([sys.executable, "-c", BEGIN + ATTACKS[attack] + END], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            assert crowd.stdout is not None and crowd.stdout.readline() == b"begun\n"
            beside = of(median(count) for _ in range(rounds))
            crowd.communicate(b"")
            calls.communicate(b"")
    return alone, beside


@ordinary
@every_wall
@pytest.mark.parametrize("attack", ["nobody answers", "half-open"])
def test_another_guest_is_as_quick(attack: str, walls: str) -> None:
    alone, beside = seconds(walls, attack, 3, 100)
    assert beside < 10 * alone + 0.005, (alone, beside)  # the tests share the machine


def test_a_connect_that_waits_is_felt(monkeypatch: pytest.MonkeyPatch) -> None:
    """The naive way: the Supervisor connects as it was asked, and waits; here for half a second at most."""

    def naive(sock: socket.socket, address: tuple[str, int]) -> int:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 0, 500000))
        sock.setblocking(True)
        return sock.connect_ex(address)

    monkeypatch.setattr("sandbox.services._connecting.begin_connect", naive)
    alone, beside = seconds(None, "few", 20, 1, max)
    assert beside > 0.2 > alone
