"""Rules of HTTP at work: real clients inside, real servers outside, and what each of them sees."""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import sandbox
import sandbox._http_code
from sandbox import Allow, AllowHTTP, Header, Limits, Sandbox, SandboxError
from sandbox._guest import Guest
from tests.escape.attack import WALLS, ordinary, standing
from tests.helpers import program
from tests.http_servers import SECRET, Site, nginx, site

__all__ = ["site"]
pytestmark = ordinary

CURL = ["curl", "-sS", "--max-time", "60"]
both = pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])


def curl(box: Sandbox, *args: str) -> str:
    program("curl")
    done = box.run([*CURL, *args], text=True, timeout=100)
    return done.stdout + done.stderr


@both
@pytest.mark.parametrize("walls", WALLS)
def test_requests_are_judged(site: Site, walls: str, tls: bool) -> None:
    """On one connection, with every wall or none: what a rule allows passes, the rest is a 403 that says what it was."""
    with standing(walls), site.box() as box:
        urls = [site.url(path, tls=tls) for path in ("/pub/a?b=/../c", "/priv", "/pub/%61/close")]
        assert curl(box, *urls).splitlines() == [
            "GET /pub/a?b=/../c 0",
            f"sandbox: no rule allows GET {urls[1]}",
            "GET /pub/a/close 0",
        ]
        assert curl(box, "-X", "DELETE", "-w", "%{http_code}", urls[0]).endswith("403")
    server = site.tls if tls else site.plain
    assert [seen.path for seen in server.seen] == ["/pub/a?b=/../c", "/pub/a/close"]
    assert server.connections == 2


@both
def test_bodies(site: Site, tls: bool) -> None:
    """Of a length and in chunks, with 100-continue, large, both ways, and none."""
    with site.box() as box:
        url = site.url("/pub/x", tls=tls)
        assert curl(box, "-d", "hello", url) == "POST /pub/x 5\n"
        assert curl(box, "-H", "Transfer-Encoding: chunked", "-d", "hello", url) == "POST /pub/x 5\n"
        assert curl(box, site.url("/pub/stream", tls=tls)) == "GET /pub/stream 0\n"
        assert "200 OK" in curl(box, "-I", url)
        box.write("/work/big", bytes(3 << 20))
        assert curl(box, "-H", "Expect: 100-continue", "--data-binary", "@/work/big", url) == f"POST /pub/x {3 << 20}\n"
        assert "403" in curl(box, "--data-binary", "@/work/big", "-o", "/dev/null", "-w", "%{http_code}", site.url("/no", tls=tls))
        assert "alt-svc" not in curl(box, "-i", url).lower()


def test_http2(site: Site) -> None:
    """Both ends speak it; streams that are refused do not disturb the others."""
    (site.folder / "pub").mkdir()
    (site.folder / "pub" / "big").write_bytes(os.urandom(1 << 20) * 4)
    with nginx(site) as port:
        rule = AllowHTTP("GET,POST", f"https://api.test:{port}/pub/*", private=True, ca=site.ca)
        with site.box(rule, site.header) as box:
            top = f"https://api.test:{port}"
            said = curl(box, "--http2", "-w", "%{http_version} ", f"{top}/pub/x", f"{top}/priv", f"{top}/pub/y")
            assert said.splitlines() == [
                f"GET /pub/x HTTP/2.0 {SECRET} api.test:{port}",
                f"2 sandbox: no rule allows GET {top}/priv",
                f"2 GET /pub/y HTTP/2.0 {SECRET} api.test:{port}",
                "2 ",
            ]
            assert curl(box, "--http1.1", f"{top}/pub/x").split()[2] == "HTTP/1.1"
            curl(box, "--http2", "-o", "/work/big", f"{top}/pub/big")
            assert box.read("/work/big") == (site.folder / "pub" / "big").read_bytes()
            said = curl(box, "--http2", "--data-binary", "@/work/big", "-w", "%{http_code}", f"{top}/pub/big")
            assert said.endswith("405")  # a file takes no POST, but nginx reads it


