"""Web servers on the loopback, in names that exist nowhere else, with certificates of a CA of their own."""

from __future__ import annotations

import http.server
import shutil
import signal
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Optional

import pytest

from sandbox import AllowHTTP, Header, Hosts, Sandbox
from sandbox._messages import Judged
from tests.helpers import free_port, program

pytest.importorskip("h2", reason="the extra sandbox[http] is not installed")
pytest.importorskip("OpenSSL", reason="the extra sandbox[http] is not installed")
from cryptography import x509  # noqa: E402
from cryptography.hazmat.primitives import hashes, serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec  # noqa: E402
from cryptography.x509.oid import NameOID  # noqa: E402

NAMES = ("api.test", "other.test", "a.wild.test")
SECRET = "Bearer not-for-the-guest"


@dataclass
class Seen:
    """A request as a server got it."""

    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes = b""

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]


class Handler(http.server.BaseHTTPRequestHandler):
    """Says what it got, and keeps it. `/stream` is chunked, `/close` ends with the connection."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        body = self._body()
        self.server.seen.append(Seen(self.command, self.path, list(self.headers.items()), body))
        answer = f"{self.command} {self.path} {len(body)}\n".encode()
        self.send_response(200)
        self.send_header("Alt-Svc", 'h3=":443"')
        if self.path.endswith("/stream"):
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for byte in answer:
                self.wfile.write(b"1\r\n%c\r\n" % byte)
            self.wfile.write(b"0\r\n\r\n")
        elif self.path.endswith("/close"):
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(answer)
            if isinstance(self.connection, ssl.SSLSocket):  # its end, which TLS says
                self.connection.unwrap()
        else:
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer)

    do_POST = do_PUT = do_DELETE = do_HEAD = do_OPTIONS = do_GET

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def log_message(self, *_: Any) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    """On the loopback; `seen` are the requests that came."""

    daemon_threads = True

    def __init__(self, context: Optional[ssl.SSLContext] = None) -> None:
        self.seen: list[Seen] = []
        self.connections = 0
        super().__init__(("127.0.0.1", 0), Handler)
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.port: int = self.server_address[1]

    def handle_error(self, *_: Any) -> None:
        pass  # a peer that breaks off

    def process_request(self, request: Any, address: Any) -> None:
        self.connections += 1
        super().process_request(request, address)


@contextmanager
def running(context: Optional[ssl.SSLContext] = None) -> Iterator[Server]:
    server = Server(context)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class Site:
    """A CA, a certificate of NAMES, and servers: plain, and with TLS."""

    folder: Path
    plain: Server
    tls: Server

    @property
    def ca(self) -> str:
        return str(self.folder / "ca.pem")

    def forget(self) -> None:
        for server in (self.plain, self.tls):
            server.seen.clear()

    @property
    def hosts(self) -> Hosts:
        return Hosts(dict.fromkeys(NAMES, "127.0.0.1"))

    def allow(self, methods: str, path: str, host: str = "api.test") -> list[AllowHTTP]:
        """Of both servers."""
        return [
            AllowHTTP(methods, f"http://{host}:{self.plain.port}{path}", private=True),
            AllowHTTP(methods, f"https://{host}:{self.tls.port}{path}", private=True, ca=self.ca),
        ]

    def url(self, path: str, host: str = "api.test", *, tls: bool) -> str:
        return f"{'https' if tls else 'http'}://{host}:{(self.tls if tls else self.plain).port}{path}"

    def box(self, *rules: Any, **options: Any) -> Sandbox:
        listed = rules or (*self.allow("GET,HEAD,POST", "/pub/*"), self.header)
        return Sandbox(network=[*listed, self.hosts], **options)

    @property
    def header(self) -> Header:
        return Header("Authorization", SECRET, hosts=["api.test"])


class Told:
    """The guest's side, for a proxy without one."""

    def __init__(self) -> None:
        self.decisions: list[Judged] = []

    def judged(self, judged: Judged) -> None:
        self.decisions.append(judged)

    def is_behind(self) -> bool:
        return False

    def fail(self, error: Exception) -> None:
        raise error


def make_certificates(folder: Path) -> ssl.SSLContext:
    """ca.pem, server.pem and server.key in a folder."""
    now, keys = datetime.now(timezone.utc), [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in ("test CA", "test server")]
    for index, file in enumerate(("ca.pem", "server.pem")):
        made = x509.CertificateBuilder().subject_name(names[index]).issuer_name(names[0]).public_key(keys[index].public_key())
        made = made.serial_number(index + 1).not_valid_before(now - timedelta(1)).not_valid_after(now + timedelta(9))
        made = made.add_extension(x509.BasicConstraints(ca=index == 0, path_length=None), critical=True)
        if index:
            made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in NAMES]), critical=False)
        data = made.sign(keys[0], hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        (folder / file).write_bytes(data)
    key = keys[1].private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "server.key").write_bytes(key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    return context


@pytest.fixture
def site() -> Iterator[Site]:
    with _made() as made:
        yield made


@pytest.fixture(scope="module")
def common_site() -> Iterator[Site]:
    """One for all tests of a file, which forget what was seen before."""
    with _made() as made:
        yield made


@contextmanager
def _made() -> Iterator[Site]:
    folder = Path(tempfile.mkdtemp(prefix="sandbox-test-", dir="/var/tmp"))
    try:
        context = make_certificates(folder)
        with running() as plain, running(context) as tls:
            yield Site(folder, plain, tls)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


_NGINX = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log; events {{ worker_connections 64; }}
http {{
  access_log {folder}/access.log; client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
  uwsgi_temp_path {folder}; scgi_temp_path {folder}; client_max_body_size 64m; keepalive_requests {requests};
  server {{
    listen 127.0.0.1:{port} ssl http2; ssl_certificate {folder}/server.pem; ssl_certificate_key {folder}/server.key;
    location /pub/big {{ root {folder}; }}
    location / {{ return 200 "$request_method $request_uri $server_protocol $http_authorization $http_host\\n"; }}
  }}
}}
"""


@contextmanager
def nginx(site: Site, requests: int = 1000) -> Iterator[int]:
    """The port of a server that speaks HTTP/2, too, with the site's certificate; it ends a connection after so many
    requests."""
    port = free_port()
    conf = site.folder / "nginx.conf"
    conf.write_text(_NGINX.format(folder=site.folder, port=port, requests=requests))
    command = [program("nginx", "/usr/sbin"), "-e", str(site.folder / "error.log"), "-c", str(conf), "-p", str(site.folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port, process)
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    import socket
    import time

    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert process.poll() is None, "nginx has ended"
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)  # it tells nobody when it listens
    raise AssertionError("nginx does not listen")
