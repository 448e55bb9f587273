"""The end of a guest with rules of HTTP, where a part of it fails or does not answer; and connections that its proxy does
not take."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from ipaddress import IPv4Address
from typing import Any

import pytest

import sandbox._http_proxy
from sandbox import AllowHTTP, GuestFault
from sandbox._loop import Loop
from sandbox._workers import Workers
from sandbox.services import _proxied
from sandbox.services._diag import Diag
from sandbox.services._names_of_sockets import Name
from sandbox.services._outward import Reach
from sandbox.services.net import Internet
from tests.escape.attack import ordinary
from tests.http_servers import Site, site

__all__ = ["site"]
pytestmark = ordinary


class Service:
    """A proxy of which only the end is of interest."""

    stands = True
    closed = False

    def take(self, inner: socket.socket, upstream: socket.socket, port: int, names: Any) -> None: ...

    def end(self, cookies: Any) -> bool:
        return True

    def close(self, *, forked: bool = False) -> None:
        self.closed = True


def test_a_loop_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy ends all the same."""
    monkeypatch.setattr(_proxied, "_CLOSING", 0.01)
    loop, go_on, service = Loop("test"), threading.Event(), Service()
    loop.call_at(time.monotonic(), go_on.wait)  # type: ignore[arg-type]
    try:
        _proxied.Proxied(loop, IPv4Address("127.0.0.1"), service, Diag()).close()
        assert service.closed
    finally:
        go_on.set()


class Busy(Service):
    """Its queue is full at first."""

    asked = 0

    def take(self, inner: socket.socket, upstream: socket.socket, port: int, names: Any) -> None:
        self.upstream = upstream

    def end(self, cookies: Any) -> bool:
        self.asked += 1
        if self.asked == 3:
            self.upstream.close()
        return self.asked >= 3


def test_a_proxy_whose_queue_is_full() -> None:
    """It is told later."""
    service, target = Busy(), Name(IPv4Address("127.0.0.1"), 80)
    proxied = _proxied.Proxied(Loop("test"), target.address, service, Diag())  # type: ignore[arg-type]
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as inner:
        proxied.taker(target, Reach((), proxied=True), [])(inner, socket.create_connection(server.getsockname()))
        proxied.settle(lambda _, peers: [*peers])
    assert service.asked == 3 and not service.closed


def test_nothing_is_looked_for_where_nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look needs a descriptor, and a guest of whose connections nothing is known is ended."""
    monkeypatch.delattr(Diag, "alive")
    _proxied.Proxied(Loop("test"), IPv4Address("127.0.0.1"), Service(), Diag()).settle(lambda *_: [])


def test_what_may_stand_while_the_loop_does_not_answer_is_not_known(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has looked at what is being made: so the guest does not go on with a rule taken back."""
    monkeypatch.setattr(_proxied, "_CLOSING", 0.01)
    go_on = threading.Event()
    box = site.box()
    try:
        box._guest._loop.call_at(time.monotonic(), go_on.wait)  # type: ignore[arg-type]
        threading.Timer(1, go_on.set).start()
        with pytest.raises(GuestFault, match="revoked"):
            box.network.deny("192.0.2.1:1")
    finally:
        go_on.set()
        with suppress(GuestFault):
            box.close()