@pytest.mark.parametrize("streams", [1, 100])
def test_many_streams(site: Site, streams: int) -> None:
    load = program("h2load")
    with nginx(site) as port:
        rule = AllowHTTP("*", f"https://api.test:{port}/pub/*", private=True, ca=site.ca)
        with site.box(rule) as box:
            said = box.run([load, "-n", "500", "-c", "4", "-m", str(streams), f"https://api.test:{port}/pub/x"], text=True, timeout=100)
    assert "500 succeeded, 0 failed, 0 errored" in said.stdout, said


PYTHON = """
import sys, urllib.request, urllib.error
for url in sys.argv[1:]:
    try: print(urllib.request.urlopen(url, timeout=60).read().decode().strip())
    except urllib.error.HTTPError as error: print(error.code)
"""
NODE = "for (const url of process.argv.slice(1)) { const r = await fetch(url); console.log(r.ok ? (await r.text()).trim() : r.status) }"
PIP = "import sys; from pip._vendor import requests\nfor url in sys.argv[1:]:\n r = requests.get(url, timeout=60); print(r.text.strip() if r.ok else r.status_code)"
CLIENTS = {
    "urllib": [sys.executable, "-c", PYTHON],
    "requests": [sys.executable, "-c", PIP],
    "node": ["node", "--input-type=module", "-e", NODE],
    "wget": ["wget", "-q", "-O", "-"],
}


@both
@pytest.mark.parametrize("client", CLIENTS)
def test_clients(site: Site, client: str, tls: bool) -> None:
    """They trust the CA of the guest, each in the way that it looks for certificates."""
    words = CLIENTS[client]
    if not words[0].startswith("/"):
        program(words[0])
    with site.box() as box:
        done = box.run([*words, site.url("/pub/x", tls=tls)], text=True, timeout=100)
        assert done.stdout.strip() == "GET /pub/x 0", done
        if client != "wget":
            done = box.run([*words, site.url("/priv", tls=tls)], text=True, timeout=100)
            assert done.stdout.strip() == "403", done


def test_without_variables(site: Site) -> None:
    """OpenSSL finds the CA in its directory, by the hash of its subject; and it is in the bundle."""
    openssl = program("openssl")
    with site.box() as box:
        pem = box.run(["cat", "/etc/ssl/certs/19fd6623.0"]).stdout
        done = box.run([openssl, "verify", "-no-CAfile", "-CApath", "/etc/ssl/certs", "/etc/ssl/certs/19fd6623.0"], text=True)
        assert done.stdout == "/etc/ssl/certs/19fd6623.0: OK\n", done
        assert box.run(["cat", "/etc/ssl/certs/ca-certificates.crt"]).stdout.endswith(pem)


def test_variables_are_the_users(site: Site) -> None:
    with Sandbox(policy=sandbox.Policy(env={"SSL_CERT_FILE": "/mine"}, network=[*site.allow("GET", "/*"), site.hosts])) as box:
        said = box.run("echo $SSL_CERT_FILE $PIP_CERT", shell=True, text=True).stdout
    assert said == "/mine /etc/ssl/certs/ca-certificates.crt\n"
    assert "CERT" not in sandbox.run(["env"], text=True).stdout


def test_git_clones(site: Site, tmp_path: Path) -> None:
    """Over https, from files that a server has."""
    git, env = program("git"), {**os.environ, "HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1"}
    work, bare = tmp_path / "work", site.folder / "pub" / "big" / "x.git"
    for command in (["init", "-q", str(work)], ["-C", str(work), "-c", "user.name=a", "-c", "user.email=b", "commit", "-q", "--allow-empty", "-m", "first"],
                    ["clone", "-q", "--bare", str(work), str(bare)], ["-C", str(bare), "update-server-info"]):  # fmt: skip
        subprocess.run([git, *command], check=True, env=env)
    with nginx(site) as port:
        rule = AllowHTTP("GET", f"https://api.test:{port}/pub/big/*", private=True, ca=site.ca)
        with site.box(rule) as box:
            done = box.run(f"git clone -q https://api.test:{port}/pub/big/x.git && git -C x log --format=%s", shell=True, text=True, timeout=100)
    assert done.stdout == "first\n", done


