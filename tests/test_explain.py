"""What explain says is what happens: each case is asked, and the call is made inside under the same policy."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

import pytest

import sandbox
from sandbox import Allow, Deny, Explanation, File, Hosts, Mount, Policy, PolicyError, Scratch
from tests.helpers import interpreter
from tests.test_cli import call

INSIDE = """
import errno, json, os, socket, sys
FLAGS = {"r": os.O_RDONLY, "w": os.O_CREAT | os.O_TRUNC, "a": os.O_CREAT | os.O_APPEND, "x": os.O_CREAT | os.O_EXCL}

def flags_of(mode):
    access = os.O_RDWR if "+" in mode else os.O_RDONLY if mode == "r" else os.O_WRONLY
    return FLAGS[mode[0]] | access | os.O_NONBLOCK

def open_(path, mode):
    there = os.path.exists(path)
    os.close(os.open(path, flags_of(mode)))
    if not there:
        os.unlink(os.path.realpath(path))

def exec_(path, _):
    reader, writer = os.pipe()
    if (pid := os.fork()) == 0:
        os.dup2(os.open("/dev/null", os.O_WRONLY), 1)
        try:
            (os.execv if "/" in path else os.execvp)(path, [path])
        except OSError as error:
            os.write(writer, str(error.errno).encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(pid, 0)
    number = os.read(reader, 9)
    os.close(reader)
    if number:
        raise OSError(int(number), "")

def address(subject):
    host, _, port = subject.rpartition("//")[2].rpartition(":")
    return host.strip("[]") or "0.0.0.0", int(port)

def sock(subject, host):
    kind = socket.SOCK_DGRAM if subject.startswith("udp") else socket.SOCK_STREAM
    return socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind)

def connect(subject, _):
    host, port = address(subject)
    if not host[0].isdecimal() and ":" not in host:
        host = socket.getaddrinfo(host, port)[0][4][0]
    with sock(subject, host) as s:
        s.settimeout(0.3)
        try:
            s.connect((host, port))
        except (socket.timeout, TimeoutError, ConnectionRefusedError):  # one and the same since 3.10
            pass  # nobody is there

def listen(subject, _):
    host, port = address(subject)
    with sock(subject, host) as s:
        s.bind((host, port))
        s.listen()

def resolve(name, _):
    socket.getaddrinfo(name, 80)

DO = {"open": open_, "create": lambda path, _: open_(path, "x"), "stat": lambda path, _: os.stat(path), "exec": exec_,
      "connect": connect, "listen": listen, "resolve": resolve}
EAI = {value: name for name, value in vars(socket).items() if name.startswith("EAI_")}
for call, subject, mode in json.loads(sys.stdin.read()):
    try:
        DO[call](subject, mode)
        said = None
    except socket.gaierror as error:
        said = EAI[error.errno]
    except OSError as error:
        said = errno.errorcode[error.errno]
    print(json.dumps(said), flush=True)
