"""Real servers of the host's, for the programs of guests."""

from __future__ import annotations

import http.server
import os
import pwd
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tests.helpers import free_port, program


def listens(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until somebody does; fail where the server ends instead."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.02)
    pytest.fail(f"{process.args} does not listen: {process.poll()}")


@contextmanager
def server(command: Sequence[object], port: int) -> Iterator[None]:
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            listens(port, process)
            yield
        finally:
            process.terminate()
            process.wait()


# ---- ssh -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sshd:
    """`folder` has a key that it takes and its own, as known hosts."""

    port: int
    folder: Path

    @property
    def ssh(self) -> str:
        return self.client(self.port)

    def client(self, port: int) -> str:
        """The command of a client that comes by this port, up to the host."""
        options = {
            "UserKnownHostsFile": self.folder / "known",
            "GlobalKnownHostsFile": "none",
            "BatchMode": "yes",
            "User": pwd.getpwuid(os.getuid()).pw_name,
            "HostKeyAlias": f"[127.0.0.1]:{self.port}",
            "Port": port,
        }
        words = " ".join(f"-o {name}={value}" for name, value in options.items())
        return f"{program('ssh')} -F none -i {self.folder}/key {words}"


_SSHD = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/key.pub
StrictModes no
UsePAM no
PidFile none
PermitRootLogin yes
PasswordAuthentication no
KbdInteractiveAuthentication no
"""


@contextmanager
def sshd(folder: Path) -> Iterator[Sshd]:
    """A server of this user's, who can log in by a key. Its files are in `folder`; the guest is to see `folder`/mine."""
    daemon, mine = program("sshd"), folder / "mine"
    mine.mkdir()
    made = Sshd(free_port(), mine)
    for key in (folder / "host", mine / "key"):
        subprocess.run([program("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    (mine / "known").write_text(f"[127.0.0.1]:{made.port} {(folder / 'host.pub').read_text()}")
    text = _SSHD.format(port=made.port, folder=folder).replace(f"{folder}/key.pub", f"{mine}/key.pub")
    (folder / "conf").write_text(text)
    with _separated(), server([daemon, "-D", "-e", "-f", folder / "conf"], made.port):
        yield made


@contextmanager
def _separated() -> Iterator[None]:
    """The directory that a server of root's wants, where none was ever started."""
    folder = Path("/run/sshd")
    if os.getuid() or folder.exists():
        yield
        return
    folder.mkdir(mode=0o755)
    try:
        yield
    finally:
        folder.rmdir()


# ---- HTTP ------------------------------------------------------------------------------------------------------------


def certificate(folder: Path) -> Path:
    """Of 127.0.0.1, ::1 and localhost, with its key in one file `folder`/pair; its authority is itself."""
    pair = folder / "pair"
    names = "subjectAltName=IP:127.0.0.1,IP:::1,DNS:localhost"
    command = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    more = ["-subj", "/CN=localhost", "-addext", names, "-keyout", str(pair), "-out", str(folder / "authority")]
    subprocess.run([program("openssl"), *command, *more], check=True, capture_output=True)
    pair.write_bytes(pair.read_bytes() + (folder / "authority").read_bytes())
    return pair


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


class SmartGit(_Quiet):
    """The repositories of a folder by git's own protocol over HTTP, also for who pushes."""

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        asked = {
            "GIT_PROJECT_ROOT": self.directory,
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "REMOTE_USER": "tester",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
        }
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        command = [program("git"), "http-backend"]
        answer = subprocess.run(command, env={"PATH": os.environ["PATH"], **asked}, input=body, stdout=subprocess.PIPE, check=True).stdout
        head, _, rest = answer.partition(b"\r\n\r\n")
        status = head.partition(b"Status: ")[2][:3] or b"200"
        self.wfile.write(b"HTTP/1.0 %s .\r\n%s\r\nContent-Length: %d\r\n\r\n%s" % (status, head, len(rest), rest))

    do_POST = do_GET


@contextmanager
def https(folder: Path, pair: Path, handler: type[_Quiet] = _Quiet) -> Iterator[int]:
    """The files of a folder over TLS; its port of the host's loopback."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder))) as made:
        made.socket = context.wrap_socket(made.socket, server_side=True)
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        try:
            yield made.server_port
        finally:
            made.shutdown()
            thread.join()


_NGINX = """
{user} daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/log;
events {{}}
http {{
  access_log off; client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3; uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
  server {{ listen 127.0.0.1:{tls} ssl http2; listen 127.0.0.1:{plain} http2; ssl_certificate {pair}; ssl_certificate_key {pair}; root {folder}/site; }}
}}
"""


@contextmanager
def nginx(folder: Path, pair: Path) -> Iterator[tuple[int, int]]:
    """The files of `folder`/site over HTTP/2, with TLS and without; its two ports of the host's loopback."""
    tls, plain = free_port(), free_port()
    user = "user root root;" if os.getuid() == 0 else ""
    (folder / "conf").write_text(_NGINX.format(user=user, folder=folder, pair=pair, tls=tls, plain=plain))
    with server([program("nginx"), "-c", folder / "conf", "-e", folder / "log"], plain):
        yield tls, plain