def test_pip_installs(site: Site) -> None:
    """From an index over https."""
    folder = site.folder / "pub" / "big"
    (folder / "simple" / "thing").mkdir(parents=True)
    name = "thing-1.0-py3-none-any.whl"
    import zipfile

    with zipfile.ZipFile(folder / name, "w") as wheel:
        wheel.writestr("thing.py", "print('it works')")
        for file, text in (("METADATA", "Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n"), ("WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"), ("RECORD", "")):
            wheel.writestr(f"thing-1.0.dist-info/{file}", text)
    (folder / "simple" / "thing" / "index.html").write_text(f'<a href="/pub/big/{name}">{name}</a>')
    with nginx(site) as port:
        rule = AllowHTTP("GET,HEAD", f"https://api.test:{port}/pub/big/*", private=True, ca=site.ca)
        with site.box(rule) as box:
            command = [sys.executable, "-m", "pip", "install", "-q", "--target", "/work/t", "--no-cache-dir",
                       "--index-url", f"https://api.test:{port}/pub/big/simple/", "thing"]  # fmt: skip
            done = box.run(command, text=True, timeout=200)
            assert done.returncode == 0, done
            assert box.run([sys.executable, "/work/t/thing.py"], text=True).stdout == "it works\n"


# ---- WebSocket ------------------------------------------------------------------------------------------------------

TALK = """
import base64, os, socket, sys
s = socket.create_connection(("api.test", int(sys.argv[1])), 60)
key = base64.b64encode(os.urandom(16)).decode()
s.sendall(f"GET {sys.argv[2]} HTTP/1.1\\r\\nHost: api.test:{sys.argv[1]}\\r\\nUpgrade: {sys.argv[3]}\\r\\nConnection: Upgrade\\r\\nSec-WebSocket-Key: {key}\\r\\nSec-WebSocket-Version: 13\\r\\n\\r\\n".encode())
f = s.makefile("rb")
head = [line.strip().decode() for line in iter(f.readline, b"\\r\\n") if line]
print(head[0])
if "101" in head[0]:
    s.sendall(bytes(range(256)) * 100); s.shutdown(socket.SHUT_WR)
    print(f.read() == bytes(range(256)) * 100)
"""


@contextmanager
def websocket() -> Iterator[int]:
    """A server that upgrades one connection and says back what it hears."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with server.accept()[0] as peer, peer.makefile("rwb") as file:
                head = [line.decode().strip() for line in iter(file.readline, b"\r\n")]
                if not head or not head[0]:
                    return
                key = next(line.partition(": ")[2] for line in head if line.lower().startswith("sec-websocket-key"))
                accept = base64.b64encode(hashlib.sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
                file.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %b\r\n\r\n" % accept)
                file.flush()
                while data := peer.recv(65536):
                    peer.sendall(data)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            with socket.socket() as last:
                last.connect_ex(server.getsockname())
                last.close()
            thread.join()


def test_websocket(site: Site) -> None:
    """The request is judged; what follows is passed on."""
    with websocket() as port, site.box(AllowHTTP("GET", f"http://api.test:{port}/chat", private=True)) as box:
        done = box.run([sys.executable, "-c", TALK, str(port), "/chat", "websocket"], text=True, timeout=100)
        assert done.stdout.splitlines() == ["HTTP/1.1 101 Switching Protocols", "True"], done


def test_other_upgrades_are_not_passed_on(site: Site) -> None:
    with site.box() as box:
        done = box.run([sys.executable, "-c", TALK, str(site.plain.port), "/pub/x", "h2c"], text=True, timeout=100)
        assert done.stdout.startswith("HTTP/1.1 200"), done
        refused = box.run([sys.executable, "-c", TALK, str(site.plain.port), "/chat", "websocket"], text=True, timeout=100)
        assert refused.stdout.startswith("HTTP/1.1 403"), refused
    assert [seen.all("upgrade") for seen in site.plain.seen] == [[]]


# ---- secrets --------------------------------------------------------------------------------------------------------


def test_a_secret_is_added_outside(site: Site) -> None:
    """Over TLS to its host, in place of the guest's own; nowhere else, and the guest does not have it."""
    rules = [*site.allow("GET", "/*"), *site.allow("GET", "/*", "other.test"), site.header]
    with site.box(*rules) as box:
        mine = ["-H", "Authorization: Bearer mine", "-H", "AUTHORIZATION: again", "-H", "Connection: authorization"]
        curl(box, *mine, site.url("/a", tls=True))
        curl(box, site.url("/b", tls=False), site.url("/c", "other.test", tls=True))
        held = box.run("env; cat /proc/self/environ /etc/ssl/certs/19fd6623.0", shell=True).stdout
        assert SECRET.encode() not in held and b"PRIVATE" not in held
    assert [seen.all("authorization") for seen in site.tls.seen] == [[SECRET], []]
    assert [seen.all("authorization") for seen in site.plain.seen] == [[]]