"""
Case = tuple[str, str, str]


def outcomes(policy: Policy, cases: list[Case]) -> dict[Case, Optional[str]]:
    """What each call gives inside, as the name of its error or None."""
    ran = sandbox.run([interpreter(), "-c", INSIDE], input=json.dumps(cases), text=True, policy=policy)
    answers = [json.loads(line) for line in ran.stdout.splitlines()]
    assert len(answers) == len(cases), ran.stderr
    return dict(zip(cases, answers))


def _fill(top: Path) -> None:
    for name in ("sub", "shut", "hidden"):
        (top / name).mkdir()
        (top / name / "in").write_text("in")
    for name, content, mode in FILES:
        (top / name).write_bytes(content)
        (top / name).chmod(mode)
    for name, target in LINKS.items():
        (top / name).symlink_to(target)
    shutil.copy("/bin/true", top / "program")
    os.mkfifo(top / "fifo")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(top / "socket"))
    if os.getuid() == 0:
        os.chown(top / "theirs", 1234, 1234)
    (top / "shut").chmod(0)


FILES = (
    *(("file", b"x", 0o644), ("unreadable", b"x", 0o200), ("nothing", b"x", 0), ("readonly", b"x", 0o444)),
    *(("theirs", b"x", 0o600), ("text", b"only text", 0o755), ("script", b"#!/bin/sh\n", 0o755)),
    *(("plain-script", b"#!/bin/sh\n", 0o644), ("lost", b"#!/nowhere/sh\n", 0o755), ("to-text", b"#!/ro/text\n", 0o755)),
    *(("circle", b"#!/ro/circle\n", 0o755), ("unread-program", b"#!/bin/sh\n", 0o711), ("empty", b"", 0o755)),
    ("spaced", b"#! \t/bin/sh -e \n", 0o755),
)
LINKS = {
    "to-file": "file", "to-root": "/etc/passwd", "outside": "/var/tmp", "dangling": "nowhere", "loop": "loop",
    "to-sub": "sub", "up": "../etc/passwd", "to-hidden": "hidden/in", "to-rw": "/rw/file", "through": "to-sub/in",
}  # fmt: skip
NAMES = (
    *(name for name, *_ in FILES),
    *LINKS,
    *("sub", "sub/in", "shut", "shut/in", "hidden", "hidden/in", "fifo", "socket", "program", "none", "none/deeper"),
    *("file/below", "to-sub/in", "loop/x", "sub/../file", "shut/../file", "none/../file", "sub/", "file/", ".", "n" * 256),
)
PATHS = (
    *(f"{mount}/{name}" for mount in ("/ro", "/rw") for name in NAMES),
    *("/", "/none", "/none/x", "/deep", "/deep/none", "/deep/er/x", "/deep/er/x/y", "/bytes", "/function", "/function/x"),
    *("/s", "/s/none", "/s/none/x", "/sn/none", "/etc", "/etc/passwd", "/etc/shadow", "/etc/none", "/etc/os-release", "/bin/sh", "/usr/none"),
    *("/usr/lib/none", "/dev/null", "/dev/none", "/work", "/work/new", "/tmp/new", "new", "../etc/passwd", "/ro/../rw/file"),
    *("/ro/un\x1b[2Jse\nen", "/ro/\udcff", "/var", "/root/x"),
)
PROGRAMS = (
    *(f"{mount}/{name}" for mount in ("/ro", "/rw", "/noexec") for name in NAMES if name != "fifo"),
    *("/bytes", "/bytes-script", "/function", "/usr/bin/true", "/bin/sh", "/etc/passwd", "/usr", "/dev/null", "true", "nonesuch"),
    *("/s/none", "/etc/mtab-none", "/noexec", "/"),
)
MODES = ("r", "w", "a", "x", "r+", "w+")
PEERS = ("/fifo", "/socket")
"""What is opened for writing there depends on who reads, and on Landlock."""
FILE_CASES: list[Case] = [
    *(("open", path, mode) for path in PATHS for mode in MODES if mode in ("r", "x") or not path.endswith(PEERS)),
    *((kind, path, "") for path in PATHS for kind in ("stat", "create")),
    *(("exec", path, "") for path in PROGRAMS),
]


@pytest.fixture(scope="module")
def tree() -> Iterator[Path]:
    top = Path(tempfile.mkdtemp(prefix="sandbox-explain-", dir="/var/tmp"))
    for name in ("a", "b"):
        (top / name).mkdir()
        _fill(top / name)
    yield top
    subprocess.run(["chmod", "-R", "u+rwX", str(top)], check=False)
    shutil.rmtree(top)


@pytest.fixture(scope="module")
def policy(tree: Path) -> Policy:
    return Policy(
        mounts=[
            Mount("/ro", tree / "a", hide=["hidden"]),
            Mount("/rw", tree / "b", writable=True),
            Mount("/noexec", tree / "a", noexec=True),
        ],
        scratch=[Scratch("/s"), Scratch("/sn", noexec=True)],
        files=[
            File("/deep/er/x", b"x"),
            File("/bytes", b"x"),
            File("/bytes-script", b"#!/bin/sh\n", executable=True),
            File("/function", lambda: b"x"),
        ],
    )


@pytest.fixture(scope="module")
def done(policy: Policy) -> dict[Case, Optional[str]]:
    return outcomes(policy, FILE_CASES)


@pytest.mark.parametrize("case", FILE_CASES, ids=lambda case: ascii(" ".join(case)[:60]))
def test_files(policy: Policy, done: dict[Case, Optional[str]], case: Case) -> None:
    """Decision and errno of each call on a path."""
    kind, path, mode = case
    said = policy.explain(kind, path, **({"mode": mode} if mode else {}))
    assert said.error == done[case], said
    assert said.allowed == (done[case] is None)


CHANGING = """
import errno, json, os, stat, sys

def again(do, undo):
    do()
    undo()

def removed(path):
    os.rmdir(path) if os.path.isdir(path) and not os.path.islink(path) else os.unlink(path.rstrip("/"))

