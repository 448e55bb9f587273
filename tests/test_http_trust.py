"""The CA of a guest with rules of HTTP: one for each run, whose key is in its proxy's memory and nowhere else."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pytest

from sandbox import Sandbox
from sandbox._trust import HASHED
from tests.escape.attack import ordinary
from tests.helpers import program
from tests.http_servers import Site, site
from tests.processes import children

pytest.importorskip("cryptography", reason="the extra sandbox[http] is not installed")
from cryptography import x509  # noqa: E402
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes  # noqa: E402
from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: E402

__all__ = ["site"]
pytestmark = ordinary


def authority(box: Sandbox) -> bytes:
    return box.run(["cat", HASHED]).stdout


def key_of(pem: bytes) -> PublicKeyTypes:
    return x509.load_pem_x509_certificate(pem).public_key()


def test_each_guest_has_its_own(site: Site) -> None:
    """One's signs nothing that another trusts, of the same policy."""
    openssl = program("openssl")
    with site.box() as one, site.box() as two:
        mine, other = authority(one), authority(two)
        assert key_of(mine) != key_of(other)
        for pem, said in ((mine, "OK"), (other, "error")):
            one.write("/work/ca.pem", pem)
            done = one.run([openssl, "verify", "-no-CApath", "-CAfile", HASHED, "/work/ca.pem"], text=True)
            assert said in done.stdout + done.stderr, done


# ---- where its key is not --------------------------------------------------------------------------------------------

SEARCH = """
import os, re, stat, sys
tops, without, since = sys.argv[1].split(":"), sys.argv[2].split(":"), float(sys.argv[3])
def changed(path):
    try: return os.lstat(path).st_ctime >= since
    except OSError: return False
for top in tops:
    for folder, folders, names in os.walk(top):
        paths = [os.path.join(folder, each) for each in folders]
        folders[:] = [path for path in paths if path not in without and changed(path)]
        for name in names:
            path = os.path.join(folder, name)
            try:
                status = os.lstat(path)
                if not stat.S_ISREG(status.st_mode) or status.st_size > 1 << 20 or not changed(path): continue
                with open(path, "rb") as file: text = file.read()
            except OSError: continue
            for found in re.findall(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----", text, re.S):
                sys.stdout.buffer.write(found + b"\\n\\0")
"""
"""Prints each private key that a file has which was changed since then, below some directories and not below others; a
directory is changed when a file is made in it."""


def command(tops: Iterable[str], without: Iterable[str] = (), since: float = 0) -> list[str]:
    return [sys.executable, "-c", SEARCH, ":".join(tops), ":".join(without), str(since)]


def public(found: bytes) -> list[PublicKeyTypes]:
    keys = []
    for pem in found.split(b"\0")[:-1]:
        try:
            keys.append(load_pem_private_key(pem, None).public_key())
        except (TypeError, ValueError):
            pass  # a fragment of a text, or one with a password, which nobody here has
    return keys


def test_no_file_of_the_host_or_the_guest_has_its_key(site: Site) -> None:
    """The same search finds a server's, which files have."""
    tops = {tempfile.gettempdir(), "/var/tmp", "/dev/shm"}
    with site.box() as box:
        assert box.run(["curl", "-sS", site.url("/pub/x", tls=True)]).stdout == b"GET /pub/x 0\n"  # it has signed
        box.write("/work/key.pem", (site.folder / "server.key").read_bytes())
        own, theirs = key_of(authority(box)), key_of((site.folder / "server.pem").read_bytes())
        shared = ("/usr", "/proc", "/sys", sys.prefix, sys.base_prefix)  # with the host: nothing of a run is there
        outside = public(subprocess.run(command(tops, since=os.stat(site.folder).st_ctime), check=True, capture_output=True).stdout)
        inside = public(box.run(command(["/"], shared), check=True, timeout=100).stdout)
    for keys in (outside, inside):
        assert theirs in keys and own not in keys


def written(pid: int) -> int:
    """Bytes that a process has sent on their way to a disk."""
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes:"))


@pytest.mark.skipif(os.geteuid() != 0, reason="what a process that is not dumpable has written is shown to root only")
def test_its_proxy_has_written_nothing(site: Site) -> None:
    """One that writes a key is seen to have."""
    with tempfile.NamedTemporaryFile(dir=site.folder) as file:
        before = written(os.getpid())
        file.write((site.folder / "server.key").read_bytes())
        file.flush()
        if written(os.getpid()) == before:
            pytest.skip("this kernel, or this file system, does not count what is written")
    with site.box() as box:
        assert authority(box)
        (proxy,) = [pid for pid, words in children().items() if any(b"sandbox._http.process" in word for word in words)]
        held = [os.readlink(f"/proc/{proxy}/fd/{fd}") for fd in os.listdir(f"/proc/{proxy}/fd")]
        assert (written(proxy), [each for each in held if each.startswith("/") and each != "/dev/null"]) == (0, [])
