"""The proxy of a guest is taken over, by whoever writes to it: it opens files, makes sockets and processes, finds others,
and sends its Supervisor what no proxy sends."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Optional

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import sandbox
import sandbox._http_proxy
from sandbox import AllowHTTP, Limits
from sandbox._http import wire
from sandbox._http_proxy import HTTPProxy
from sandbox._loop import Loop
from sandbox._rules import Rules
from sandbox.services._proxied import Proxied
from tests.escape.attack import WALLS, ordinary, standing
from tests.helpers import give_up_privileges
from tests.http_servers import Site, Told, site

__all__ = ["site"]
pytestmark = ordinary

PLANTED = f"/var/tmp/sandbox-broken-proxy-{os.getpid()}"
TRIES = (
    f"PLANTED = b'{PLANTED}'\n"
    r"""
import ctypes, errno, json, os, socket, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
def raw(*arguments):
    return libc.syscall(*(ctypes.c_long(each) if isinstance(each, int) else each for each in arguments))
def call(*arguments):
    return ctypes.get_errno() if raw(*arguments) < 0 else 0
def address(port):
    return struct.pack("<H", socket.AF_INET) + struct.pack(">H", port) + socket.inet_aton("127.0.0.1") + bytes(8)
def tries(connection, port):
    # each by its name; what comes before the last call makes room for it where nothing is refused
    buffer, name, me = ctypes.create_string_buffer(8192), address(port), os.getpid()
    page, program = ctypes.addressof(buffer) + 4095 & -4096, ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 65535), 8)
    part = lambda: call(42, connection, bytes(16), 16)
    own = lambda flags: call(272, 0x10000000 | flags)
    return {
        "open": lambda: call(2, b"/etc/passwd", 0, 0), "openat": lambda: call(257, -100, b"/etc/passwd", 0, 0),
        "openat2": lambda: call(437, -100, b"/etc/passwd", struct.pack("QQQ", 0, 0, 0), 24),
        "create": lambda: call(257, -100, PLANTED, 0o102, 0o600),
        "socket": lambda: call(41, 2, 1, 0), "socketpair": lambda: call(53, 1, 1, 0, buffer),
        "part": part, "connect again": lambda: (part(), call(42, connection, name, 16))[1],
        "bind": lambda: (part(), call(49, connection, address(0), 16))[1], "listen": lambda: (part(), call(50, connection, 1))[1],
        "send elsewhere": lambda: (part(), call(44, connection, b"x", 1, 0x20000000, name, 16))[1],
        "sendmsg": lambda: call(46, connection, bytes(56), 0),
        "fork": lambda: call(57), "vfork": lambda: call(58), "clone": lambda: call(56, 17, 0, 0, 0, 0),
        "clone3": lambda: call(435, struct.pack("11Q", 0, 0, 0, 0, 17, *[0] * 6), 88),
        "exec": lambda: call(59, b"/bin/true", 0, 0), "execveat": lambda: call(322, -100, b"/bin/true", 0, 0, 0),
        "kill": lambda: call(62, me, 0), "tkill": lambda: call(200, me, 0),
        "ptrace": lambda: call(101, 16, 1, 0, 0), "be traced": lambda: call(101, 0, 0, 0, 0),
        "readv": lambda: call(310, me, buffer, 1, buffer, 1, 0),
        "pidfd": lambda: call(434, me, 0), "getfd": lambda: call(438, raw(434, me, 0), connection, 0),
        "shared": lambda: call(9, 0, 4096, 3, 0x21, -1, 0), "shared validate": lambda: call(9, 0, 4096, 3, 0x03, raw(319, b"x", 0), 0),
        "code": lambda: call(9, 0, 4096, 7, 0x22, -1, 0), "mprotect": lambda: call(10, page, 4096, 7),
        "io_uring": lambda: call(425, 8, ctypes.create_string_buffer(120)), "bpf": lambda: call(321, 0, 0, 0),
        "unshare": lambda: own(0), "setns": lambda: (own(0x4000000), call(308, raw(2, b"/proc/self/ns/uts", 0, 0), 0))[1],
        "mount": lambda: (own(0x20000), call(165, 0, b"/", 0, 0x44000, 0))[1], "chroot": lambda: (own(0), call(161, b"/"))[1],
        "memfd": lambda: call(319, b"x", 0), "userfaultfd": lambda: call(323, 1), "keyctl": lambda: call(250, 0, -3, 1),
        "filter": lambda: call(54, connection, 1, 26, struct.pack("HxxxxxxQ", 1, ctypes.addressof(program)), 16),
        "prlimit": lambda: call(302, 0, 7, 0, buffer),
    }
