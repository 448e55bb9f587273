"""sandbox.run: the meanings of subprocess.run, the default view, limits and their names."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import sandbox
from sandbox import CommandFailed, CommandTimeout, File, GuestFault, Limits, Mount, Policy, PolicyError, WallMissing
from sandbox._popen import Popen
from sandbox._supervisor import start_guest
from tests.escape.attack import WALLS, standing

PYTHON = sys.executable


def sh(script: str, **options: Any) -> sandbox.Result:
    return sandbox.run(script, shell=True, **options)


# ---- as subprocess ----------------------------------------------------------------------------------------------


def test_result_of_true() -> None:
    result = sandbox.run(["/bin/true"])
    assert (result.args, result.returncode, result.stdout, result.stderr) == (["/bin/true"], 0, b"", b"")
    assert result.exceeded is None and result.duration > 0 and result.audit.total > 0
    assert result.usage.user + result.usage.system >= 0 and result.usage.peak_memory > 0


COMMANDS: list[tuple[Any, dict[str, Any]]] = [
    (["sh", "-c", "echo out; echo err >&2; exit 3"], {}),
    ("echo $((6*7))", {"shell": True}),
    (["-c", "echo $0 $1", "a", "b"], {"executable": "/bin/sh"}),
    (["echo", "$HOME", "*"], {"shell": True}),
    ("true", {}),
    (["cat"], {"input": b"\0\xff" * 50000}),
    (["cat"], {"input": "grün\r\nzwei", "text": True}),
    (["printf", "a\\r\\nb\\rc"], {"text": True}),
    (["printf", "\\344"], {"encoding": "latin-1"}),
    (["printf", "\\377x"], {"text": True, "errors": "replace"}),
    (["sh", "-c", "kill -TERM $$"], {}),
    (["sh", "-c", "echo to-out; echo to-err >&2"], {"stderr": subprocess.STDOUT}),
    (["sh", "-c", "echo gone; echo kept >&2"], {"stdout": subprocess.DEVNULL}),
    (["env"], {"env": {"ONLY": "this", "B": "x y"}}),
    ([b"printf", b"%s", b"\xff\xfe"], {}),
    (["sh", "-c", "umask"], {"umask": 0o077}),
    (["sh", "-c", "cat; echo end"], {"stdin": subprocess.DEVNULL}),
]


@pytest.mark.parametrize(("args", "options"), COMMANDS, ids=lambda value: str(value)[:40])
def test_equals_subprocess(args: Any, options: dict[str, Any]) -> None:
    """Return code and output are those of subprocess.run."""
    defaults = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    native = subprocess.run(args, **{**defaults, **options}, check=False)
    inside = sandbox.run(args, **options)
    if "stderr" not in options and "stdout" not in options and "$HOME" not in str(args):
        assert inside.stderr == native.stderr
    assert (inside.returncode, inside.stdout) == (native.returncode, native.stdout)


def test_pathlike_arguments() -> None:
    assert sandbox.run([Path("/bin/echo"), Path("a b")]).stdout == b"a b\n"


def test_check() -> None:
    with pytest.raises(CommandFailed) as caught:
        sh("echo out; exit 4", check=True)
    assert (caught.value.returncode, caught.value.stdout) == (4, b"out\n")


def test_capture_output_false_inherits(capfd: pytest.CaptureFixture[str]) -> None:
    result = sandbox.run(["echo", "seen"], capture_output=False)
    assert result.stdout is None and capfd.readouterr().out == "seen\n"


def test_stdout_to_file(tmp_path: Path) -> None:
    with open(tmp_path / "out", "wb") as file:
        result = sandbox.run(["echo", "x"], stdout=file)
    assert result.stdout is None and (tmp_path / "out").read_bytes() == b"x\n"


@pytest.mark.parametrize(
    ("args", "options", "error", "name"),
    [
        (["nonesuch"], {}, FileNotFoundError, "nonesuch"),
        (["/nowhere/prog"], {}, FileNotFoundError, "/nowhere/prog"),
        (["/etc/passwd"], {}, PermissionError, "/etc/passwd"),
        (["/usr"], {}, PermissionError, "/usr"),
        (["/etc/passwd/x"], {}, NotADirectoryError, "/etc/passwd/x"),
        (["true"], {"cwd": "/nowhere"}, FileNotFoundError, "/nowhere"),
        (["true"], {"cwd": "/etc/passwd"}, NotADirectoryError, "/etc/passwd"),
        (["/work/noise"], {"policy": Policy(files=(File("/work/noise", b"\1\2\3", executable=True),))}, OSError, ""),
    ],
)
def test_cannot_be_executed(args: Any, options: Any, error: type[OSError], name: str) -> None:
    """As subprocess: the natural OSError with the name of the program, or of the directory."""
    with pytest.raises(error) as caught:
        sandbox.run(args, **options)
    if name:
        assert caught.value.filename == name


def test_arguments_too_long() -> None:
    with pytest.raises(OSError, match="Argument list too long"):
        sandbox.run(["true", "x" * (1 << 18)])


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"preexec_fn": print}, TypeError),
        ({"close_fds": False}, TypeError),
        ({"creationflags": 1}, TypeError),
        ({"startupinfo": 1}, TypeError),
        ({"user": "nobody"}, TypeError),
        ({"group": 1}, TypeError),
        ({"extra_groups": []}, TypeError),
        ({"process_group": 0}, TypeError),
        ({"restore_signals": False}, TypeError),
        ({"nonsense": 1}, TypeError),
        ({"input": b"", "stdin": subprocess.PIPE}, ValueError),
        ({"text": True, "universal_newlines": False}, ValueError),
        ({"umask": 0o7777}, ValueError),
        ({"env": {"A": "x\0"}}, PolicyError),
        ({"pty": True, "stdin": subprocess.PIPE}, ValueError),
    ],
)
def test_what_makes_no_sense(options: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        sandbox.run(["true"], **options)


def test_defaults_of_the_senseless_are_taken() -> None:
    """Code that passes subprocess's defaults on works."""
    assert sandbox.run(["true"], close_fds=True, preexec_fn=None, user=None, restore_signals=True).returncode == 0


