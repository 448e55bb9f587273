"""sandbox.learn: what is seen of real programs, what policy follows, and how it is written down."""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import sandbox
from sandbox import Allow, Learned, Policy, Publish, learn
from tests.helpers import interpreter, program, shell
from tests.test_cli import call

pytest.importorskip("ptrace")

PLAIN = {"PATH": "/usr/local/bin:/usr/bin:/bin"}
"""An environment of which a policy keeps nothing."""


@pytest.fixture
def top() -> Iterator[Path]:
    """An empty directory outside of everything that the default view shows."""
    path = Path(os.path.realpath(subprocess.check_output(["mktemp", "-d", "/var/tmp/sandbox-test-XXXXXX"], text=True).strip()))
    yield path
    shutil.rmtree(path, ignore_errors=True)


def run(top: Path, script: str, **options: Any) -> Learned:
    """Learn from a shell script; what is written down is the policy."""
    made = learn(shell(script), cwd=top, stdout=subprocess.DEVNULL, **{"env": PLAIN, **options})
    assert Policy.loads(made.to_toml()) == made.policy
    return made


def python(top: Path, code: str, *arguments: str, **options: Any) -> Learned:
    made = learn([interpreter(), "-I", "-c", code, *arguments], cwd=top, **{"env": PLAIN, **options})
    assert made.returncode == 0
    assert Policy.loads(made.to_toml()) == made.policy
    return made


def places(made: Learned, top: Path) -> dict[str, str]:
    """Granted places below a directory: ro, rw or scratch."""
    found = {mount.target: "rw" if mount.writable else "ro" for mount in made.policy.mounts}
    found.update({scratch.target: "scratch" for scratch in made.policy.scratch})
    return {os.path.relpath(path, top): kind for path, kind in found.items() if Path(path) == top or top in Path(path).parents}


def tree(top: Path, *names: str) -> None:
    for name in names:
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(name)


# ---- files --------------------------------------------------------------------------------------------------------


def test_the_default_view_needs_no_line(top: Path) -> None:
    """Nor does what a program makes for itself in /tmp, nor what is missing."""
    made = run(Path("/"), "f=$(mktemp); echo x >$f; cat $f /etc/passwd /proc/self/status; rm $f; test -e /nowhere/x")
    assert (made.policy.mounts, made.policy.scratch, made.policy.env) == ((), (), {})
    assert made.policy.network == "none"


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("cat a/1", {"a/1": "ro"}),
        ("cat a/1 a/2", {"a/1": "ro", "a/2": "ro"}),
        ("cat a/1 a/2 a/3", {"a": "ro"}),
        ("cat a/1 b/1 c/1", {".": "ro"}),
        ("cd a; ls", {"a": "ro"}),
        ("test -d a", {"a": "scratch"}),
        ("test -d a/deep; cat a/1", {"a/1": "ro", "a/deep": "scratch"}),
        ("echo x >>a/1", {"a/1": "rw"}),
        ("echo x >a/new", {"a": "rw"}),
        ("rm a/1", {"a": "rw"}),
        ("mv a/1 a/x", {"a": "rw"}),
        ("mv a/1 b/x", {".": "rw"}),
        ("ln a/1 b/x", {".": "rw"}),
        ("chmod 600 a/1", {"a/1": "rw"}),
        ("mkdir -p a/new/deep; echo x >a/new/deep/f; cat a/new/deep/f; rm -r a/new", {"a": "rw"}),
        ("cat a/1; echo x >b/new", {"a/1": "ro", "b": "rw"}),
        ("mkdir a/s; echo x >a/s/f; cat b/1", {"a": "rw", "b/1": "ro"}),
        ("cat link/1", {"link/1": "ro", "a/1": "ro"}),
        ("echo x >link/new", {"link": "rw", "a": "rw"}),
        ("cat ./a/../b//1", {"b/1": "ro", "a": "scratch"}),
        ("touch -d @5 a/1", {"a/1": "rw"}),
        ("exec 5<a; cat /proc/self/fd/5/1", {"a/1": "ro"}),
        ("cat a/missing || :", {}),
        ("python3 -I -c 'import tempfile; tempfile.TemporaryFile(dir=\"a\")'", {"a": "rw"}),
        ("./script", {"script": "ro", "interp": "ro"}),
    ],
)
def test_places(top: Path, script: str, expected: dict[str, str]) -> None:
    """What each call needs, folded; and the script runs again inside under just that."""
    tree(top, "a/1", "a/2", "a/3", "b/1", "c/1")
    (top / "a/deep").mkdir()
    (top / "link").symlink_to("a")
    shutil.copy("/bin/sh", top / "interp")
    (top / "script").write_text(f"#!{top}/interp\n:\n")
    (top / "script").chmod(0o755)
    shutil.copytree(top, f"{top}.before", symlinks=True)
    try:
        made = run(top, script)
        found = places(made, top)
        where = found.pop(".", None)
        assert {**found, **({".": where} if where and where != "scratch" else {})} == expected
        shutil.rmtree(top)
        os.rename(f"{top}.before", top)
        assert sandbox.run(shell(script), policy=made.policy, cwd=made.cwd).returncode == made.returncode == 0
    finally:
        shutil.rmtree(f"{top}.before", ignore_errors=True)


