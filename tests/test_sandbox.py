"""Sandbox: several commands in one guest, and its files from outside."""

from __future__ import annotations

import errno
import os
import subprocess
import threading
from pathlib import Path

import pytest

from sandbox import CommandTimeout, File, Limits, Mount, Policy, PolicyError, Sandbox, SandboxError, Scratch

PIPE = subprocess.PIPE


def test_commands_share_files_and_end_with_the_box() -> None:
    with Sandbox() as box:
        box.run("echo kept > f", shell=True, check=True)
        assert box.run(["cat", "f"], check=True).stdout == b"kept\n"
        process = box.popen(["sleep", "100"])
    assert process.wait(5) == -9
    assert "ended" in repr(box)
    with pytest.raises(SandboxError, match="ended"):
        box.run(["true"])
    box.close()


def test_commands_at_the_same_time() -> None:
    """Two commands that wait for each other."""
    with Sandbox() as box:
        box.run(["mkfifo", "a", "b"], check=True)
        first = box.popen("echo ping > a; cat b", shell=True, stdout=PIPE)
        second = box.popen("cat a; echo pong > b", shell=True, stdout=PIPE)
        assert first.communicate(timeout=30)[0] == b"pong\n" and second.communicate(timeout=30)[0] == b"ping\n"


def test_many_threads_one_box() -> None:
    outputs: list[bytes] = []
    with Sandbox() as box:
        threads = [
            threading.Thread(target=lambda n=n: outputs.append(box.run(["echo", str(n)], check=True).stdout))  # type: ignore[misc]
            for n in range(12)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(map(int, outputs)) == list(range(12))


def test_timeout_leaves_the_others() -> None:
    """A command that is timed out is gone, with its children; the box and its other commands go on."""
    with Sandbox() as box:
        other = box.popen(["cat"], stdin=PIPE, stdout=PIPE)
        with pytest.raises(CommandTimeout) as caught:
            box.run("echo out; sleep 1234 & sleep 1234", shell=True, timeout=0.3)
        assert caught.value.stdout == b"out\n"
        assert b"1234" not in box.run("cat /proc/[0-9]*/cmdline", shell=True).stdout.replace(b"\0", b" ").split(b"cat")[0]
        assert other.communicate(b"x", timeout=30)[0] == b"x"


def test_timeout_ends_what_outlived_its_command() -> None:
    """The command has ended, but a child of it holds the output: it is killed as the command would have been."""
    with Sandbox() as box:
        with pytest.raises(CommandTimeout) as caught:
            box.run("echo out; sleep 1234 &", shell=True, timeout=0.5)
        assert caught.value.stdout == b"out\n"
        assert b"1234" not in box.run("cat /proc/[0-9]*/cmdline", shell=True).stdout.replace(b"\0", b" ").split(b"cat")[0]


def test_failed_command_leaves_the_box() -> None:
    with Sandbox() as box:
        with pytest.raises(FileNotFoundError):
            box.run(["nonesuch"])
        assert box.run(["true"]).returncode == 0


def test_a_program_behind_links_that_lead_nowhere() -> None:
    """Links in a circle, and scripts of scripts: told once, and the guest goes on."""
    nested = "for i in 1 2 3 4 5 6 7 8; do printf '#!/work/s%s\\n' $((i + 1)) >s$i; chmod +x s$i; done; cp /bin/true s9"
    with Sandbox() as box:
        box.run(["sh", "-c", f"ln -s circle circle; {nested}"], cwd="/work", check=True)
        for command in (["./circle"], ["/work/circle"], ["/work/s1"]):
            with pytest.raises(OSError, match="Too many levels of symbolic links") as raised:
                box.run(command, cwd="/work")
            assert raised.value.errno == errno.ELOOP
            assert box.run(["true"]).returncode == 0
        with pytest.raises(OSError, match="Too many levels of symbolic links"):
            box.run(["true"], cwd="/work/circle")
        assert box.run(["true"]).returncode == 0


def test_environment_of_the_policy() -> None:
    with Sandbox(policy=Policy(env={"A": "1"})) as box:
        assert box.run("echo $A", shell=True).stdout == b"1\n"
        assert box.run("echo $A", shell=True, env={"A": "2"}).stdout == b"2\n"


@pytest.mark.parametrize("name", ["mounts", "writable", "files", "policy", "limits", "audit", "network"])
def test_options_of_the_box_are_not_a_commands(name: str) -> None:
    with Sandbox() as box, pytest.raises(TypeError, match=name):
        box.run(["true"], **{name: None})


def test_bad_policy() -> None:
    with pytest.raises(PolicyError):
        Sandbox(policy=5)  # type: ignore[arg-type]


def test_audit_is_of_the_command() -> None:
    """Result.audit counts from the command's begin; Sandbox.audit all of it."""
    with Sandbox() as box:
        first = box.run("cat /nowhere; cat /nowhere", shell=True).audit
        second = box.run(["true"]).audit
        assert 0 < second.total < first.total and box.audit.total >= first.total + second.total


def test_limit_ends_the_box() -> None:
    with Sandbox(limits=Limits(wall_seconds=0.3)) as box:
        result = box.run(["sleep", "100"])
        assert (result.exceeded, result.returncode, box.exceeded) == ("wall_seconds", -9, "wall_seconds")
        with pytest.raises(SandboxError, match="wall_seconds"):
            box.run(["true"])


def test_box_that_nobody_holds_ends() -> None:
    box = Sandbox()
    guest = box._guest
    del box
    assert guest.wait_ended(10)


# ---- files ------------------------------------------------------------------------------------------------------


def test_read_write_list() -> None:
    with Sandbox(files={"/work/in": b"given"}) as box:
        box.write("new/dir/f", b"\0data")
        box.write("/tmp/x", b"first, longer")
        box.write("/tmp/x", b"second")
        assert box.read("new/dir/f") == b"\0data" and box.read("/tmp/x") == b"second" and box.read("in") == b"given"
        assert box.run(["cat", "new/dir/f"], check=True).stdout == b"\0data"
        assert box.list() == ["in", "new"] and box.list("/work/new") == ["dir"]


@pytest.mark.parametrize(
    ("act", "number"),
    [
        (lambda box: box.read("none"), errno.ENOENT),
        (lambda box: box.read("/work"), errno.EISDIR),
        (lambda box: box.read("fifo"), errno.EINVAL),
        (lambda box: box.read("closed/x"), errno.ENOENT),
        (lambda box: box.read("/etc/passwd/x"), errno.ENOTDIR),
        (lambda box: box.read("loop"), errno.ELOOP),
        (lambda box: box.read("x" * 300), errno.ENAMETOOLONG),
        (lambda box: box.read("x/" * 3000), errno.ENAMETOOLONG),
        (lambda box: box.read("big", max_bytes=10), errno.EFBIG),
        (lambda box: box.write("/etc/x", b""), errno.EROFS),
        (lambda box: box.write("/usr/x", b""), errno.EROFS),
        (lambda box: box.list("f"), errno.ENOTDIR),
    ],
)
def test_errors_of_files(act: object, number: int) -> None:
    with Sandbox() as box:
        box.run("mkfifo fifo; ln -s loop loop; mkdir closed; head -c 11 /dev/zero > big; : > f", shell=True, check=True)
        with pytest.raises(OSError) as caught:
            act(box)  # type: ignore[operator]
        assert caught.value.errno == number


def test_sparse_giant_does_not_fill_memory() -> None:
    with Sandbox() as box:
        box.run(["truncate", "-s", "1T", "giant"], check=True)
        with pytest.raises(OSError, match="more than 4096 bytes"):
            box.read("giant", max_bytes=4096)


def test_links_lead_in_the_guests_view() -> None:
    """A link of the guest's to a host file does not reach it."""
    with Sandbox() as box:
        box.run(["ln", "-s", str(Path(__file__)), "l"], check=True)
        box.run(["ln", "-s", "/etc/hostname", "h"], check=True)
        with pytest.raises(FileNotFoundError):
            box.read("l")
        assert box.read("h") == b"sandbox\n"


def test_list_shows_mount_points_and_hides(tmp_path: Path) -> None:
    (tmp_path / "shown").touch()
    (tmp_path / "hidden").touch()
    policy = Policy(
        mounts=(Mount("/data", tmp_path, hide=["hidden"]),),
        scratch=(Scratch("/data/own"),),
        files=(File("/data/deep/er/f", b""),),
    )
    with Sandbox(policy=policy) as box:
        assert box.list("/data") == ["deep", "own", "shown"]
        assert {"data", "etc", "usr", "work"} <= set(box.list("/"))


def test_names_are_bytes() -> None:
    with Sandbox() as box:
        box.write(b"n\xff", b"x")
        assert [os.fsencode(name) for name in box.list()] == [b"n\xff"] and box.read(b"n\xff") == b"x"


# ---- export -----------------------------------------------------------------------------------------------------


def test_export_copies_files_links_and_modes(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with Sandbox() as box:
        script = (
            "mkdir -p d/e; echo 1 > d/e/f; chmod 4750 d/e/f; ln -s /etc/passwd abs; ln -s ../../.. up; ln -s d dir;"
            "mkfifo fifo; printf x > 'na me'"
        )
        box.run(script, shell=True, check=True)
        box.export("/work", out)
    assert sorted(os.listdir(out)) == ["abs", "d", "dir", "na me", "up"]
    assert (out / "d/e/f").read_text() == "1\n" and (out / "d/e/f").stat().st_mode & 0o7777 == 0o750
    assert os.readlink(out / "abs") == "/etc/passwd" and os.readlink(out / "up") == "../../.."
    assert (out / "dir").is_symlink()


def test_export_of_one_file(tmp_path: Path) -> None:
    with Sandbox(files={"/work/f": b"x"}) as box:
        box.export("f", tmp_path)
    assert (tmp_path / "f").read_bytes() == b"x"


def test_export_replaces_but_follows_nothing(tmp_path: Path) -> None:
    """What lies in the way is replaced: a link on the host side is not written through, nor walked through."""
    outside, out = tmp_path / "outside", tmp_path / "out"
    outside.mkdir()
    out.mkdir()
    (outside / "victim").write_text("safe")
    (out / "f").symlink_to(outside / "victim")
    with Sandbox() as box:
        box.run("echo new > f", shell=True, check=True)
        box.export("/work", out)
        assert (outside / "victim").read_text() == "safe" and (out / "f").read_text() == "new\n"
        (out / "d").symlink_to(outside)
        box.run("mkdir d; echo new > d/victim", shell=True, check=True)
        with pytest.raises(OSError):
            box.export("/work", out)
    assert (outside / "victim").read_text() == "safe"


def test_export_while_the_guest_swaps(tmp_path: Path) -> None:
    """A directory that turns into a link and back while it is copied leads nowhere else."""
    (tmp_path / "secret").write_text("of the host")
    swap = f"mkdir -p d; echo in > d/f; while :; do mv d e; ln -s {tmp_path} d; rm d; mv e d; done"
    with Sandbox() as box:
        box.popen(swap, shell=True)
        for number in range(30):
            box.export("/work", tmp_path / str(number))
    found = {path.name for number in range(30) for path in (tmp_path / str(number)).rglob("*")}
    assert found <= {"d", "e", "f"}


def test_export_of_a_deep_tree(tmp_path: Path) -> None:
    """Depth costs neither descriptors nor stack."""
    with Sandbox() as box:
        box.run("i=0; while [ $i -lt 500 ]; do mkdir d; cd d; i=$((i+1)); done; echo deep > f", shell=True, check=True)
        box.export("/work", tmp_path / "out")
    assert (tmp_path / "out").joinpath(*["d"] * 500, "f").read_text() == "deep\n"