@pytest.mark.parametrize("args", [[], [""], "", 5, None])
def test_no_program(args: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        sandbox.run(args)


def test_null_byte() -> None:
    with pytest.raises(ValueError, match="null byte"):
        sandbox.run(["echo", "a\0b"])


# ---- the view ---------------------------------------------------------------------------------------------------


def test_clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the caller's environment is there; a policy's is laid over the clean one."""
    monkeypatch.setenv("SECRET", "x")
    env = dict(line.split("=", 1) for line in sandbox.run(["env"], text=True).stdout.splitlines())
    env.pop("_", None)
    assert set(env) == {"PATH", "HOME", "USER", "LOGNAME", "LANG", "TMPDIR"}
    assert env["HOME"] == "/home/user"
    assert sh("echo $A$HOME", policy=Policy(env={"A": "1"}), text=True).stdout == "1/home/user\n"


def test_nothing_of_the_callers(tmp_path: Path) -> None:
    """Neither what is in the caller's directory nor its home is there; the way to the running interpreter is."""
    (tmp_path / "here").touch()
    for path in (tmp_path, Path.cwd(), Path.home() / ".bashrc", Path(__file__)):
        names = sandbox.run(["ls", "-A", str(path)], text=True).stdout.split("\n")[:-1]
        assert all(Path(sys.prefix).is_relative_to(path / name) for name in names), path


def test_working_directory_is_private_and_empty() -> None:
    assert sh("pwd; ls -A . /home/user", text=True).stdout == "/work\n.:\n\n/home/user:\n"
    (Path("/tmp") / f"of-host-{os.getpid()}").touch()
    try:
        assert b"of-host" not in sh("ls -A /tmp").stdout
    finally:
        (Path("/tmp") / f"of-host-{os.getpid()}").unlink()


@pytest.mark.parametrize("path", ["/usr/x", "/etc/passwd", "/x", "/etc/x", "/dev/x", "/home/x", "/proc/x"])
def test_system_is_read_only(path: str) -> None:
    assert sh(f"echo x > {path}").returncode != 0


@pytest.mark.parametrize("path", ["/work/x", "/tmp/x", "/home/user/x", "/dev/shm/x", "/dev/null"])
def test_scratch_is_writable(path: str) -> None:
    assert sh(f"echo x > {path}", check=True).returncode == 0


def test_who_am_i() -> None:
    """The caller's uid and gid, with a name; no other groups."""
    assert sh("id -u; id -g; id -G; id -un", text=True).stdout.split()[:3] == [
        str(os.getuid()),
        str(os.getgid()),
        str(os.getgid()),
    ]
    assert sh("whoami", text=True, check=True).stdout.strip() == ("root" if os.getuid() == 0 else "user")


def test_running_interpreter() -> None:
    """The Python that runs this is there, under its own name."""
    code = "import sys, ssl, sqlite3, json; print(sys.prefix, sys.version)"
    assert sandbox.run([PYTHON, "-c", code], text=True, check=True).stdout == f"{sys.prefix} {sys.version}\n"


def test_mounts(tmp_path: Path) -> None:
    """Read-only and writable directories and single files, hidden names, bytes and functions, at the paths named."""
    (tmp_path / "a").write_text("A")
    (tmp_path / "secret").write_text("S")
    (tmp_path / "out").mkdir()
    policy = Policy(mounts=(Mount("/in", tmp_path, hide=["secret"]), Mount("/one/file", tmp_path / "a")))
    script = "ls /in; cat /in/a /one/file bytes made; cat /in/secret; echo x > /in/y; echo r > /out/r"
    result = sh(script, policy=policy, writable={"/out": tmp_path / "out"}, text=True, files={
        "/work/bytes": b"B",
        "/work/made": lambda: b"M",
    })  # fmt: skip
    assert result.stdout == "a\nout\nAABM" and (tmp_path / "out" / "r").read_text() == "r\n"
    assert "secret" in result.stderr and not (tmp_path / "y").exists()


def test_mount_takes_the_place_of_a_default(tmp_path: Path) -> None:
    sh("echo x > made", writable={"/work": tmp_path}, check=True)
    assert (tmp_path / "made").read_text() == "x\n"


def test_mount_point_through_a_link_of_the_system(tmp_path: Path) -> None:
    """A mount at /lib/x, where /lib is a link, is found at /usr/lib/x too."""
    (tmp_path / "f").write_text("found")
    if not os.path.islink("/lib"):
        pytest.skip("/lib is no link here")
    assert sh("cat /usr/lib/x-y/f", mounts={"/lib/x-y": tmp_path}, check=True).stdout == b"found"


def test_noexec(tmp_path: Path) -> None:
    (tmp_path / "prog").write_text("#!/bin/sh\necho ran\n")
    (tmp_path / "prog").chmod(0o755)
    assert sandbox.run(["/p/prog"], mounts={"/p": tmp_path}).stdout == b"ran\n"
    with pytest.raises(PermissionError):
        sandbox.run(["/p/prog"], policy=Policy(mounts=(Mount("/p", tmp_path, noexec=True),)))


def test_another_root(tmp_path: Path) -> None:
    """Mount("/", dir) replaces the view; devices, /proc and /tmp are still there."""
    busybox = Path("/bin/busybox")
    if not busybox.exists():
        pytest.skip("no busybox")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "busybox").write_bytes(busybox.read_bytes())
    (tmp_path / "bin" / "busybox").chmod(0o755)
    policy = Policy(mounts=(Mount("/", tmp_path),))
    script = "busybox ls /; busybox cat /proc/self/comm; echo x > /tmp/y; echo x > /dev/null"
    script += "; busybox stat /dev /sys && busybox ls /dev"
    result = sandbox.run(["/bin/busybox", "sh", "-c", script], policy=policy, text=True, check=True)
    assert "urandom" in result.stdout
    assert set(result.stdout.split()) >= {"bin", "dev", "proc", "tmp", "busybox"}
    assert not {"usr"} & set(result.stdout.split())