def test_existing_temporary_files_are_the_hosts(tmp_path: Path) -> None:
    """What is in /tmp before the run is granted; what the run makes beside it there stays the guest's own."""
    tree(tmp_path, "in")
    made = run(tmp_path, f"cat {tmp_path}/in >/tmp/sandbox-test-made; rm /tmp/sandbox-test-made")
    assert places(made, tmp_path) == {"in": "ro"}
    assert [mount.target for mount in made.policy.mounts] == [f"{tmp_path}/in"]


def test_a_broad_directory_is_never_granted(top: Path) -> None:
    """Listing /etc grants nothing of what is looked at there."""
    made = python(top, "import os; [os.stat(entry.path) for entry in os.scandir('/etc')]; open('/var/tmp/.sandbox-x', 'w'); os.unlink('/var/tmp/.sandbox-x')")
    assert [mount.target for mount in made.policy.mounts if mount.target.startswith("/etc")] == []
    assert any("listed: /etc" in note for note in made.notes)
    assert [scratch.target for scratch in made.policy.scratch] == ["/var/tmp"]


def test_working_directory_only_where_it_matters(top: Path) -> None:
    assert learn(["true"], cwd=top, env=PLAIN).cwd is None
    made = run(top, "cd /; true")
    assert made.cwd == str(top) and places(made, top) == {".": "scratch"}


HOSTILE = [b'"]\n[env]\nA = "b"\n#', b"new\nline", b"tab\tcr\r", b"esc\x1b[2J", b"del\x7f", b"\xff\xfe", "é\u2028\u202e".encode(), b"'''", b"\\", b"# x"]


def test_hostile_names(top: Path) -> None:
    """Any name gives TOML that loads as the policy, whose comments keep to their lines, and that is enough inside."""
    for name in HOSTILE:
        (Path(os.fsdecode(os.fsencode(top) + b"/" + name.hex().encode()))).mkdir()
        Path(os.fsdecode(os.fsencode(top) + b"/" + name.hex().encode() + b"/" + name)).write_bytes(b"x")
    code = "import os, sys\nfor d in os.listdir(b'.'):\n    open(d + b'/' + bytes.fromhex(d.decode())).read()"
    for name in HOSTILE:
        made = python(top, f"open(bytes.fromhex('{name.hex()}') and b'{name.hex()}/' + bytes.fromhex('{name.hex()}')).read()")
        text = made.to_toml()
        assert Policy.loads(text) == made.policy
        assert set(text) & {chr(c) for c in (*range(9), *range(11, 32), 127)} == set()
        whole = name == b"\xff\xfe"
        path = f"{name.hex()}" if whole else f"{name.hex()}/{os.fsdecode(name)}"
        assert path in places(made, top), text
        assert made.policy.env == {}
    everything = python(top, code)
    assert sandbox.run([interpreter(), "-c", code], policy=everything.policy, cwd=everything.cwd).returncode == 0


