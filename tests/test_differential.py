"""Random sequences of filesystem calls give the same results, errnos and trees natively and inside.

HYPOTHESIS_EXAMPLES and HYPOTHESIS_RANDOM=1 make it longer and different each time (make soak)."""

from __future__ import annotations

import ast
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from tests import differential_actor
from tests.helpers import give_up_privileges, interpreter

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = int(os.environ.get("HYPOTHESIS_EXAMPLES", "700"))
RANDOM = os.environ.get("HYPOTHESIS_RANDOM") == "1"

NAMES = [b"a", b"b", b"c", b"c d", b"new\nline", b"\xff\xfe", b"e" * 255]
ODD = [b".", b"..", b"", b"e" * 256, b"l0", b"l3", b"l5", b"a"]
FLAGS = [os.O_CREAT, os.O_EXCL, os.O_TRUNC, os.O_APPEND, os.O_DIRECTORY, os.O_NOFOLLOW, os.O_PATH, os.O_TMPFILE]

name = st.one_of(st.sampled_from(NAMES), st.sampled_from(NAMES), st.sampled_from(ODD))
parts = st.lists(name, min_size=1, max_size=4).map(b"/".join)
slash = st.sampled_from([b"", b"", b"", b"", b"/", b"//", b"/."])
start = st.sampled_from([b"", b"", b"", b"./", b"/", b"a/", b"../"])


def _stretched(path: bytes, length: int) -> bytes:
    """The same place by a path of exactly this length."""
    more = length - len(path)
    return b"./" * (more // 2) + (b"" if more % 2 == 0 else b"/" if not path.startswith(b"/") and more > 1 else b"") + path


short = st.builds(lambda a, b, c: a + b + c, start, parts, slash)
path = st.one_of(short, short, short, short, short, st.builds(_stretched, short, st.integers(4090, 4099)))
at = st.sampled_from([-1, -1, -1, 0, 1, 2])
slot = st.integers(0, 2)
mode = st.sampled_from([0o644, 0o755, 0o600, 0o777, 0o500, 0o300, 0, 0o1777])
flags = st.builds(
    lambda way, more: way | sum(set(more)) if os.O_TMPFILE not in more else way | os.O_TMPFILE,
    st.sampled_from([os.O_RDONLY, os.O_WRONLY, os.O_RDWR]),
    st.lists(st.sampled_from(FLAGS), max_size=3),
)
size = st.sampled_from([0, 1, 10, 5000, -1])
follow = st.booleans()

# Of two paths only the first is long: where both are wrong, Linux looks up the first before it copies the second.
calls = st.one_of(
    st.tuples(st.just("open"), slot, at, path, flags, mode),
    st.tuples(st.just("open"), slot, at, path, st.just(os.O_CREAT | os.O_RDWR), mode),
    st.tuples(st.just("open"), slot, at, path, st.just(os.O_RDONLY | os.O_DIRECTORY), mode),
    st.tuples(st.just("close"), slot),
    st.tuples(st.sampled_from(["read", "fstat", "fchdir", "list_fd", "fd_name"]), slot),
    st.tuples(st.just("write"), slot, st.sampled_from([b"x", b"some data"])),
    st.tuples(st.just("ftruncate"), slot, size),
    st.tuples(st.just("fchmod"), slot, mode),
    st.tuples(st.just("link_fd"), slot, short),
    st.tuples(st.just("reopen"), slot, flags),
    st.tuples(st.sampled_from(["stat", "lstat", "readlink", "rmdir", "unlink"]), at, path),
    st.tuples(st.just("access"), at, path, st.integers(0, 7)),
    st.tuples(st.sampled_from(["list", "chdir", "statvfs"]), path),
    st.tuples(st.just("mkdir"), at, path, mode),
    st.tuples(st.just("mkdir"), st.just(-1), parts, st.just(0o755)),
    st.tuples(st.just("rename"), path, short, st.sampled_from([0, 0, 0, 1, 2, 3])),
    st.tuples(st.just("link"), path, short, follow),
    st.tuples(st.just("symlink"), short.filter(bool), at, path),
    st.tuples(st.just("mknod"), at, path, st.sampled_from([stat.S_IFREG, stat.S_IFIFO]), mode),
    st.tuples(st.just("chmod"), path, mode),
    st.tuples(st.just("truncate"), path, size),
    st.tuples(st.just("utime"), path, st.sampled_from([0, 1, 1 << 31]), follow),
    st.tuples(st.just("setxattr"), path, st.sampled_from([b"", b"value"]), follow),
    st.tuples(st.just("getxattr"), path, follow),
    st.just(("getcwd",)),
    st.tuples(st.just("umask"), st.sampled_from([0, 0o22, 0o77])),
    st.tuples(st.just("chain"), st.just(b"l"), st.sampled_from([6, 40, 41, 45])),
)


class Side:
    """One actor, natively or inside."""

    def __init__(self, command: list[str], drop: bool) -> None:
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=give_up_privileges if drop else None
        )

    def ask(self, number: int, sequence: list[Any]) -> Any:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(repr((number, sequence)).encode() + b"\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, f"the actor has ended: {self.process.wait()}"
        return ast.literal_eval(line.decode())

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


@pytest.fixture(scope="module", params=[(), ("namespaces",)], ids=["", "namespaces"])
def sides(request: pytest.FixtureRequest) -> Iterator[tuple[Side, Side]]:
    top = Path(tempfile.mkdtemp(prefix="sandbox-test-", dir="/var/tmp"))
    here, there = top / "here", top / "there"
    here.mkdir()
    there.mkdir()
    native = Side([interpreter(), "-I", differential_actor.__file__, str(here)], True)
    inside = [sys.executable, "-m", "tests.differential_inside", str(here), str(there)]
    refusing = [sys.executable, "-m", "tests.refusing", *request.param, "--"] if request.param else []
    guest = Side([*refusing, *inside], False)
    yield native, guest
    native.close()
    guest.close()
    subprocess.run(["chmod", "-R", "u+rwX", str(top)], check=False, stderr=subprocess.DEVNULL)
    shutil.rmtree(top, ignore_errors=True)


_numbers = iter(range(1 << 30))
_sides: list[Side] = []


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=not RANDOM,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
)
@given(st.lists(calls, min_size=5, max_size=40))
def _same(sequence: list[Any]) -> None:
    number = next(_numbers)
    native, guest = (side.ask(number, sequence) for side in _sides)
    for call, there, here in zip(sequence, native[0], guest[0]):
        if (there, here) == ("EINVAL", "ENAMETOOLONG"):
            continue  # both are wrong: a path is copied before other arguments are looked at
        if here != there:
            # Linux counts the links of a walk twice where it has to begin it anew, which depends on its caches.
            assume(native == _sides[0].ask(next(_numbers), sequence))
        assert here == there, f"{call}: natively {there!r}, inside {here!r}, in {sequence}"
    assert guest[1] == native[1], f"trees differ after {sequence}"


def test_same_results(sides: tuple[Side, Side]) -> None:
    _sides[:] = sides
    _same()