"""
)
IN_A_NAMESPACE = {"unshare", "setns", "mount", "chroot"}
"""What needs a user namespace."""
NOT_EVERYWHERE = {"ptrace", "bpf", "io_uring", "userfaultfd", "keyctl", "filter"}
"""What kernels and containers refuse to whom has no privileges."""

TAKEN = (
    TRIES
    + r"""
def main():
    from sandbox._http import process
    class Served:
        def __init__(self, common, inner, upstream, about):
            self.inner, self.upstream, self.about = inner, upstream, about
        async def run(self):
            data = json.dumps({name: each() for name, each in tries(self.upstream.fileno(), self.about.port).items()}).encode()
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
    assert len(told) == 40 and set(told.values()) == {errno.ENOSYS}, told  # the filter's answer to each
    assert not os.path.exists(PLANTED)


ALONE = (
    TRIES
    + r"""
port, name = int(sys.argv[1]), sys.argv[2]
connection = socket.create_connection(("127.0.0.1", port)).detach() # of this process: some are parted
os.write(1, b"%d\n" % tries(connection, port)[name]())
os._exit(0)
"""
)


def test_they_work_with_the_guard_left_out() -> None:
    """Each alone in a process without privileges and without the filter, where nearly all do something."""
    names = json.loads(subprocess.run([sys.executable, "-c", f"{TRIES}\nprint(json.dumps([*tries(0, 0)]))"], capture_output=True, check=True).stdout)
    told = {}
    with socket.create_server(("127.0.0.1", 0), backlog=200) as server:
        for name in names:
            command = [sys.executable, "-c", ALONE, str(server.getsockname()[1]), name]
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, preexec_fn=give_up_privileges)
            told[name] = done.stdout.decode()  # by each process that there is: two of a fork, none of an exec
    Path(PLANTED).unlink()
    failed = {name: lines for name, lines in told.items() if lines not in ("0\n", "0\n0\n", "")}
    assert failed.keys() <= NOT_EVERYWHERE | ({*IN_A_NAMESPACE} if told["unshare"] != "0\n" else set()), failed
    assert [name for name, lines in told.items() if not lines] == ["exec", "execveat"]


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


CERTIFICATE = b"-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"
RULES = Rules.compile([AllowHTTP("GET", "api.test/a"), AllowHTTP("GET", "api.test/b")])
some_bytes = st.binary(max_size=600)
decisions = st.builds(wire.Decision, st.booleans(), st.sampled_from([0, 1, 2, 65534, 65535]), st.integers(0, 65535), st.sampled_from([0, 403, 999]),
                      some_bytes, some_bytes, some_bytes).map(wire.pack_decision)  # fmt: skip
said_by = st.one_of(st.binary(max_size=1400), decisions, decisions.flatmap(lambda data: st.integers(0, len(data)).map(lambda end: data[:end])),
                    st.just(wire.pack_ready(CERTIFICATE)), st.binary(max_size=90).map(wire.pack_ready), some_bytes.map(lambda data: b"F" + data))  # fmt: skip


class Failing(Told):
    def __init__(self) -> None:
        super().__init__()
        self.failures: list[Exception] = []

    def fail(self, error: Exception) -> None:
        self.failures.append(error)