def test_a_program_with_a_hostile_name(top: Path) -> None:
    """It stands in comments, which it cannot leave."""
    shutil.copy("/bin/cat", top / "a\n[env]#\x1b")
    tree(top, "in")
    made = learn([str(top / "a\n[env]#\x1b"), "in"], cwd=top, env=PLAIN, stdout=subprocess.DEVNULL)
    assert Policy.loads(made.to_toml()) == made.policy
    assert made.policy.env == {} and "\\n[env]#\\x1b" in made.to_toml()


# ---- processes ----------------------------------------------------------------------------------------------------

KIN = """
import os, sys, threading, subprocess, time
def look(n):
    open(f"t{n}").read()
ts = [threading.Thread(target=look, args=(n,)) for n in range(20)]
[t.start() for t in ts]; [t.join() for t in ts]
pid = os.fork()
if not pid:
    open("forked/f").read(); os._exit(0)
os.waitpid(pid, 0)
subprocess.run(["cat", "spawned/f"], stdout=subprocess.DEVNULL, check=True)
os.posix_spawn("/bin/cat", ["cat", "posix/f"], {}, file_actions=[(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)])
os.wait()
threading.Thread(target=lambda: os.execv("/bin/sh", ["sh", "-c", "cat by-thread/f >/dev/null"])).start()
time.sleep(100)
"""


def test_everything_that_it_starts_is_followed(top: Path) -> None:
    """Threads, fork, vfork, posix_spawn, and an exec by a thread that is not the first."""
    tree(top, *(f"t{n}" for n in range(20)), "forked/f", "spawned/f", "posix/f", "by-thread/f")
    made = python(top, KIN)
    seen = {os.path.relpath(path, top) for path in made._seen.paths}
    assert {*(f"t{n}" for n in range(20)), "forked/f", "spawned/f", "posix/f", "by-thread/f"} <= seen
    assert made._seen.peaks["processes"] > 2


def test_signals_and_stops_stay_what_they_are(top: Path) -> None:
    """A handler runs, a stopped process stays stopped until it is continued, a death by signal is told."""
    code = """
import os, signal, time
signal.signal(signal.SIGUSR1, lambda *_: open("got", "w").close()); os.kill(os.getpid(), signal.SIGUSR1)
pid = os.fork()
if not pid:
    signal.raise_signal(signal.SIGSTOP); open("continued", "w").close(); time.sleep(100)
assert os.WIFSTOPPED(os.waitpid(pid, os.WUNTRACED)[1]) and not os.path.exists("continued")
os.kill(pid, signal.SIGCONT); assert os.WIFCONTINUED(os.waitpid(pid, os.WCONTINUED)[1])
while not os.path.exists("continued"): pass
os.kill(pid, signal.SIGTERM); assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGTERM
os.kill(os.getpid(), signal.SIGKILL)"""
    assert learn([interpreter(), "-c", code], cwd=top, env=PLAIN).returncode == -signal.SIGKILL
    assert (top / "got").exists()


def test_what_it_leaves_behind_is_ended(top: Path) -> None:
    """As inside; conftest.py looks for what is left of it."""
    began = time.monotonic()
    assert run(top, "sleep 1000 & trap '' TERM; (sleep 0.1; exec sleep 0.1) & exit 3").returncode == 3
    assert time.monotonic() - began < 30


def test_stop_after(top: Path) -> None:
    """By SIGTERM, and by SIGKILL where that is ignored."""
    assert learn(["sleep", "1000"], env=PLAIN, stop_after=0.2).returncode == -signal.SIGTERM
    assert run(top, "trap '' TERM; while :; do sleep 0.1; done", stop_after=1).returncode == -signal.SIGKILL


def test_streams_and_status(top: Path) -> None:
    with open(top / "out", "wb") as out:
        made = learn(shell("echo out; echo err >&2; exit 7"), cwd=top, stdout=out, stderr=subprocess.STDOUT)
    assert made.returncode == 7 and (top / "out").read_bytes() == b"out\nerr\n"


def test_the_callers_children_are_its_own(top: Path) -> None:
    """A child that ends meanwhile is still there to be waited for."""
    child = subprocess.Popen(["false"])
    learn(["sleep", "0.1"], env=PLAIN)
    assert child.wait() == 1


# ---- what cannot be traced ----------------------------------------------------------------------------------------


