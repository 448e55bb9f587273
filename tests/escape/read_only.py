"""The frame of the attacks on a file of a read-only grant: one call, made on each kind of descriptor that a guest can get."""

from __future__ import annotations

from pathlib import Path

from tests.escape.attack import build, inside, native
from tests.escape.conftest import Host

_SOURCE = r"""
static int attempt(const char *label, int fd) {
    int result = CALL_HERE;
    told(label, result);
    return result == 0;
}
int main(int argc, char **argv) {
    int fd = open(argv[1], argv[2] ? NATIVE_ACCESS : O_RDONLY), path = open(argv[1], O_PATH);
    char link[32];
    if (fd < 0 || path < 0) return unfit("open");
    sprintf(link, "/proc/self/fd/%d", path);
    int won = attempt("descriptor", fd) | attempt("path descriptor", path);
    return won | attempt("opened anew", open(link, O_RDONLY)) ? WON : LOST;
}
"""


def attack(call: str, native_access: str = "O_RDONLY") -> Path:
    """A program that makes `call` (C, of `fd`). Natively its first descriptor has `native_access`."""
    return build(_SOURCE.replace("CALL_HERE", call).replace("NATIVE_ACCESS", native_access))


def _look(host: Host) -> tuple[object, ...]:
    status = (host.granted / "file").stat()
    return status.st_mode, status.st_uid, status.st_mtime_ns, status.st_ctime_ns, status.st_size


def does_not_reach(program: Path, host: Host, walls: str) -> None:
    """INVARIANT read-only-means-it: every attempt fails, and nothing of the file has changed."""
    before = _look(host)
    assert not inside(program, "/data/file", mounts={"/data": host.granted}, walls=walls).won
    assert _look(host) == before


def works_natively(program: Path, host: Host) -> None:
    before = _look(host)
    assert native(program, host.granted / "file", "natively").won
    assert _look(host) != before
