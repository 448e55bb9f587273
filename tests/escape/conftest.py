"""Fixtures of the attacks: a place on the host that the caller grants read-only, and one that nobody grants."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Host:
    """`granted` is for a read-only mount, `writable` for a writable one, `secret` for none. Each holds a file `file`."""

    granted: Path
    writable: Path
    secret: Path

    @property
    def content(self) -> dict[str, bytes]:
        return {folder.name: (folder / "file").read_bytes() for folder in (self.granted, self.secret)}


@pytest.fixture
def host() -> Iterator[Host]:
    top = Path(tempfile.mkdtemp(prefix="sandbox-host-", dir="/var/tmp")).resolve()
    top.chmod(0o755)
    made = Host(top / "granted", top / "writable", top / "secret")
    for folder in (made.granted, made.writable, made.secret):
        folder.mkdir()
        (folder / "file").write_bytes(b"of " + folder.name.encode())
    yield made
    os.chmod(made.writable, 0o700)
    shutil.rmtree(top, ignore_errors=True)