def test_not_a_program(top: Path) -> None:
    tree(top, "plain")
    with pytest.raises(FileNotFoundError, match="nonesuch"):
        learn(["nonesuch"], env=PLAIN)
    with pytest.raises(PermissionError):
        learn([str(top / "plain")])
    with pytest.raises(FileNotFoundError, match="nowhere"):
        learn(["true"], cwd=top / "nowhere")
    with pytest.raises(ValueError, match="no command"):
        learn([])


def test_set_user_id(top: Path) -> None:
    """A program that would have another identity natively, and has it neither under a tracer nor inside."""
    if os.getuid() == 0:
        shutil.copy("/bin/true", top / "other")
        os.chown(top / "other", 65534, 65534)
        (top / "other").chmod(0o4755)
        path = str(top / "other")
    else:
        path = program("su")
    with pytest.raises(sandbox.SandboxError, match="set-user-ID"):
        learn([path])


def test_set_user_id_of_a_program_that_is_started(top: Path) -> None:
    """It runs on, with the rights of who started it, as it would inside; the policy says so at its head."""
    if os.getuid() == 0:
        path, asks = str(top / "id"), f"{top}/id -u"
        shutil.copy("/usr/bin/id", path)
        os.chown(path, 65534, 65534)
        os.chmod(path, 0o4755)
        assert subprocess.check_output(shell(asks)) == b"65534\n"
    else:
        path, asks = os.path.realpath(program("su")), "su --version >&2; id -u"
    with open(top / "told", "w+") as told:
        made = learn(shell(asks), cwd=top, env=PLAIN, stdout=told)
        told.seek(0)
        assert told.read() == f"{os.getuid()}\n"
    assert made.notes == (f"{path}: it is set-user-ID, which has no effect under a tracer nor in a sandbox",)
    assert f"# {made.notes[0]}\n" in made.to_toml().partition("\n\n")[0] + "\n"
    assert sandbox.run(shell(asks), policy=made.policy, capture_output=True, text=True).stdout == f"{os.getuid()}\n"


UNREAD = """
import sandbox, subprocess, sys
try: sandbox.learn([sys.argv[1]])
except sandbox.SandboxError as error: print(error)
print(*sandbox.learn(["sh", "-c", sys.argv[1]]).notes)
print(sandbox.run(["sh", "-c", sys.argv[1]], mounts={sys.argv[1]: sys.argv[1]}, stderr=subprocess.DEVNULL).returncode)
"""


def test_a_program_that_may_not_be_read(top: Path) -> None:
    """It runs natively, no tracer sees what it does, and inside it does not run: that is said, not learned."""
    path = top / "unread"
    shutil.copy("/bin/true", path)
    if os.getuid() == 0:
        os.chown(path, 65534, 65534)
    path.chmod(0o111)
    powerless = [program("setpriv"), "--bounding-set=-all", "--inh-caps=-all", "--"] if os.getuid() == 0 else []
    assert subprocess.run([*powerless, path]).returncode == 0
    top.chmod(0o755)
    told = subprocess.check_output([*powerless, sys.executable, "-c", UNREAD, path], text=True, timeout=120).splitlines()
    why = "unread: it may be executed but not read, so what it does is not seen, and a sandbox cannot load it"
    assert told == [f"learn: {why}", why, "126"]


def test_traced_already(top: Path) -> None:
    strace = program("strace")
    code = "import sandbox\ntry: sandbox.learn(['true'])\nexcept sandbox.SandboxError as error: print(error)"
    done = subprocess.run([strace, "-f", "-o", "/dev/null", sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert "traces it already" in done.stdout, done


def test_without_python_ptrace() -> None:
    code = "import sys; sys.modules['ptrace'] = None\nimport sandbox\ntry: sandbox.learn(['true'])\nexcept sandbox.SandboxError as error: print(error)"
    assert "pip install 'sandbox[learn]'" in subprocess.check_output([sys.executable, "-c", code], text=True)


def test_import_stays_cheap() -> None:
    code = "import sys, sandbox; print([name for name in sys.modules if name.startswith(('ptrace', 'sandbox._learn'))])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"


# ---- network ------------------------------------------------------------------------------------------------------


@contextmanager
def listening(address: str) -> Iterator[int]:
    with socket.create_server((address, 0)) as server:
        yield server.getsockname()[1]


CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2]))).close()"