def fitting(messages: list[bytes]) -> tuple[bool, bool, list[bytes]]:
    """Of what is said in this order: is it to the end what a proxy says, has it begun, and the decisions that count."""
    begun, counted = False, []
    for data in messages:
        if len(data) == 791 and data[:1] == b"D":
            if begun and bool(data[1]) != (int.from_bytes(data[2:4], "little") < len(RULES.requests)):
                return False, begun, counted
            counted += [data] if begun else []
        elif not begun and data.startswith(b"R" + CERTIFICATE[:28]) and data.isascii() and len(data) <= 8192:
            begun = True
        else:
            return False, begun, counted
    return True, begun, counted


@pytest.fixture(scope="module")
def loop() -> Loop:
    return Loop("test-broken-proxy")


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=st.booleans(), messages=st.lists(said_by, max_size=6), fds=st.integers(0, 3))
def test_whatever_it_says(loop: Loop, first: bool, messages: list[bytes], fds: int) -> None:
    """Each decision of a rule that there is is told; the first message that is none ends it, and nothing else; what
    descriptors come with it are nobody's."""
    said = [wire.pack_ready(CERTIFICATE)] * first + [data for data in messages if data]
    told, wrong = Failing(), []
    with pytest.MonkeyPatch.context() as patched, ExitStack() as stack:
        ends: list[socket.socket] = []

        def spawn(_: HTTPProxy, sock: int, walls: object) -> tuple[int, int]:
            ends.append(socket.socket(fileno=os.dup(sock)))
            pid = os.posix_spawn("/bin/sleep", ["sleep", "1000"], {})
            return pid, os.pidfd_open(pid)

        patched.setattr(HTTPProxy, "_spawn", spawn)
        patched.setattr(threading, "excepthook", wrong.append)
        proxy = HTTPProxy(loop, RULES, (), [])
        proxy.attach(told)
        stack.callback(proxy.close)
        open_before = len(os.listdir("/proc/self/fd"))
        with ends[0] as theirs:
            assert theirs.recv(9) == wire.SETUP
            for data in said:
                with suppress(ConnectionError):  # it has hung up
                    socket.send_fds(theirs, [data], [0] * fds)
        with proxy._changed:
            assert proxy._changed.wait_for(lambda: proxy._failure, 60)
        assert len(os.listdir("/proc/self/fd")) <= open_before
        good, begun, counted = fitting(said)
        assert (proxy._failure == "it has ended") == good and not wrong, proxy._failure
        assert len(told.decisions) == len(counted) and len(told.failures) == (not begun)
        rules = {str(rule) for rule in RULES.requests}
        assert all((judged.rule in rules) == judged.allowed and judged.kind == "http" for judged in told.decisions)
    assert not wrong


KEEPS = """
def main():
    from sandbox._http import process
    class Served:
        def __init__(self, common, inner, upstream, about):
            self.inner, self.upstream = inner, upstream
        async def run(self):
            self.inner.send(b"connected")
            try: await process.asyncio.sleep(1000)
            except process.asyncio.CancelledError: await process.asyncio.sleep(1000)
    process.Served = Served
    process.main()
"""


@pytest.mark.parametrize("limits", [None, Limits(bytes_sent=1 << 30)], ids=["", "bytes are limited"])
@pytest.mark.parametrize("guarded", [True, False], ids=["", "guard left out"])
def test_it_keeps_what_is_revoked(site: Site, monkeypatch: pytest.MonkeyPatch, guarded: bool, limits: Optional[Limits]) -> None:
    """Its connections to a host that is denied meanwhile: none stands any more when that comes back."""
    _as_main(monkeypatch, KEEPS)
    if not guarded:
        monkeypatch.setattr(Proxied, "settle", lambda *_: None)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        allowed = AllowHTTP("GET", f"http://api.test:{port}/*", private=True)
        with site.box(allowed, limits=limits) as box:
            process = box.popen([sys.executable, "-u", "-c", READ, str(port)], stdout=subprocess.PIPE)
            with server.accept()[0] as peer:
                assert process.stdout is not None and process.stdout.read(9) == b"connected"
                box.network.deny(f"api.test:{port}")
                peer.setblocking(False)
                if guarded:
                    with suppress(ConnectionResetError):
                        assert peer.recv(1) == b""
                else:
                    with pytest.raises(BlockingIOError):
                        peer.recv(1)
                process.kill()


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