DO = {
    "access": lambda path, mode: access(path, sum({"r": 4, "w": 2, "x": 1}[letter] for letter in mode)),
    "readlink": lambda path, _: os.readlink(path),
    "chdir": lambda path, _: again(lambda: os.chdir(path), lambda: os.chdir("/work")),
    "list": lambda path, _: os.listdir(path),
    "mkdir": lambda path, _: again(lambda: os.mkdir(path), lambda: os.rmdir(path)),
    "symlink": lambda path, _: again(lambda: os.symlink("x", path), lambda: os.unlink(path)),
    "mknod": lambda path, _: again(lambda: os.mkfifo(path), lambda: os.unlink(path)),
    "unlink": lambda path, _: os.unlink(path),
    "rmdir": lambda path, _: os.rmdir(path),
    "link": lambda path, to: again(lambda: os.link(path, to, follow_symlinks=False), lambda: os.unlink(to)),
    "rename": lambda path, to: os.rename(path, to),
    "truncate": lambda path, _: os.truncate(path, 1),
    "chmod": lambda path, _: os.chmod(path, stat.S_IMODE(os.stat(path).st_mode) if os.path.exists(path) else 0o600),
    "chown": lambda path, _: os.chown(path, os.getuid(), os.getgid()),
    "utime": lambda path, _: os.utime(path),
}

def access(path, mode):  # os.access does not say why not
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.access(os.fsencode(path), mode):
        raise OSError(ctypes.get_errno(), "")

for line in sys.stdin:
    call, path, detail = json.loads(line)
    try:
        DO[call](path, detail)
        said = None
    except OSError as error:
        said = errno.errorcode[error.errno]
    print(json.dumps(said), flush=True)