def test_mount_points_that_the_host_does_not_have(tmp_path: Path) -> None:
    """Directories above a mount point are there, wherever it lies."""
    policy = Policy(mounts=(Mount("/data", tmp_path),), files=(File("/data/a/b/c/f", b"deep"), File("/usr/x y/f", b"2")))
    result = sh("ls /data /data/a /data/a/b; cat /data/a/b/c/f '/usr/x y/f'; cd /data/a/b && pwd", policy=policy, text=True)
    assert (result.stdout, result.stderr) == ("/data:\na\n\n/data/a:\nb\n\n/data/a/b:\nc\ndeep2/data/a/b\n", "")
    assert sh("mkdir /data/a/x", policy=policy).returncode != 0


def test_same_path_twice(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="twice"):
        sandbox.run(["true"], mounts={"/a": tmp_path}, files={"/a": b""})


@pytest.mark.parametrize("source", ["/dev/null", "/nowhere"])
def test_sources_that_cannot_be(source: str) -> None:
    with pytest.raises(PolicyError, match="mount /a"):
        sandbox.run(["true"], mounts={"/a": source})


def test_policy_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text("[[files]]\ntarget = '/work/x'\ncontent = 'from toml'\n")
    assert sandbox.run(["cat", "x"], policy=tmp_path / "p.toml").stdout == b"from toml"


