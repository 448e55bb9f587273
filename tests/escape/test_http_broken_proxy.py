"""The proxy of a guest is taken over, by whoever writes to it: it opens files, makes sockets and processes, finds others,
and sends its Supervisor what no proxy sends."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import sandbox
import sandbox._http_proxy
from tests.escape.attack import WALLS, ordinary, standing
from tests.http_servers import Site, site

__all__ = ["site"]
pytestmark = ordinary

TRIES = r"""
import ctypes, errno, json, os, socket, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    result = libc.syscall(number, *arguments)
    return ctypes.get_errno() if result < 0 else 0
def address(port):
    return struct.pack("<H", socket.AF_INET) + struct.pack(">H", port) + socket.inet_aton("127.0.0.1") + bytes(8)
def tries(connection, port):
    buffer, name = ctypes.create_string_buffer(64), address(port)
    return {
        "open": call(2, b"/etc/passwd", 0, 0), "openat": call(257, -100, b"/etc/passwd", 0, 0),
        "openat2": call(437, -100, b"/etc/passwd", struct.pack("QQQ", 0, 0, 0), 24),
        "create": call(257, -100, b"/var/tmp/sandbox-broken-proxy", 0o102, 0o600),
        "socket": call(41, 2, 1, 0), "socketpair": call(53, 1, 1, 0, buffer),
        "connect again": call(42, connection, name, 16), "part": call(42, connection, bytes(16), 16),
        "bind": call(49, connection, name, 16), "listen": call(50, connection, 1),
        "send elsewhere": call(44, connection, b"x", 1, 0x20000000, name, 16),
        "sendmsg": call(46, connection, bytes(56), 0),
        "fork": call(57), "vfork": call(58), "clone": call(56, 17, 0, 0, 0, 0), "clone3": call(435, bytes(88), 88),
        "exec": call(59, b"/bin/true", 0, 0), "execveat": call(322, -100, b"/bin/true", 0, 0, 0),
        "kill": call(62, os.getpid(), 0), "tkill": call(200, os.getpid(), 0), "ptrace": call(101, 16, 1, 0, 0),
        "readv": call(310, 1, buffer, 1, buffer, 1, 0), "pidfd": call(434, 1, 0), "getfd": call(438, 0, 0, 0),
        "shared": call(9, 0, 4096, 3, 0x21, -1, 0), "shared validate": call(9, 0, 4096, 3, 0x23, -1, 0),
        "code": call(9, 0, 4096, 7, 0x22, -1, 0), "mprotect": call(10, ctypes.addressof(buffer) & -4096, 4096, 7),
        "io_uring": call(425, 8, bytes(120)), "bpf": call(321, 0, 0, 0), "unshare": call(272, 0x10000000),
        "setns": call(308, 0, 0), "mount": call(165, 0, b"/", 0, 0, 0), "chroot": call(161, b"/"),
        "memfd": call(319, b"x", 0), "userfaultfd": call(323, 0), "keyctl": call(250, 0, 0),
        "x32": call(0x40000000 | 39) if len(sys.argv) > 9999 else errno.ENOSYS,
        "filter": call(54, connection, 1, 26, bytes(16), 16), "prlimit": call(302, 0, 7, 0, buffer),
    }
"""

TAKEN = (
    TRIES
    + r"""
def main():
    from sandbox._http import process
    class Served:
        def __init__(self, common, inner, upstream, about):
            self.inner, self.upstream, self.about = inner, upstream, about
        async def run(self):
            data = json.dumps(tries(self.upstream.fileno(), self.about.port)).encode()
            while data: data = data[self.inner.send(data):]
            self.inner.close()
    process.Served = Served
    process.main()
"""
)

READ = "import socket, sys\ns = socket.create_connection(('api.test', int(sys.argv[1])), 60)\nwhile data := s.recv(65536): sys.stdout.buffer.write(data)"


def _as_main(monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    """In the proxy's place: `source` with a function main."""
    monkeypatch.setattr(sandbox._http_proxy, "_MAIN", f"import sys; sys.path += sys.argv[1:]\n{source}\nmain()")


@pytest.mark.parametrize("walls", WALLS)
def test_it_has_its_connections_and_nothing_else(site: Site, monkeypatch: pytest.MonkeyPatch, walls: str) -> None:
    _as_main(monkeypatch, TAKEN)
    with standing(walls), site.box() as box:
        done = box.run([sys.executable, "-c", READ, str(site.plain.port)], timeout=100)
        told = json.loads(done.stdout)
    assert told and not [name for name, error in told.items() if not error], told
    assert not os.path.exists("/var/tmp/sandbox-broken-proxy")