"""
UNCHANGED = ("access", "readlink", "chdir", "list", "truncate", "chmod", "chown", "utime", "mkdir", "symlink", "mknod")
SOURCES, TARGETS_OF = ("/rw/file", "/rw/sub", "/rw/theirs", "/rw/to-file"), ("/rw/new", "/rw/file", "/rw/sub/new", "/ro/new", "/s/new")
MORE = ("/rw/new", "/rw/new/", "/s/new/", "/ro/new/", "/rw/to-sub/", "/rw/..", "/rw/sub/..", "/rw/dangling/", "/rw/fifo/", "/rw/shut/", "/rw/shut/new")
CHANGES: list[Case] = [
    *((kind, path, mode) for kind in UNCHANGED for path in (*PATHS, *MORE) for mode in (("r", "w", "x", "rw") if kind == "access" else ("",))),
    *((kind, path, "") for kind in ("unlink", "rmdir") for path in (*PATHS, *MORE)),
    *((kind, path, to) for kind in ("link", "rename") for path in (*PATHS, *MORE) for to in TARGETS_OF),
    *((kind, path, to) for kind in ("link", "rename") for path in SOURCES for to in (*PATHS, *MORE)),
]


def explained(policy: Policy, case: Case) -> Explanation:
    kind, path, detail = case
    options = {"to": detail} if kind in ("link", "rename") else {"mode": detail} if detail else {}
    return policy.explain(kind, path, **options)  # type: ignore[arg-type]


def test_changes(policy: Policy, tree: Path) -> None:
    """Decision and errno of each call that looks at a path or changes what is there. What a call has changed is as it
    was before the next one is asked and made."""
    wrong = []
    with sandbox.Popen([interpreter(), "-c", CHANGING], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, policy=policy) as process:
        assert process.stdin is not None and process.stdout is not None
        for case in dict.fromkeys(CHANGES):
            said = explained(policy, case)
            process.stdin.write(json.dumps(case) + "\n")
            process.stdin.flush()
            happened = json.loads(process.stdout.readline())
            if said.decision == "depends":
                assert "is empty is not the user's to see" in said.reason
            elif (said.error, said.allowed) != (happened, happened is None):
                wrong.append((*case, said.error, happened, said.rule, said.reason))
            if happened is None and case[0] not in ("access", "readlink", "chdir", "list", "utime"):
                subprocess.run(["chmod", "-R", "u+rwX", str(tree / "b")], check=True)
                for entry in (tree / "b").iterdir():
                    shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
                _fill(tree / "b")
        process.stdin.close()
    assert not wrong, "\n".join(map(str, wrong))


def test_a_change_has_its_remedy_and_its_wall() -> None:
    policy = Policy(mounts=[Mount("/data", "/usr/share")])
    for said in (policy.explain("unlink", "/data/dict"), policy.explain("rename", "/data/a", to="/data/b"), policy.explain("chmod", "/data/dict")):
        assert (said.decision, said.error) == ("refused", "EROFS") and said.remedy.startswith("--rw /usr/share:/data")
        assert [name for name, _ in said.walls] == ["mountns", "landlock"]


def test_a_mount_stays_where_it_is(tmp_path: Path) -> None:
    """In a writable mount, too; a directory that has one below it, as well."""
    for name in ("a/in", "b"):
        (tmp_path / name).mkdir(parents=True)
    policy = Policy(mounts=[Mount("/d", tmp_path, writable=True), Mount("/d/a/in", tmp_path / "b", writable=True)])
    cases: list[Case] = [("rmdir", "/d/a/in", ""), ("rename", "/d/a/in", "/d/c"), ("rename", "/d/a", "/d/c"), ("rename", "/d/b", "/d/a")]
    lines = "".join(json.dumps(case) + "\n" for case in cases)
    ran = sandbox.run([interpreter(), "-c", CHANGING], input=lines, text=True, policy=policy)
    assert [json.loads(line) for line in ran.stdout.splitlines()] == ["EBUSY"] * 4
    said = [explained(policy, case) for case in cases]
    assert {(each.decision, each.error) for each in said} == {("refused", "EBUSY")} and "a mount stands at" in said[0].reason


RULES = [
    *(Allow("tcp://127.0.0.1:5432"), Allow("*.example.org:443"), Allow("192.0.2.9:1-99"), Deny("192.0.2.9:80")),
    *(Hosts({"db.internal": "127.0.0.1", "far.internal": "10.9.9.9"}), Allow("far.internal:1")),
]
NETWORKS: dict[str, Any] = {"none": "none", "loopback": "loopback", "rules": RULES, "host": ["host", Deny("10.9.9.9")]}
TARGETS = (
    *("127.0.0.1:5432", "udp://127.0.0.1:5432", "127.0.0.9:1", "[::1]:5432", "0.0.0.0:5432", "localhost:9"),
    *("192.0.2.9:80", "192.0.2.8:443", "udp://192.0.2.8:53", "169.254.169.254:80", "10.9.9.9:1", "127.1.2.3:44", "10.0.2.15:1"),
    *("db.internal:5432", "far.internal:1", "far.internal:2", "api.example.com:443"),
)
LISTENING = ("27083", "127.0.0.1:27083", "127.0.0.9:27083", "0.0.0.0:27084", "[::1]:27083", "192.0.2.8:27083", "10.0.2.15:27083", "10.0.2.16:27083", "127.0.0.253:27083")
RESOLVED = ("localhost", "db.internal", "api.example.com", "example.org")
NETWORK_CASES: list[Case] = [
    *(("connect", target, "") for target in TARGETS),
    *(("listen", at, "") for at in LISTENING),
    *(("resolve", name, "") for name in RESOLVED),
]
UNLIKE = ("10.0.2.15:1", "169.254.169.254:80", "10.9.9.9:1", "127.1.2.3:44", "far.internal:1", "192.0.2.8:443", "udp://192.0.2.8:53", "192.0.2.9:80")
"""Where it is allowed, what comes of it is the host's network to say."""


@pytest.fixture(scope="module")
def told() -> dict[str, dict[Case, Optional[str]]]:
    return {name: outcomes(Policy(network=network), NETWORK_CASES) for name, network in NETWORKS.items()}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("case", NETWORK_CASES, ids=lambda case: " ".join(case))
def test_network(told: dict[str, dict[Case, Optional[str]]], network: str, case: Case) -> None:
    """Decision and error of each call on the network. A name is resolved first, and fails as resolve does."""
    kind, subject, _ = case
    said, happened = Policy(network=NETWORKS[network]).explain(kind, subject), told[network][case]
    if said.allowed and subject in UNLIKE:
        assert happened != "EACCES"
    elif said.rule == "host" and happened in ("EAI_NONAME", "EAI_AGAIN"):
        assert said.allowed  # it was asked for, and no server of this machine knows it
    else:
        assert said.error == happened, said


def test_a_name_of_hosts_is_judged_by_its_addresses() -> None:
    rules = Policy(network=[Hosts({"db.internal": "10.0.0.5"}), Allow("10.0.0.0/8:5432")])
    assert rules.explain("connect", "db.internal:5432").rule == "allow 10.0.0.0/8:5432"
    assert rules.explain("connect", "db.internal:22").rule == "default"