# ---- functions --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("walls", WALLS)
@pytest.mark.parametrize("place", ["/opt", "/work"])
def test_files_that_are_programs(walls: str, place: str) -> None:
    """Bytes that may be executed run, as a script and as an ELF file; others do not, and none can be changed."""
    files = [
        File(f"{place}/script", b"#!/bin/sh\nexec \"${0%/*}/elf\"\n", executable=True),
        File(f"{place}/elf", Path("/bin/pwd").read_bytes(), executable=True),
        File(f"{place}/plain", b"#!/bin/sh\necho no\n"),
    ]
    script = f"cd {place}; ./script; ./plain; echo $?; echo x > script; stat -c %a script elf plain"
    with standing(walls):
        done = sandbox.run(["sh", "-c", script], policy=Policy(files=files), text=True)
    assert done.stdout == f"{place}\n126\n555\n555\n444\n", done


def test_function_is_called_at_each_open_in_another_thread() -> None:
    calls: list[str] = []

    def content() -> bytes:
        calls.append(threading.current_thread().name)
        return b"%d" % len(calls)

    assert sh("cat f f; cat f", files={"/work/f": content}).stdout == b"123"
    assert not {"sandbox-supervisor", threading.main_thread().name} & set(calls)


@pytest.mark.parametrize("bad", [lambda: 1 / 0, lambda: "text", lambda: None])
def test_function_that_fails_ends_the_guest(bad: Any) -> None:
    """The guest sees EIO and is stopped; the caller sees the exception."""
    with pytest.raises(GuestFault) as caught:
        sh("cat f; sleep 100", files={"/work/f": bad})
    assert isinstance(caught.value.__cause__, (ZeroDivisionError, TypeError))


def test_function_that_exits_ends_the_guest_and_nothing_else() -> None:
    """What is no Exception ends no thread of ours: others' functions and guests go on."""
    for _ in range(20):
        with pytest.raises(GuestFault) as caught:
            sh("cat f; sleep 100", files={"/work/f": sys.exit})
        assert isinstance(caught.value.__cause__, SystemExit)
    assert sh("cat g", files={"/work/g": lambda: b"goes on"}).stdout == b"goes on"


def test_slow_function_stalls_nobody_else() -> None:
    """One guest waits for its function; another one runs."""
    release = threading.Event()

    def slow() -> bytes:
        assert release.wait(30)
        return b"done"

    results: list[bytes] = []
    thread = threading.Thread(target=lambda: results.append(sh("cat f f", files={"/work/f": slow}).stdout))
    thread.start()
    try:
        assert sh("cat g", files={"/work/g": lambda: b"quick"}).stdout == b"quick"
    finally:
        release.set()
        thread.join()
    assert results == [b"donedone"]


# ---- limits and time --------------------------------------------------------------------------------------------


def alive(marker: str) -> bool:
    """Is any process with this text in its arguments alive?"""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if marker.encode() in path.read_bytes() and int(path.parent.name) != os.getpid():
                return True
        except OSError:
            continue
    return False


def test_timeout_kills_everything_and_gives_the_output() -> None:
    marker = f"{os.getpid()}.77"
    with pytest.raises(CommandTimeout) as caught:
        sh(f"echo before; setsid sleep 9{marker} & sleep 8{marker}", timeout=0.5)
    assert caught.value.stdout == b"before\n" and caught.value.timeout == 0.5
    assert isinstance(caught.value, subprocess.TimeoutExpired)
    assert not alive(marker)


