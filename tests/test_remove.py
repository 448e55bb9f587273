"""Removal of what a guest leaves: any depth, any mode, no link followed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sandbox._remove import make_scratch, remove_tree


def test_scratch_is_the_callers_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    path = make_scratch()
    assert os.stat(path).st_mode & 0o777 == 0o700 and os.path.realpath(path) == path
    remove_tree(path)
    assert os.listdir(tmp_path) == []


def test_deeper_than_paths_and_stacks_reach(tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    here = os.open(top, os.O_RDONLY)
    for _ in range(2500):
        os.mkdir("d" * 30, dir_fd=here)
        os.close(os.open("f", os.O_CREAT, 0o600, dir_fd=here))
        inner = os.open("d" * 30, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)
    remove_tree(str(top))
    assert not top.exists()


def test_closed_directories_and_odd_names(tmp_path: Path) -> None:
    top = tmp_path / "top"
    (top / "a" / "b" / "c").mkdir(parents=True)
    os.mkfifo(top / "a" / "fifo")
    (top / "a" / ".sandbox-1").mkdir()
    (top / ".sandbox-1" / "x").mkdir(parents=True)
    (top / ".sandbox-2").write_text("in the way")
    Path(os.fsdecode(os.fsencode(top) + b"/\xff\n")).mkdir()
    (top / "a" / "b").chmod(0)
    (top / "a").chmod(0)
    remove_tree(str(top))
    assert not top.exists()


def test_links_are_removed_not_followed(tmp_path: Path) -> None:
    top, kept = tmp_path / "top", tmp_path / "kept"
    (top / "d").mkdir(parents=True)
    kept.mkdir()
    (kept / "f").write_text("safe")
    (top / "d" / "link").symlink_to(kept)
    (top / "link").symlink_to(kept)
    (top / "dangling").symlink_to("nowhere")
    remove_tree(str(top))
    assert not top.exists() and (kept / "f").read_text() == "safe"


@pytest.mark.parametrize("what", ["missing", "file", "link"])
def test_no_directory_is_no_error(what: str, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    path = tmp_path / what
    if what == "file":
        path.write_text("x")
    if what == "link":
        path.symlink_to(kept)
    remove_tree(str(path))
    assert kept.exists() and (what == "missing") != os.path.lexists(path)