def test_a_part_that_fails(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Callers hear of the end, and nothing of the guest is left."""
    told: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", told.append)
    real = Internet.close

    def fails(self: Internet, *, forked: bool = False) -> None:
        real(self, forked=forked)
        raise OSError("not closed")

    monkeypatch.setattr(Internet, "close", fails)
    with site.box() as box:
        guest, proxy = box._guest, box._guest.parts.net._proxied._http  # type: ignore[union-attr]
        pidfd = os.pidfd_open(proxy._pid)
        os.kill(guest.parts.pid, signal.SIGKILL)
        assert guest.wait_ended(60)
        with pytest.raises(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, 0)
        os.close(pidfd)
        with pytest.raises(OSError):
            os.fstat(guest.parts.socket.fileno())
        proxy.close()  # again: its numbers are perhaps others'
    assert [str(each.exc_value) for each in told] == ["not closed"]


def test_two_who_end_a_proxy(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """None comes back before it is gone."""
    go_on, wait = threading.Event(), os.waitpid
    with site.box() as box:
        proxy = box._guest.parts.net._proxied._http  # type: ignore[union-attr]
        pid = proxy._pid
        monkeypatch.setattr(os, "waitpid", lambda of, options: (of == pid and go_on.wait(60), wait(of, options))[1])
        threads = [threading.Thread(target=proxy.close) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(0.2)
            assert thread.is_alive()
        go_on.set()
        for thread in threads:
            thread.join(60)


@pytest.mark.parametrize("error", [OSError, SystemExit])
def test_work_that_raises(monkeypatch: pytest.MonkeyPatch, error: type[BaseException]) -> None:
    """The thread goes on with other work: of the pool, and the one of all guests."""
    told: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", told.append)
    workers, loop = Workers(1), Loop("test")

    def fails() -> None:
        raise error

    for submit in (workers.submit, lambda act: loop.call_at(time.monotonic(), act)):
        done = threading.Event()
        submit(fails)
        submit(done.set)
        assert done.wait(60) and told.pop().exc_type is error


LATE = """
def main():
    import time
    time.sleep(3)
    from sandbox._http import process
    process.main()
"""


def test_what_is_revoked_before_a_proxy_has_begun(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has been asked nothing yet: it is waited for, and goes on."""
    monkeypatch.setattr(sandbox._http_proxy, "_MAIN", f"import sys; sys.path += sys.argv[1:]\n{LATE}\nmain()")
    read = "import socket, sys\nsocket.create_connection(('api.test', int(sys.argv[1])), 60).recv(1)"
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with site.box(AllowHTTP("GET", f"http://api.test:{port}/*", private=True)) as box:
            process = box.popen([sys.executable, "-c", read, str(port)], stderr=subprocess.DEVNULL)
            with server.accept()[0] as peer:
                box.network.deny(f"api.test:{port}")
                with suppress(ConnectionResetError):
                    assert peer.recv(1) == b""
            assert process.wait(60) is not None
            assert box.network._served()._proxied._http.stands  # type: ignore[attr-defined]


DEAF = """
def main():
    import asyncio
    from sandbox._http import process
    async def serve(_): await asyncio.get_running_loop().create_future()
    process.Proxy.serve = serve
    process.main()
"""
MANY = """
import select, socket, sys
socks = []
for _ in range(150):
    try: socks.append(socket.create_connection(("api.test", int(sys.argv[1])), 60))
    except ConnectionResetError: pass # at once
poll, left = select.poll(), {}
for sock in socks: poll.register(sock, 0); left[sock.fileno()] = sock
while len(left) > 90:
    for fd, _ in poll.poll(): poll.unregister(fd); left.pop(fd).close()
print("reset")
"""


def test_a_proxy_that_reads_nothing_holds_few(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Descriptors in flight are counted for the user: what is more than a short queue is reset."""
    monkeypatch.setattr(sandbox._http_proxy, "_MAIN", f"import sys; sys.path += sys.argv[1:]\n{DEAF}\nmain()")
    with site.box() as box:
        done = box.run([sys.executable, "-c", MANY, str(site.plain.port)], text=True, timeout=100)
        assert done.stdout == "reset\n", done


def test_ours_are_closed_before_the_proxy_has_them(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the Supervisor might close a socket last, which the proxy has told to linger."""
    taken, open_then = set[str](), list[set[str]]()
    take, send_fds = sandbox._http_proxy.HTTPProxy.take, socket.send_fds

    def taking(self: Any, inner: socket.socket, upstream: socket.socket, *args: Any, **kwargs: Any) -> None:
        taken.update(os.readlink(f"/proc/self/fd/{each.fileno()}") for each in (inner, upstream))
        take(self, inner, upstream, *args, **kwargs)

    def sending(sock: socket.socket, buffers: Any, fds: Any, *args: Any) -> int:
        if bytes(buffers[0]).startswith(b"C") and taken:
            open_then.append(_open_here() & taken)
        return send_fds(sock, buffers, fds, *args)

    monkeypatch.setattr(sandbox._http_proxy.HTTPProxy, "take", taking)
    monkeypatch.setattr(socket, "send_fds", sending)
    with site.box() as box:
        ask = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=60).status)"
        done = box.run([sys.executable, "-c", ask, site.url("/pub/x", tls=False)], text=True, timeout=100)
    assert done.stdout == "200\n" and len(taken) == 2 and open_then == [set()], done


def _open_here() -> set[str]:
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            found.add(os.readlink(f"/proc/self/fd/{fd}"))
        except FileNotFoundError:
            continue  # of this listing
    return found


def test_a_last_close_waits() -> None:
    """In Linux: whoever else has set the socket to linger, and though ours does not block."""
    source = "import socket, struct, sys; s = socket.socket(fileno=0); s.setsockopt(1, 13, struct.pack('ii', 1, 1))\ntry:\n while True: s.send(bytes(65536))\nexcept BlockingIOError: pass"
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        peer.connect(server.getsockname())
        ours = server.accept()[0]
        ours.setblocking(False)
        subprocess.run([sys.executable, "-c", source], stdin=ours, check=True)
        began = time.monotonic()
        ours.close()
        assert time.monotonic() - began > 0.5