def test_what_a_running_guest_alone_can_tell() -> None:
    """/proc and terminals depend on what the guest does: nothing is promised."""
    for path in ("/proc/self/status", "/dev/pts/0", "/dev/tty", "/dev/stdin", "/etc/mtab"):
        said = Policy().explain("open", path)
        assert (said.decision, said.error, said.allowed) == ("depends", None, False)


def test_the_wall_behind_is_the_first_that_stands(policy: Policy) -> None:
    said = policy.explain("open", "/ro/file", mode="w")
    assert [name for name, _ in said.walls] == ["mountns", "landlock"]
    assert "behind it:  mountns:" in said.text(["landlock", "mountns"])
    assert "behind it:  landlock:" in said.text(["landlock"])
    assert "behind it:  nothing here" in said.text([])
    assert policy.explain("open", "/ro/file").walls == ()


def test_nothing_raw_reaches_a_terminal(policy: Policy) -> None:
    """Control characters, newlines and bytes that are no text are escaped, wherever they stand."""
    evil = "e\x1b]0;x\x07\n\udcff\u202e"
    for text in (str(policy.explain("open", f"/ro/{evil}", mode="w")), str(policy.explain("stat", f"/{evil}"))):
        assert all(line.isprintable() and line.isascii() for line in text.split("\n"))
        assert "\\x1b]0;x\\x07\\n\\xff\\u202e" in text


@pytest.mark.parametrize(
    ("kind", "subject", "options"),
    [
        *(("open", "", {}), ("open", "/a\0b", {}), ("open", "/a", {"mode": "rw"}), ("open", "/" + "a/" * 2048, {})),
        *(("fly", "/a", {}), ("connect", "example.org", {}), ("connect", "10.0.0.0/8:1", {}), ("connect", "*:443", {})),
        *(("connect", "127.0.0.1:0", {}), ("listen", "localhost:1", {}), ("listen", "99999", {}), ("stat", 7, {})),
        *(("rename", "/a", {}), ("stat", "/a", {"to": "/b"}), ("access", "/a", {"mode": "rz"}), ("link", "/a", {"to": ""})),
    ],
)
def test_what_is_no_question(kind: str, subject: Any, options: dict[str, str]) -> None:
    with pytest.raises(PolicyError):
        Policy(network="host").explain(kind, subject, **options)


def test_command(tree: Path, tmp_path: Path) -> None:
    """The options are those of run; the status says whether it is allowed."""
    done = call("explain", "--ro", f"{tree}/a:/data", "open", "/data/file")
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("open /data/file r: allowed\n")
    done = call("explain", "--ro", f"{tree}/a:/data", "open", "/data/file", "a")
    assert done.returncode == 1
    assert f"  to allow:   --rw {tree}/a:/data in place" in done.stdout and "\n  behind it:  " in done.stdout
    (tmp_path / "p.toml").write_text('[[network]]\nallow = "a.example.org:443"\n')
    done = call("explain", "--policy", str(tmp_path / "p.toml"), "--json", "connect", "a.example.org:80")
    assert done.returncode == 1
    said = json.loads(done.stdout)
    assert (said["decision"], said["error"], said["rule"]) == ("refused", "EACCES", "default")
    assert said["remedy"] == "--allow a.example.org:80"
    assert call("explain", "exec", "sh").returncode == 0
    assert call("explain", "fly", "x").returncode == call("explain", "stat", "/", "r").returncode == 125
    assert call("explain", "connect", "nowhere").returncode == 125
    done = call("explain", "rename", "/work/a", "/usr/b")
    assert done.returncode == 1 and done.stdout.startswith("rename /work/a /usr/b: fails EXDEV\n")
    assert call("explain", "access", "/usr", "rx").returncode == 0 and call("explain", "rename", "/a").returncode == 125


def test_a_hostile_name_on_the_command_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sandbox", "explain", "stat", b"/x\x1b[2J\n\xff"],
        cwd=Path(sandbox.__file__).parent.parent,
        capture_output=True,
    )
    assert done.returncode == 1
    assert done.stdout.startswith(b"stat /x\\x1b[2J\\n\\xff: refused ENOENT\n")


@pytest.mark.parametrize("subject", ["0.0.0.0:9443", "[::ffff:0.0.0.0]:9443", "127.0.0.1:9443"])
def test_unspecified_address_is_the_loopback(subject: str) -> None:
    """What is denied of the host's loopback is not said to be reached by another name of it."""
    policy = Policy(network=["host", sandbox.Deny("127.0.0.1:9443")])
    assert "the host's own" not in policy.explain("connect", subject).reason
    assert "the host's own" in Policy(network="host").explain("connect", subject).reason