def test_wall_seconds() -> None:
    result = sandbox.run(["sleep", "100"], limits=Limits(wall_seconds=0.3))
    assert (result.exceeded, result.returncode) == ("wall_seconds", -signal.SIGKILL)
    with pytest.raises(CommandFailed, match="limit wall_seconds exceeded"):
        sandbox.run(["sleep", "100"], limits=Limits(wall_seconds=0.1), check=True)


def test_cpu_seconds() -> None:
    result = sh("while :; do :; done", limits=Limits(cpu_seconds=1), timeout=30)
    assert result.exceeded == "cpu_seconds" and result.returncode in (-signal.SIGXCPU, -signal.SIGKILL)


def test_memory_of_all_processes_together() -> None:
    """Each process is below the limit; together they are not."""
    code = "import os, time; x = b'x' * (40 << 20); time.sleep(30)"
    script = f'for i in 1 2 3 4; do {PYTHON} -c "{code}" & done; wait; echo all'
    result = sh(script, limits=Limits(memory=100 << 20), timeout=60)
    assert (result.exceeded, result.returncode, result.stdout) == ("memory", -signal.SIGKILL, b"")


def test_processes() -> None:
    """A fork bomb meets its end, and so does the guest at the latest with it."""
    code = "import os, signal, time\nfor i in range(200):\n  try: pid = os.fork()\n  except OSError: print('refused'); break\n"
    code += "  if pid == 0:\n    time.sleep(20); os._exit(0)\n"
    code += "signal.signal(15, signal.SIG_IGN); os.kill(0, 15)\n"
    result = sandbox.run([PYTHON, "-c", code], limits=Limits(processes=20), stderr=subprocess.DEVNULL, timeout=60)
    assert b"refused" in result.stdout or result.exceeded == "processes"


def test_open_files() -> None:
    code = "import os\nn=0\ntry:\n  while True: os.dup(0); n+=1\nexcept OSError: print(n)"
    out = sandbox.run([PYTHON, "-c", code], limits=Limits(open_files=40), check=True).stdout
    assert 20 < int(out) < 40


def test_file_size() -> None:
    result = sandbox.run(["dd", "if=/dev/zero", "of=x", "bs=1M", "count=3"], limits=Limits(file_size=1 << 20))
    assert result.returncode != 0
    assert result.exceeded in (None, "file_size")


def test_scratch_bytes_and_files() -> None:
    script = "head -c 3M /dev/zero > x && head -c 3M /dev/zero > /tmp/y && sleep 9"
    full = sh(script, limits=Limits(scratch_bytes=4 << 20))
    assert b"No space left" in full.stderr or full.exceeded == "scratch_bytes"
    many = sh("i=0; while [ $i -lt 300 ]; do : > f$i; i=$((i+1)); done; sleep 9", limits=Limits(scratch_files=200))
    assert b"No space left" in many.stderr or many.exceeded == "scratch_bytes"


def test_required_walls() -> None:
    """What stands may be required; what does not refuses to run, saying which and why."""
    stand = sandbox.run(["true"]).walls
    assert sandbox.run(["true"], policy=Policy(require=stand)).returncode == 0
    for wall in set(sandbox._messages.WALLS) - set(stand) - {"cgroup"}:
        with pytest.raises(WallMissing, match=wall):
            sandbox.run(["true"], policy=Policy(require=(wall,)))


@pytest.mark.parametrize("wall", ["ipcns", "mountns", "landlock", "landlock-scope"])
def test_no_command_begins_without_a_required_wall(wall: str, tmp_path: Path) -> None:
    """Its order is on its way before anybody knows which walls stand: the sentry keeps it."""
    sandbox.run(["true"])  # not the first guest, which is waited for
    walls = [name for name in sandbox._messages.WALLS if name != wall]
    policy = Policy(require=(wall,)).extend(writable={"/out": tmp_path})
    for _ in range(20):
        guest = start_guest(policy, walls=walls)
        with pytest.raises(WallMissing, match=wall):
            Popen(["touch", "/out/begun"], _guest=guest)
        assert guest.wait_ended(30)
    assert not list(tmp_path.iterdir())