def test_a_secret_in_the_clear(site: Site) -> None:
    """Nor does a name stand beside it that servers take for the same."""
    with site.box(*site.allow("GET", "/*"), Header("X-Key", "v v", hosts=["api.test"], plain=True)) as box:
        curl(box, "-H", "x-key: mine", "-H", "X_Key: mine", "-H", "Other_Key: yes", site.url("/a", tls=False))
    assert site.plain.seen[0].all("x-key") == ["v v"] and site.plain.seen[0].all("x_key") == []
    assert site.plain.seen[0].all("other_key") == ["yes"]


# ---- servers that are not who they should be ------------------------------------------------------------------------


def test_the_server_is_verified(site: Site) -> None:
    """By the host's certificates where the rule names none; nothing of the request is sent to another."""
    rule = AllowHTTP("GET", f"https://api.test:{site.tls.port}/*", private=True)
    with site.box(rule, site.header) as box:
        said = curl(box, "-w", "%{http_code}", site.url("/pub/x", tls=True))
    assert "sandbox: api.test: " in said and said.endswith("502")
    assert not site.tls.seen


def test_its_name_is_verified(site: Site) -> None:
    """A certificate of the right CA for another name."""
    rule = AllowHTTP("GET", f"https://unlisted.test:{site.tls.port}/*", private=True, ca=site.ca)
    with Sandbox(network=[rule, sandbox.Hosts({"unlisted.test": "127.0.0.1"})]) as box:
        assert curl(box, "-w", "%{http_code}", f"https://unlisted.test:{site.tls.port}/").endswith("502")
    assert not site.tls.seen


def test_other_hosts_are_not_opened(site: Site) -> None:
    """A host without rules of HTTP is spoken with directly: its certificate is its own, which the guest does not trust."""
    rules = [*site.allow("GET", "/*"), Allow(f"other.test:{site.tls.port}", private=True), site.hosts]
    with Sandbox(network=rules, files={"/work/ca.pem": Path(site.ca).read_bytes()}) as box:
        url = site.url("/", "other.test", tls=True)
        # The address is that of a host with rules, too, so it is judged: `test_http_policy` has both ways.
        assert "reset" in curl(box, "--cacert", "/work/ca.pem", url).lower()
    only = [*site.allow("GET", "/*", "a.wild.test"), Allow(f"other.test:{site.tls.port}", private=True)]
    hosts = sandbox.Hosts({"other.test": "127.0.0.1", "a.wild.test": "127.0.0.2"})
    with Sandbox(network=[*only, hosts], files={"/work/ca.pem": Path(site.ca).read_bytes()}) as box:
        assert curl(box, "--cacert", "/work/ca.pem", url) == "GET / 0\n"
        assert "certificate" in curl(box, url)


