"""The default view, and how a policy lies over it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from sandbox import File, Mount, Policy, PolicyError, Scratch, _view
from sandbox._view import Kind


def by_guest(policy: Policy) -> dict[str, _view.Place]:
    return {place.guest: place for place in _view.places(policy)}


def test_nothing_of_the_host_is_writable() -> None:
    """Only scratch and a few devices are; every host directory is one of the system's or the interpreter's."""
    view = by_guest(Policy())
    for guest, place in view.items():
        if place.kind is Kind.HOST:
            assert place.writable == guest.startswith("/dev/"), guest
            tops = ("/usr", "/etc/", "/dev/", "/sys/devices/system/cpu", "/bin", "/sbin", "/lib", sys.base_prefix, sys.prefix)
            assert guest.startswith(tops), guest
    assert {guest for guest, place in view.items() if place.writable and not place.device} == {
        *("/work", "/tmp", "/home/user", "/dev/shm")
    }


@pytest.mark.parametrize("name", ["shadow", "gshadow", "ssh", "gitconfig", "fstab", "machine-id", "pip.conf", "sudoers"])
def test_private_files_of_etc(name: str) -> None:
    assert "/etc/" + name not in by_guest(Policy())


@pytest.mark.parametrize("prefix", ["/", "~", "~/..", "/home", "/root"])
def test_prefix_that_would_show_a_home(prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interpreter that is installed right into a home directory does not bring that in."""
    for name in ("prefix", "base_prefix", "exec_prefix", "base_exec_prefix"):
        monkeypatch.setattr(sys, name, os.path.abspath(os.path.expanduser(prefix)))
    view = by_guest(Policy())
    shown = view.get(os.path.abspath(os.path.expanduser(prefix)))
    assert (shown is None or shown.kind is not Kind.HOST) and view["/"].kind is Kind.SKELETON


def test_prefix_without_credentials() -> None:
    """pip.conf of the interpreter may name a registry's password."""
    for place in _view.places(Policy()):
        if place.guest in (sys.prefix, sys.base_prefix) and place.guest != "/usr":
            assert place.hide == ("pip.conf",)


def test_accounts_name_the_caller() -> None:
    passwd = by_guest(Policy())["/etc/passwd"].content
    assert isinstance(passwd, bytes)
    rows = [line.split(":") for line in passwd.decode().splitlines()]
    assert [row[5] for row in rows if int(row[2]) == os.getuid()] == ["/home/user"]
    assert len({row[0] for row in rows}) == len({row[2] for row in rows}) == len(rows)


def test_policy_takes_the_place_of_a_default(tmp_path: Path) -> None:
    view = by_guest(Policy(mounts=(Mount("/work", tmp_path),), files=(File("/etc/hosts", b"x"),)))
    assert view["/work"].kind is Kind.HOST and view["/etc/hosts"].content == b"x"


def test_mount_points_go_by_their_true_path(tmp_path: Path) -> None:
    """Links of the view, and of the host directories in it, are followed; the last name is not."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "loop").symlink_to("loop")
    policy = Policy(mounts=(Mount("/d", tmp_path),), files=(File("/d/link/f", b""),))
    with pytest.raises(PolicyError):
        _view.places(Policy(mounts=(Mount("/d", tmp_path),), files=(File("/d/loop/f", b""),)))
    assert "/d/real/f" in by_guest(policy) and "/d/link/f" not in by_guest(policy)
    assert "/d/link" in by_guest(Policy(mounts=(Mount("/d", tmp_path),), files=(File("/d/link", b""),)))
    with pytest.raises(PolicyError, match="given too"):
        _view.places(Policy(mounts=(Mount("/d", tmp_path),), files=(File("/d/link/f", b""), File("/d/real/f", b""))))


def test_link_that_leads_up_stays_below_the_root(tmp_path: Path) -> None:
    (tmp_path / "up").symlink_to("../../../../../etc")
    view = by_guest(Policy(mounts=(Mount("/d", tmp_path),), scratch=(Scratch("/d/up/own"),)))
    assert "/etc/own" in view


def test_parents_of_mount_points(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    view = by_guest(Policy(mounts=(Mount("/", tmp_path),), files=(File("/there/f", b""), File("/a/b/f", b""))))
    assert view["/a"].kind is Kind.SKELETON and view["/dev"].kind is Kind.SKELETON
    assert not {"/there", "/a/b", "/tmp/x"} & set(view)


def test_root_keeps_its_own_work(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    view = by_guest(Policy(mounts=(Mount("/", tmp_path),)))
    assert "/work" not in view and view["/home/user"].kind is Kind.SCRATCH and "/usr" not in view


def test_view_is_looked_for_anew_when_it_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who the caller is belongs to it."""
    before = by_guest(Policy())["/etc/passwd"].content
    monkeypatch.setattr(os, "getuid", lambda: 4321)
    after = by_guest(Policy())["/etc/passwd"].content
    assert before != after and isinstance(after, bytes) and b":4321:" in after


def test_nothing_lies_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    for policy in (
        Policy(files=(File("/work/a", b""), File("/work/a/b", b""))),
        Policy(mounts=(Mount("/m", tmp_path / "f"),), scratch=(Scratch("/m/x/y"),)),
    ):
        with pytest.raises(PolicyError, match="below"):
            _view.places(policy)


def test_children() -> None:
    """What mount points add to a listing, and what is hidden in it."""
    view = _view.places(Policy(mounts=(Mount("/d", "/srv", hide=["x", "y/z"]),), scratch=(Scratch("/d/y/own"),)))
    assert _view.children(view, "/d") == ({"y"}, {"x"}) and _view.children(view, "/d/y") == ({"own"}, {"z"})
    assert "usr" in _view.children(view, "/")[0]