# ---- several at once, and the end -------------------------------------------------------------------------------


def test_many_guests_from_many_threads() -> None:
    results: list[bytes] = []

    def work(number: int) -> None:
        results.append(sandbox.run(["echo", str(number)], check=True).stdout)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(int, results)) == list(range(16))


def test_one_thread_for_all_guests() -> None:
    sandbox.run(["true"])
    names = [thread.name for thread in threading.enumerate()]
    assert names.count("sandbox-supervisor") == 1


def python(code: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """A caller in a process of its own."""
    path = os.pathsep.join(filter(None, [str(Path(sandbox.__file__).parent.parent), os.environ.get("PYTHONPATH")]))
    env = {**os.environ, "PYTHONPATH": path}
    return subprocess.run([PYTHON, "-W", "ignore", "-c", code], env=env, capture_output=True, text=True, timeout=60, **options)


def test_keyboard_interrupt_leaves_nothing() -> None:
    marker = f"71.{os.getpid()}"
    code = f"""
import os, signal, threading, time, sandbox
def runs(pid):
    try: return b'{marker}' in open(f'/proc/{{pid}}/cmdline', 'rb').read()
    except OSError: return False # it has gone meanwhile
def later():
    while not any(runs(p) for p in os.listdir('/proc') if p.isdigit() and int(p) != os.getpid()):
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=later, daemon=True).start()
try:
    sandbox.run(['sleep', '{marker}'])
except KeyboardInterrupt:
    print('interrupted')
"""
    done = python(code)
    assert done.stdout == "interrupted\n", done.stderr
    assert not alive(marker)


def test_interpreter_exit_leaves_nothing() -> None:
    marker = f"72.{os.getpid()}"
    made = f"sandbox.Popen(['sh', '-c', 'echo up; read x', '{marker}'], stdin=-1, stdout=-1)"
    done = python(f"import sandbox; p = {made}; p.stdout.readline(); print(p.poll())")
    assert (done.stdout, done.stderr, done.returncode) == ("None\n", "", 0)
    assert not alive(marker)


def test_killed_caller_leaves_nothing() -> None:
    """When the caller is killed every guest process is dead within a second."""
    marker = f"73.{os.getpid()}"
    done = python(
        f"import os, sandbox; p = sandbox.Popen(['sleep', '{marker}']); print(p.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    assert done.returncode == -9 and done.stdout
    deadline = time.monotonic() + 1
    while alive(marker) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not alive(marker)


def test_fork_of_the_caller() -> None:
    """A forked child starts guests of its own, cannot use the parent's and does not end them."""
    code = """
import os, sandbox
box = sandbox.Sandbox()
before = set(os.listdir('/proc/self/fd'))
pid = os.fork()
if pid == 0:
    try:
        box.run(['true'])
    except sandbox.SandboxError as error:
        print('child:', error, flush=True)
    left = []
    for fd in os.listdir('/proc/self/fd'):
        try:
            left.append(os.readlink(f'/proc/self/fd/{fd}'))
        except OSError:
            pass
    print('left:', [text for text in left if text.startswith(('socket:', 'anon_inode:', '/memfd'))], flush=True)
    print('own:', sandbox.run(['echo', 'x']).stdout, flush=True)
    os._exit(0)
os.waitpid(pid, 0)
print('parent:', box.run(['echo', 'y']).stdout)
box.close()
"""
    done = python(code)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "child: this guest belongs to the process that made it, not to its forked child",
        "left: []",
        "own: b'x\\n'",
        "parent: b'y\\n'",
    ]


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither descriptors nor directories nor children stay when a guest is gone."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    sandbox.run(["true"])
    before = sorted(os.listdir("/proc/self/fd"))
    for _ in range(5):
        sh("mkdir -p a/b; chmod 0 a; echo x > y", files={"/work/z": lambda: b""})
        with pytest.raises(FileNotFoundError):
            sandbox.run(["nonesuch"])
        with pytest.raises(CommandTimeout):
            sandbox.run(["sleep", "9"], timeout=0.05)
    assert sorted(os.listdir("/proc/self/fd")) == before
    assert os.listdir(tmp_path) == []