def test_connections_that_fail(site: Site) -> None:
    """As without a proxy: refused is refused, before anything is said."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        rule = AllowHTTP("GET", f"http://api.test:{free.getsockname()[1]}/*", private=True)
        source = "import socket, sys; print(socket.socket().connect_ex(('api.test', int(sys.argv[1]))))"
        with site.box(rule) as box:
            done = box.run([sys.executable, "-c", source, str(free.getsockname()[1])], text=True, timeout=100)
        assert done.stdout == f"{errno.ECONNREFUSED}\n", done


def test_a_guest_that_does_not_wait(site: Site) -> None:
    """The server's end is closed, too."""
    source = "import socket, sys; s = socket.create_connection(('api.test', int(sys.argv[1])), 60); s.sendall(b'GET /pub/x HTTP/1.1\\r\\nHost: api.test\\r\\n\\r\\n'); sys.stdin.read()"
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        server.settimeout(60)
        with site.box(AllowHTTP("GET", f"http://api.test:{port}/*", private=True)) as box:
            process = box.popen([sys.executable, "-c", source, str(port)], stdin=subprocess.PIPE)
            with server.accept()[0] as peer:
                peer.settimeout(60)
                assert peer.recv(65536).startswith(b"GET /pub/x ")
                process.communicate(b"")
                with pytest.raises(ConnectionResetError):
                    peer.recv(1)


def test_the_ca_signs_for_the_rules_only(site: Site) -> None:
    from cryptography import x509

    with site.box(*site.allow("GET", "/*"), AllowHTTP("GET", "*.wild.test/*")) as box:
        found = x509.load_pem_x509_certificate(box.run(["cat", "/etc/ssl/certs/19fd6623.0"]).stdout)
        names = found.extensions.get_extension_for_class(x509.NameConstraints)
        basic = found.extensions.get_extension_for_class(x509.BasicConstraints)
    assert names.critical and [name.value for name in names.value.permitted_subtrees or ()] == ["api.test", "wild.test"]
    assert basic.value.ca and basic.value.path_length == 0


# ---- what is told, and what ends ------------------------------------------------------------------------------------


def test_records_and_usage(site: Site, tmp_path: Path) -> None:
    """Each request is an event, with the request as the guest wrote it."""
    with site.box(audit=tmp_path / "audit", trace=True) as box:
        events = box.events(call="http")
        curl(box, site.url("/pub/x?a", tls=True), site.url("/priv", tls=True), site.url("/%2e%2e/", tls=False))
        found = [next(events) for _ in range(3)]
        usage = box.network.usage
    told = [(event.verdict, event.error, *event.paths) for event in found]
    assert told == [
        ("done", None, f"GET api.test:{site.tls.port}/pub/x?a"),
        ("denied", "EACCES", f"GET api.test:{site.tls.port}/priv"),
        ("denied", "EACCES", f"GET api.test:{site.plain.port}/%2e%2e/"),
    ]
    assert usage.refused == 2 and usage.rules["default: no rule of HTTP"] == 1 and usage.rules["default: ambiguous"] == 1
    command = [sys.executable, "-m", "sandbox", "audit", "--json", str(tmp_path / "audit")]
    read = [json.loads(line) for line in subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()]
    assert [(row["verdict"], row["error"], *row["paths"]) for row in read if row["call"] == "http"] == told
    assert SECRET.encode() not in (tmp_path / "audit").read_bytes()


def test_hints(site: Site, tmp_path: Path) -> None:
    toml = f'[[network]]\nallow_http = "http://api.test:{site.plain.port}/pub/*"\nmethods = "GET"\nprivate = true\n[[network]]\nhosts = {{"api.test" = "127.0.0.1"}}\n'
    (tmp_path / "policy.toml").write_text(toml)
    command = [sys.executable, "-m", "sandbox", "run", "--hints", "--policy", str(tmp_path / "policy.toml"), "--", *CURL, site.url("/x?y", tls=False)]
    said = subprocess.run(command, capture_output=True, text=True).stderr
    assert f"--allow-http 'GET api.test:{site.plain.port}/x'" in said