def test_a_server_of_the_host_is_allowed(top: Path) -> None:
    with listening("127.0.0.1") as port:
        made = python(top, CONNECT, "127.0.0.1", str(port))
    assert made.policy.network == (Allow(f"tcp://127.0.0.1:{port}"),)


def test_a_failed_connect_needs_nothing(top: Path) -> None:
    code = "import socket\ntry: socket.create_connection(('127.0.0.1', 1))\nexcept OSError: pass"
    assert python(top, code).policy.network == "none"


def test_datagrams(top: Path) -> None:
    code = "import socket, sys; s = socket.socket(type=socket.SOCK_DGRAM); s.sendto(b'x', ('127.0.0.1', int(sys.argv[1]))); t = socket.socket(type=socket.SOCK_DGRAM); t.connect(('127.0.0.1', 9)); s.sendmsg([b'y'], [], 0, ('127.0.0.1', 77))"
    with socket.socket(type=socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        made = python(top, code, str(server.getsockname()[1]))
        assert server.recv(9) == b"x"
    assert made.policy.network == (Allow(f"udp://127.0.0.1:{min(77, server_port(made))},{max(77, server_port(made))}"),)


def server_port(made: Learned) -> int:
    return next(port for protocol, _, port in made._seen.peers if port != 77)


OWN = """
import socket, threading
server = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=lambda: server.accept()[0].close()).start()
socket.create_connection(server.getsockname()).close()
"""


def test_own_clients_and_servers_need_the_loopback_only(top: Path) -> None:
    assert python(top, OWN).policy.network == "loopback"


@pytest.mark.parametrize(("address", "host"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::1", "[::1]")])
def test_a_server_is_published(top: Path, address: str, host: str) -> None:
    """Where nobody of the run connects, a client outside is expected."""
    code = "import os, signal, socket, sys; f = socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET; s = socket.create_server((sys.argv[1], int(sys.argv[2])), family=f); u = socket.socket(f, socket.SOCK_DGRAM); u.bind(s.getsockname()); os.kill(os.getpid(), signal.SIGTERM)"
    with listening("127.0.0.1") as port:
        pass
    made = learn([interpreter(), "-c", code, address, str(port)], cwd=top, env=PLAIN)
    assert made.returncode == -signal.SIGTERM
    assert made.policy.network == (Publish(port, f"{host}:{port}"), Publish(port, f"udp://{host}:{port}"))
    assert made.policy.limits.cpu_seconds is None
    assert Policy.loads(made.to_toml()) == made.policy


NET = f"127.{2 + os.getpid() % 60}.{os.getpid() // 60 % 256}"  # of no other run's, and of no guest's slice
ASKED, FOUND = f"{NET}.1", f"{NET}.2"


def addressed(code: str) -> str:
    return code.replace("ASKED", ASKED).replace("FOUND", FOUND)


@contextmanager
def name_server(stream: bool = False) -> Iterator[None]:
    """At ASKED a server that knows one address of everything: FOUND. Questions that are asked again are answered, too."""
    import dns.message
    import dns.rrset

    def answer(wire: bytes) -> bytes:
        query = dns.message.from_wire(wire)
        response = dns.message.make_response(query)
        if query.question[0].rdtype == 1:
            response.answer = [dns.rrset.from_text(query.question[0].name, 60, "IN", "A", FOUND)]
        return response.to_wire()

    def serve() -> None:
        while True:
            if ended in select.select([server, ended], [], [])[0]:
                return
            if stream:
                with server.accept()[0] as peer:
                    wire = answer(peer.recv(9999)[2:])
                    peer.sendall(len(wire).to_bytes(2, "big") + wire)
            else:
                wire, peer_name = server.recvfrom(9999)
                server.sendto(answer(wire), peer_name)

    with socket.socket(type=socket.SOCK_STREAM if stream else socket.SOCK_DGRAM) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind((ASKED, 53))
        except PermissionError:
            pytest.skip("port 53 is not ours")
        if stream:
            server.listen()
        ended, end = socket.socketpair()
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        with ended, end:
            yield
            end.send(b"x")
            thread.join(10)


RESOLVE = """
import dns.message, dns.query, socket, sys
for kind in ("A", "AAAA"):
    answer = {how}(dns.message.make_query("Db.Example.", kind), "ASKED", timeout=10)
socket.create_connection(("FOUND", int(sys.argv[1]))).close()
"""


@pytest.mark.parametrize("how", ["dns.query.udp", "dns.query.tcp"])
def test_names(top: Path, how: str) -> None:
    """What a name server told is reached by its name; the name server itself needs no line."""
    with name_server(stream=how.endswith("tcp")), listening(FOUND) as port:
        made = learn([sys.executable, "-c", addressed(RESOLVE).replace("{how}", how), str(port)], cwd=top, env=PLAIN)
    assert made.returncode == 0
    assert made.policy.network == (Allow(f"tcp://db.example:{port}", private=True),)


PLAIN_ASK = """
import dns.message, os, socket, sys, threading
def ask(kind):
    s = socket.socket(type=socket.SOCK_STREAM if {stream} else socket.SOCK_DGRAM)
    s.connect(("ASKED", 53))
    wire = dns.message.make_query("Db.Example.", kind).to_wire()
    waits = threading.Thread(target=lambda: answers.append(os.read(s.fileno(), 9999)))
    if not {stream}: waits.start()  # in another thread, which waits already
    os.write(s.fileno(), (len(wire).to_bytes(2, "big") + wire) if {stream} else wire)
    if {stream}: waits.start()
    waits.join()
    s.close()
answers = []
for kind in ("A", "AAAA"): ask(kind)
assert all(answers)
socket.create_connection(("FOUND", int(sys.argv[1]))).close()
"""


@pytest.mark.parametrize("stream", [False, True])
def test_names_by_read_and_write(top: Path, stream: bool) -> None:
    """On a connected socket, by another thread than the one that asked."""
    with name_server(stream), listening(FOUND) as port:
        made = learn([sys.executable, "-c", addressed(PLAIN_ASK).replace("{stream}", str(stream)), str(port)], cwd=top, env=PLAIN)
    assert made.returncode == 0
    assert made.policy.network == (Allow(f"tcp://db.example:{port}", private=True),)


GO = """
package main
import ("context"; "net"; "os"; "time")
func main() {
	ask := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", "ASKED:53")
	}}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	found, err := ask.LookupHost(ctx, "db.example")
	if err != nil { panic(err) }
	conn, err := net.Dial("tcp", net.JoinHostPort(found[0], os.Args[1]))
	if err != nil { panic(err) }
	conn.Close()
}
"""


def test_names_by_go(top: Path) -> None:
    """Its resolver writes and reads, and its runtime lets any thread do so."""
    go = program("go")
    (top / "main.go").write_text(addressed(GO))
    env = {**os.environ, "HOME": str(top), "GOCACHE": str(top / "cache"), "GOFLAGS": "-mod=mod", "CGO_ENABLED": "0"}
    subprocess.run([go, "build", "-o", "ask", "main.go"], cwd=top, env=env, check=True, timeout=300)
    with name_server(), listening(FOUND) as port:
        made = learn([str(top / "ask"), str(port)], cwd=top, env=PLAIN)
    assert made.returncode == 0
    assert made.policy.network == (Allow(f"tcp://db.example:{port}", private=True),)


RESOLVED = """
mount --bind resolv.conf /etc/resolv.conf && mount --bind hosts /etc/hosts && exec "$@"
"""
LEARN = """
import sandbox, sys
code = "import socket, sys; [socket.create_connection((name, int(sys.argv[1]))).close() for name in ('db.example', 'own.example')]"
print(sandbox.learn([sys.executable, "-c", code, sys.argv[1]], env={}).to_toml())
"""


def test_names_by_the_c_library(top: Path) -> None:
    """Its resolver asks by sendmmsg; what the host's own file names, the guest's names as well."""
    unshare = program("unshare")
    if subprocess.run([unshare, "-m", "mount", "--bind", "/etc/hosts", "/etc/hosts"], capture_output=True).returncode:
        pytest.skip("no mount namespace of one's own")
    (top / "resolv.conf").write_text(f"nameserver {ASKED}\n")
    (top / "hosts").write_text(f"127.0.0.1 localhost\n{FOUND} own.example\n")
    with name_server(), listening(FOUND) as port:
        command = [unshare, "-m", "sh", "-c", RESOLVED, "sh", sys.executable, "-c", LEARN, str(port)]
        env = {**os.environ, "PYTHONPATH": str(Path(sandbox.__file__).parent.parent)}
        text = subprocess.check_output(command, cwd=top, env=env, text=True, timeout=60)
    allowed = (Allow(f"tcp://{FOUND}:{port}"), Allow(f"tcp://db.example:{port}", private=True))
    assert Policy.loads(text).network == (*allowed, sandbox.Hosts({"own.example": FOUND})), text


def test_sockets_of_the_host_are_left_out(top: Path) -> None:
    """A UNIX socket outside cannot be granted, and is told; one of the run's own is no matter."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(top / "theirs"))
        server.listen()
        made = python(top, "import socket; socket.socket(socket.AF_UNIX).connect('theirs'); s = socket.socket(socket.AF_UNIX); s.bind('mine'); s.listen(); socket.socket(socket.AF_UNIX).connect('mine')")
    assert [note for note in made.notes if "host's socket" in note] == [f"left out: python connected to the host's socket {top}/theirs".replace("python", Path(interpreter()).name)]
    assert places(made, top) == {".": "rw"}


# ---- environment and limits ---------------------------------------------------------------------------------------


def test_environment(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the caller's: language and time, and what names a granted place. Of what was given: all. Secrets: never."""
    tree(top, "conf", "bin/x")
    values = {"LC_ALL": "C", "TZ": "UTC", "CONF": f"{top}/conf", "PATH": f"/usr/bin:/bin:{top}/bin:/nowhere", "OTHER": "x"}
    monkeypatch.delenv("LC_CTYPE", raising=False)  # Python's own doing, where there is no language
    for name, value in {**values, "API_TOKEN": f"{top}/conf"}.items():
        monkeypatch.setenv(name, value)
    made = learn(shell("cat conf bin/x"), cwd=top, stdout=subprocess.DEVNULL)
    assert made.policy.env == {"LC_ALL": "C", "TZ": "UTC", "CONF": f"{top}/conf", "PATH": f"/usr/bin:/bin:{top}/bin"}
    assert "left out, it looks like a secret: API_TOKEN" in made.notes
    made = learn(["true"], env={"OTHER": "x", "MY_PASSWORD": "hunter2", "\udcff": "y"})
    assert made.policy.env == {"OTHER": "x"}
    assert "hunter2" not in made.to_toml()


def test_limits_have_headroom(top: Path) -> None:
    """At least what was seen; and the run fits in them."""
    code = "import threading, time; x = bytearray(300 << 20); ts = [threading.Thread(target=time.sleep, args=(0.3,)) for _ in range(40)]; [t.start() for t in ts]; [t.join() for t in ts]"
    made = python(top, code)
    limits = made.policy.limits
    assert limits.memory is not None and 600 << 20 <= limits.memory < 1200 << 20
    assert limits.processes is not None and 80 <= limits.processes <= 112
    assert sandbox.run([interpreter(), "-c", code], policy=made.policy).returncode == 0


# ---- merging and the command line ---------------------------------------------------------------------------------


def test_merge_with_a_policy(top: Path) -> None:
    """Of the policy all is kept: what it covers already gets no line, of limits the greater stands."""
    tree(top, "a/1", "b/1")
    base = Policy(mounts=[sandbox.Mount("/other", "/usr"), sandbox.Mount(top / "a", top / "a", noexec=True)],
                  limits=sandbox.Limits(memory=1 << 40, processes=1), env={"A": "b"}, require=[], network=[Allow("example.org")])  # fmt: skip
    made = run(top, "cat a/1; echo x >>b/1") | base
    assert places(made, top) == {"a": "ro", "b/1": "rw"}
    policy = made.policy
    assert {mount.target: mount.noexec for mount in policy.mounts}[f"{top}/a"] is True
    assert (policy.limits.memory, policy.limits.processes, policy.env, policy.network) == (1 << 40, 32, {"A": "b"}, base.network)
    assert made.merge(base).policy == policy
    hidden = Policy(mounts=[sandbox.Mount(top, top, hide=["b"])])
    assert places(run(top, "cat a/1 b/1") | hidden, top) == {".": "ro"}
    written = run(top, "echo x >a/new") | base
    assert places(written, top)["a"] == "rw"


def test_merge_is_that_of_both_runs(top: Path) -> None:
    tree(top, "a/1", "a/2", "a/3", "b/1")
    one, two = run(top, "cat a/1 a/2"), run(top, "cat a/3; echo x >>b/1")
    both = one | two
    assert places(both, top) == {"a": "ro", "b/1": "rw"}
    assert both.runs == (*one.runs, *two.runs)
    assert (one | one).policy == one.policy


def test_merge_of_one_path_in_two_tables(top: Path) -> None:
    """A directory that was only looked at becomes the mount that another run needs; what somebody wrote down stands."""
    tree(top, "a/1")
    (top / "p.toml").write_text(run(top, "test -d a").to_toml())
    used = run(top, "ls a; echo x >>a/1")
    assert places(used.merge_file(top / "p.toml"), top) == {"a": "ro", "a/1": "rw"}
    assert places(used | Policy(scratch=[sandbox.Scratch(top / "a")]), top) == {"a": "scratch", "a/1": "rw"}
    (top / "p.toml").write_text(used.to_toml())
    assert places(run(top, "test -d a").merge_file(top / "p.toml"), top) == {"a": "ro", "a/1": "rw"}


def test_command_line(top: Path) -> None:
    """-o writes, --into adds and keeps the reasons, --dry-run shows and writes nothing; status is the command's."""
    tree(top, "a/1", "b/1")
    target = str(top / "p.toml")
    done = call("learn", "-o", target, "--cwd", str(top), "--", "sh", "-c", "cat a/1; exit 4")
    assert (done.returncode, done.stdout) == (4, "a/1"), done.stderr
    first = (top / "p.toml").read_text()
    assert "# cat openat\n[[mounts]]" in first
    done = call("learn", "--into", target, "--dry-run", "--cwd", str(top), "--", "sh", "-c", "echo x >>b/1")
    assert done.returncode == 0 and f'+target = "{top}/b/1"' in done.stdout and (top / "p.toml").read_text() == first
    assert not any(line.startswith("-[[") for line in done.stdout.splitlines())
    assert call("learn", "--into", target, "--cwd", str(top), "--", "sh", "-c", "echo x >>b/1").returncode == 0
    second = (top / "p.toml").read_text()
    assert "# cat openat\n[[mounts]]" in second and "# sh openat\n[[mounts]]" in second
    assert places_of(Policy.load(target)) == {f"{top}/a/1": False, f"{top}/b/1": True}
    again = call("learn", "--into", target, "--dry-run", "--cwd", str(top), "--", "sh", "-c", "echo x >>b/1")
    assert again.stdout == ""
    done = call("run", "--policy", target, "--cwd", str(top), "--", "sh", "-c", "cat a/1; echo x >>b/1")
    assert (done.returncode, done.stdout) == (0, "a/1"), done.stderr


def places_of(policy: Policy) -> dict[str, bool]:
    return {mount.target: mount.writable for mount in policy.mounts}


def test_an_interrupt_is_the_programs(top: Path) -> None:
    """Ctrl-C ends a server as it wants to be ended, and the policy is written."""
    command = [sys.executable, "-m", "sandbox", "learn", "-o", str(top / "p.toml"), "--", "sh", "-c", "trap 'exit 5' INT; echo up; while :; do sleep 0.05; done"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None and process.stdout.readline() == b"up\n"
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(60) == 5
    assert Policy.load(top / "p.toml").limits.processes


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["--", "sh", "-c", "kill -TERM $$"], 128 + signal.SIGTERM),
        (["--", "nonesuch"], 127),
        (["--", "/usr"], 126),
        (["--merge", "/nowhere", "--", "true"], 125),
        (["-o", "/nowhere/x", "--", "true"], 125),
        (["--dry-run", "--", "true"], 125),
        (["-o", "x", "--into", "y", "--", "true"], 125),
        ([], 125),
    ],
)
def test_status(arguments: list[str], status: int) -> None:
    done = call("learn", *arguments)
    assert done.returncode == status, done
    assert "Traceback" not in done.stderr