def test_they_work_with_the_guard_left_out() -> None:
    """In a process of this user without the filter most of them do something."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        source = TRIES + f"\ns = socket.create_connection(('127.0.0.1', {server.getsockname()[1]}))\nimport signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        source += "names = {'open': lambda: call(2, b'/etc/passwd', 0, 0), 'socket': lambda: call(41, 2, 1, 0), 'code': lambda: call(9, 0, 4096, 7, 0x22, -1, 0), 'shared': lambda: call(9, 0, 4096, 3, 0x21, -1, 0), 'memfd': lambda: call(319, b'x', 0), 'part': lambda: call(42, s.fileno(), bytes(16), 16)}\n"
        source += "print(json.dumps({name: each() for name, each in names.items()}))"
        done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == dict.fromkeys(("open", "socket", "code", "shared", "memfd", "part"), 0)


SAID = {
    "nothing known": "b'?' * 100",
    "too much": "b'D' + bytes(5000)",
    "a decision that is cut": "b'D' + bytes(9)",
    "a rule that is none": "wire.pack_decision(wire.Decision(True, 7, 80, 0, b'GET', b'api.test', b'/'))",
    "no rule, allowed": "wire.pack_decision(wire.Decision(True, 65535, 80, 0, b'GET', b'api.test', b'/'))",
    "ready twice": "wire.pack_ready(proxy.certificate)",
    "another certificate": "wire.pack_ready(b'-----BEGIN CERTIFICATE-----\\n')",
    "nothing": "None",
}


@pytest.mark.parametrize("said", SAID)
def test_what_no_proxy_says(site: Site, monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    """It ends with it, and with its connections; its guest and the others go on."""
    source = f"""
def main():
    from sandbox._http import process, wire
    real = process.Proxy.warm_up
    def warm_up(proxy):
        real(proxy)
        class Served:
            def __init__(self, *_): pass
            async def run(self):
                said = {SAID[said]}
                if said is None: import os; os._exit(1)
                proxy._control.send(said)
        process.Served = Served
    process.Proxy.warm_up = warm_up
    process.main()
"""
    with site.box() as other:
        _as_main(monkeypatch, source)
        with site.box() as box:
            done = box.run([sys.executable, "-c", READ, str(site.plain.port)], text=True, timeout=100)
            assert done.stdout == ""
            again = box.run([sys.executable, "-c", READ, str(site.plain.port)], text=True, timeout=100)
            assert again.returncode and box.run(["echo", "on"], text=True).stdout == "on\n"
            assert box.network.usage.rules.get("default: no proxy"), again
        done = other.run(["curl", "-sS", site.url("/pub/x", tls=False)], text=True, timeout=100)
        assert done.stdout == "GET /pub/x 0\n" or not Path("/usr/bin/curl").exists()


def test_texts_of_an_enemy(site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A decision may hold any bytes: they are events, and no terminal's."""
    source = """
def main():
    from sandbox._http import process, wire
    real = process.Proxy._tell
    def tell(proxy, decision):
        real(proxy, decision._replace(method=bytes(range(1, 17)), host=bytes(range(1, 256)), path=b"\\xff\\x1b[2J" * 99))
    process.Proxy._tell = tell
    process.main()
"""
    _as_main(monkeypatch, source)
    with site.box(audit=tmp_path / "audit") as box:
        box.run([sys.executable, "-c", "import urllib.request, sys; urllib.request.urlopen(sys.argv[1])", site.url("/pub/x", tls=False)], timeout=100)
    words = [sys.executable, "-m", "sandbox", "audit", str(tmp_path / "audit")]
    done = subprocess.run(words, capture_output=True, check=True)
    line = next(line for line in done.stdout.splitlines() if b" http " in line)
    assert line.isascii() and line.decode().isprintable()
    assert subprocess.run([*words, "--verify"], capture_output=True).returncode == 0


def test_the_guest_does_not_see_it(site: Site) -> None:
    """No process, no variable and no descriptor of it is in the guest."""
    with site.box() as box:
        done = box.run("for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline; echo; done; env", shell=True, text=True)
    assert "_http" not in done.stdout and "not-for-the-guest" not in done.stdout