def _proxy(box: Sandbox) -> int:
    return int(box._guest.parts.net._proxied._http._pid)  # type: ignore[union-attr]


def test_a_proxy_that_ends(site: Site) -> None:
    """Its guest has no connections any more, and goes on; another guest's are as they were."""
    with site.box() as box, site.box() as other:
        url = site.url("/pub/x", tls=False)
        assert curl(box, url) == curl(other, url) == "GET /pub/x 0\n"
        os.kill(_proxy(box), signal.SIGKILL)
        while box._guest.parts.net._proxied._http.stands:  # type: ignore[union-attr]
            box.run(["true"])
        assert "(7)" in curl(box, url)
        assert curl(other, url) == "GET /pub/x 0\n"
        assert box._guest.parts.net.usage.rules["default: no proxy"] >= 1  # type: ignore[union-attr]


def test_it_ends_with_its_guest_and_with_the_supervisor(site: Site, tmp_path: Path) -> None:
    """Also where the Supervisor's process is killed."""
    with site.box() as box:
        pidfd = os.pidfd_open(_proxy(box))
    os.close(pidfd)
    source = """
import os, sys
from sandbox import AllowHTTP, Sandbox
box = Sandbox(network=[AllowHTTP("GET", "a.test/*")])
box.run(["cat", "/etc/ssl/certs/19fd6623.0"], check=True)
print(box._guest.parts.net._proxied._http._pid, flush=True)
os.read(0, 1)
"""
    process = subprocess.Popen([sys.executable, "-c", source], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(sandbox.__file__).parent.parent)
    assert process.stdout is not None and process.stdin is not None
    pidfd = os.pidfd_open(int(process.stdout.readline()))
    process.kill()
    process.wait()
    process.stdout.close()
    process.stdin.close()
    import select

    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    assert poll.poll(60_000)
    os.close(pidfd)


@pytest.mark.parametrize("limits", [None, Limits(bytes_sent=1 << 20)], ids=["alone", "with a limit on bytes"])
def test_bytes_are_counted(site: Site, limits: Limits | None) -> None:
    """Those that the guest has sent and received, by the rule of the connection."""
    source = """
import socket, sys
s = socket.create_connection(("api.test", int(sys.argv[1])), 60)
sent = b"GET /pub/x HTTP/1.1\\r\\nHost: api.test\\r\\nConnection: close\\r\\n\\r\\n"
s.sendall(sent); got = 0
while data := s.recv(65536): got += len(data)
print(len(sent), got)
"""
    with site.box(limits=limits) as box:
        done = box.run([sys.executable, "-c", source, str(site.plain.port)], text=True, timeout=100)
        usage = box.network.usage
    sent, received = map(int, done.stdout.split())
    if limits is None and usage.sent is None:
        pytest.skip("this kernel does not tell of sockets that have ended")
    end = 1 if limits is None else 0  # the kernel counts the end of the stream
    assert (usage.sent, usage.received) == (sent, received + end), usage
    assert list(usage.carried.values()) == [(sent, received + end)]


def test_limits_on_bytes(site: Site) -> None:
    """Both a proxy and a limit: the connection is relayed to the one and counted for the other."""
    with site.box(limits=Limits(bytes_received=1 << 20)) as box:
        assert curl(box, site.url("/pub/x", tls=True)) == "GET /pub/x 0\n"
        usage = box.network.usage
    assert usage.received and usage.received > len("GET /pub/x 0\n") and usage.sent


@pytest.mark.parametrize("limits", [None, Limits(bytes_sent=1 << 20)], ids=["alone", "with a limit on bytes"])
def test_the_peer_is_the_server(site: Site, limits: Limits | None) -> None:
    """As getpeername has it, though its connection ends in a relay."""
    source = "import socket, sys; s = socket.create_connection(('api.test', int(sys.argv[1])), 60); print(*s.getpeername())"
    with site.box(limits=limits) as box:
        done = box.run([sys.executable, "-c", source, str(site.plain.port)], text=True, timeout=100)
    assert done.stdout == f"127.0.0.1 {site.plain.port}\n", done


def test_a_change_of_rules_while_nobody_keeps_up(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that waits to be heard ends what is revoked, and goes on."""
    source = """
import http.client, sys, threading
def ask():
    try:
        connection = http.client.HTTPSConnection("api.test", int(sys.argv[1]), timeout=60)
        while True:
            connection.request("GET", "/pub/x"); connection.getresponse().read(); print(flush=True)
    except OSError: pass
    except http.client.HTTPException: pass
for _ in range(16): threading.Thread(target=ask).start()
"""
    behind, came = threading.Event(), 0
    monkeypatch.setattr(Guest, "is_behind", lambda _: behind.is_set())
    with site.box() as box:
        process = box.popen([sys.executable, "-c", source, str(site.tls.port)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        while select.select([process.stdout], [], [], 1 if behind.is_set() else 60)[0]:
            came += len(os.read(process.stdout.fileno(), 1 << 16))
            if came > 50:
                behind.set()
        box.network.deny(f"api.test:{site.tls.port}")
        behind.clear()
        assert process.wait(60) == 0
        done = box.run([sys.executable, "-c", GET, str(site.plain.port)], text=True, timeout=60)
        assert done.stdout == "200\n", done


GET = "import sys, urllib.request\nprint(urllib.request.urlopen(f'http://api.test:{sys.argv[1]}/pub/x').status)"


def test_a_change_of_rules_cuts(site: Site) -> None:
    """A Deny ends connections that the proxy holds, and no others."""
    source = """
import http.client, socket, sys
other = http.client.HTTPSConnection("other.test", int(sys.argv[2]), timeout=60)
def ask():
    other.request("GET", "/pub/x"); answer = other.getresponse(); answer.read(); return answer.status
ask()
other.auto_open = 0
s = socket.create_connection(("api.test", int(sys.argv[1])), 60)
s.sendall(f"GET /pub/x HTTP/1.1\\r\\nHost: api.test:{sys.argv[1]}\\r\\n\\r\\n".encode()); data = b""
while b"GET" not in data: data += s.recv(65536)
print("HTTP", flush=True)
try: print(repr(s.recv(9)))
except OSError as error: print(error.strerror)
print(ask())
"""
    with site.box(*site.allow("GET", "/pub/*"), *site.allow("GET", "/pub/*", "other.test")) as box:
        process = box.popen([sys.executable, "-c", source, str(site.plain.port), str(site.tls.port)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None and "HTTP" in process.stdout.readline()
        box.network.deny(f"api.test:{site.plain.port}")
        assert process.stdout.readline().strip() in ("Connection reset by peer", "b''")
        assert process.stdout.readline() == "200\n"
        process.wait()
        with pytest.raises(sandbox.PolicyError, match="whole life"):
            box.network.allow(AllowHTTP("GET", "x.test/*"))  # type: ignore[arg-type]


def test_the_extra_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox._http_code, "NEEDED", ("h11", "no_such_module"))
    with pytest.raises(SandboxError, match=r"sandbox\[http\]"):
        Sandbox(network=[AllowHTTP("GET", "a.test/*")])


def test_a_proxy_that_cannot_begin(site: Site) -> None:
    """The caller hears why."""
    (site.folder / "none.pem").write_text("no certificate")
    rule = AllowHTTP("GET", "https://api.test/*", ca=site.folder / "none.pem")
    with pytest.raises(SandboxError, match="HTTP proxy: .*"), Sandbox(network=[rule]) as box:
        while True:
            box.run(["cat", "/etc/ssl/certs/ca-certificates.crt"])
    with pytest.raises(sandbox.PolicyError, match="No such file"):
        Sandbox(network=[AllowHTTP("GET", "https://api.test/*", ca=site.folder / "missing.pem")])
