"""Policies: values that cannot exist invalid, and their TOML."""

from __future__ import annotations

import copy
import dataclasses
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox import File, Limits, Mount, Policy, PolicyError, Scratch

# ---- values -----------------------------------------------------------------------------------------------------


def test_defaults() -> None:
    """Policy() grants nothing of the caller's; a mount is read-only."""
    policy = Policy()
    assert policy.mounts == policy.scratch == policy.files == policy.require == () and not policy.env
    mount = Mount("/data", "/srv")
    assert (mount.writable, mount.noexec, mount.hide) == (False, False, ())


@pytest.mark.parametrize("path", ["/data/", "//data", "/./data", b"/data", Path("/data")])
def test_guest_paths_are_normal(path: Any) -> None:
    assert Mount(path, "/srv").target == "/data"


@pytest.mark.parametrize("path", ["", "data", "/a/../b", "/a\0b", "/" + "x" * 256, "/" + "x/" * 2100, 7, None])
def test_guest_paths_that_cannot_be(path: Any) -> None:
    for make in (lambda: Mount(path, "/srv"), lambda: Scratch(path), lambda: File(path, b"")):
        with pytest.raises(PolicyError):
            make()


def test_paths_are_bytes() -> None:
    """A path that is no UTF-8 stays what it is."""
    assert os.fsencode(Mount(b"/\xff", b"/srv/\xfe").source) == b"/srv/\xfe"


def test_relative_source_counts_from_here() -> None:
    assert Mount("/data", "x").source == os.path.join(os.getcwd(), "x")


@pytest.mark.parametrize("hide", [["/abs"], ["../up"], [""], ["a/../b"], "text", [3]])
def test_hide_that_cannot_be(hide: Any) -> None:
    with pytest.raises(PolicyError, match="mount /data"):
        Mount("/data", "/srv", hide=hide)


@pytest.mark.parametrize("content", ["text", None, 5, ["x"]])
def test_content_that_cannot_be(content: Any) -> None:
    with pytest.raises(PolicyError, match="file /f"):
        File("/f", content)


def test_root_is_a_directory() -> None:
    with pytest.raises(PolicyError):
        File("/", b"")
    with pytest.raises(PolicyError):
        Scratch("/")


@pytest.mark.parametrize("name", [entry.name for entry in dataclasses.fields(Limits)])
@pytest.mark.parametrize("value", [0, -1, True, "5", 1 << 63, float("nan"), float("inf")])
def test_limits_that_cannot_be(name: str, value: Any) -> None:
    with pytest.raises(PolicyError, match=f"limit {name}"):
        Limits(**{name: value})


def test_wall_seconds_may_have_a_fraction() -> None:
    assert Limits(wall_seconds=0.5).wall_seconds == 0.5
    with pytest.raises(PolicyError):
        Limits(cpu_seconds=0.5)  # type: ignore[arg-type]


def test_frozen_and_copied() -> None:
    """A policy cannot change, and does not change when what it was made of does."""
    env = {"A": "1"}
    mounts = [Mount("/data", "/srv")]
    policy = Policy(mounts=mounts, env=env)  # type: ignore[arg-type]
    env["A"] = "2"
    mounts.clear()
    assert policy.env["A"] == "1" and len(policy.mounts) == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        policy.require = ("landlock",)  # type: ignore[misc]
    with pytest.raises(TypeError):
        policy.env["A"] = "3"  # type: ignore[index]


def test_pickle_copy_replace() -> None:
    policy = Policy(mounts=(Mount("/data", "/srv", hide=["x"]),), env={"A": "1"}, limits=Limits(memory=5))
    assert pickle.loads(pickle.dumps(policy)) == copy.deepcopy(policy) == policy
    assert dataclasses.replace(policy, require=("userns",)).mounts == policy.mounts


@pytest.mark.parametrize(
    "arguments",
    [
        {"mounts": [Mount("/a", "/srv"), Mount("/a/", "/usr")]},
        {"mounts": [Mount("/a", "/srv")], "scratch": [Scratch("/a")]},
        {"scratch": [Scratch("/a")], "files": [File("/a", b"")]},
    ],
)
def test_same_path_twice(arguments: Any) -> None:
    with pytest.raises(PolicyError, match="^/a: this guest path is given twice$"):
        Policy(**arguments)


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ({"mounts": ["/a"]}, "no Mount"),
        ({"mounts": Mount("/a", "/b")}, "no list"),
        ({"limits": {"memory": 5}}, "no Limits"),
        ({"require": ["moat"]}, "no wall"),
        ({"require": "landlock"}, "no list"),
        ({"env": {"A=B": "1"}}, "env"),
        ({"env": {"A": 1}}, "env"),
        ({"env": [("A", "1")]}, "env"),
        ({"env": {"A": "x\0y"}}, "env"),
    ],
)
def test_policies_that_cannot_be(arguments: Any, what: str) -> None:
    with pytest.raises(PolicyError, match=what):
        Policy(**arguments)


def test_extend_lays_shorthands_over() -> None:
    policy = Policy(limits=Limits(memory=5, processes=6)).extend(
        mounts={"/a": "/srv"}, writable={"/b": "/srv"}, files={"/c": b"x"}, limits=Limits(memory=7)
    )
    assert [(mount.target, mount.writable) for mount in policy.mounts] == [("/a", False), ("/b", True)]
    assert policy.files[0].content == b"x"
    assert (policy.limits.memory, policy.limits.processes) == (7, 6)
    with pytest.raises(PolicyError, match="twice"):
        policy.extend(files={"/a": b""})


# ---- TOML -------------------------------------------------------------------------------------------------------

TEXT = """
require = ["landlock"]
[[mounts]]
source = "data"
target = "/data"
writable = true
hide = ["secret", "a/b"]
[[scratch]]
target = "/cache"
noexec = true
[[files]]
target = "/work/in.json"
content = "{}"
[limits]
memory = 1048576
wall_seconds = 1.5
[env]
LANG = "de_DE.UTF-8"
"""


def test_load(tmp_path: Path) -> None:
    """Relative sources count from the file's directory, wherever the caller is."""
    path = tmp_path / "policy.toml"
    path.write_text(TEXT, "utf-8")
    policy = Policy.load(path)
    assert policy == Policy(
        mounts=(Mount("/data", tmp_path / "data", writable=True, hide=("a/b", "secret")),),
        scratch=(Scratch("/cache", noexec=True),),
        files=(File("/work/in.json", b"{}"),),
        limits=Limits(memory=1 << 20, wall_seconds=1.5),
        env={"LANG": "de_DE.UTF-8"},
        require=("landlock",),
    )


BAD = [
    ("[[mounts]]\nsource='a'\ntarget='/a'\nwriteable=true", r"unknown key mounts\.writeable"),
    ("mount = 1", "unknown key mount;"),
    ("[limits]\nmem = 5", r"unknown key limits\.mem"),
    ("[limits]\nmemory = 'much'", "limit memory"),
    ("[[mounts]]\ntarget='/a'", "no source"),
    ("[[mounts]]\nsource='a'", "no target"),
    ("[[mounts]]\nsource='a'\ntarget='a'", "starts with /"),
    ("[[mounts]]\nsource='a'\ntarget='/a'\nwritable='yes'", r"mounts\.writable"),
    ("[mounts]\nsource='a'", "mounts"),
    ("[[files]]\ntarget='/a'", "content"),
    ("[[files]]\ntarget='/a'\ncontent='a'\ncontent_base64='YQ=='", "content"),
    ("[[files]]\ntarget='/a'\ncontent_base64='!'", "content_base64"),
    ("[env]\nA = 1", r"env\.A"),
    ("require = 'landlock'", "require"),
    ("require = ['moat']", "no wall"),
    ("[[scratch]]\ntarget='/a'\n[[files]]\ntarget='/a'\ncontent=''", "twice"),
    ("a = 1\nb = = 2", "line 2"),
    ("a = 1\n\n[limits", "line 3"),
    ("a = 'x", "line 1"),
]


@pytest.mark.parametrize(("text", "what"), BAD)
def test_errors_name_file_and_place(text: str, what: str, tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(PolicyError, match=what) as caught:
        Policy.load(path)
    assert str(caught.value).startswith(str(path))


def test_not_utf8_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_bytes(b"a = 1\nb = '\xff'\n")
    with pytest.raises(PolicyError, match="line 2"):
        Policy.load(path)


def test_missing_file() -> None:
    with pytest.raises(PolicyError, match="policy /nowhere: No such file"):
        Policy.load("/nowhere")


def test_functions_have_no_toml() -> None:
    with pytest.raises(PolicyError, match="file /f"):
        Policy(files=(File("/f", lambda: b""),)).to_toml()


def test_bytes_that_are_no_text_have_no_toml() -> None:
    with pytest.raises(PolicyError, match="Unicode"):
        Policy(mounts=(Mount(b"/\xff", "/srv"),)).to_toml()


NAMES = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="/\0"), min_size=1, max_size=20).filter(
    lambda name: name not in (".", "..")
)
TARGETS = st.lists(NAMES, min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts))
POLICIES = st.builds(
    lambda targets, content, env, memory, wall, flags: Policy(
        mounts=tuple(Mount(t, "/srv" + t, writable=flags, hide=("h i",)) for t in targets[:2]),
        scratch=tuple(Scratch(t, noexec=flags) for t in targets[2:4]),
        files=tuple(File(t, content, executable=flags) for t in targets[4:]),
        limits=Limits(memory=memory, wall_seconds=wall),
        env=env,
        require=("landlock",) if flags else (),
    ),
    st.lists(TARGETS, unique=True, max_size=6),
    st.binary(max_size=30) | st.text(max_size=30).map(lambda text: text.encode("utf-8", "replace")),
    st.dictionaries(
        NAMES.filter(lambda name: "=" not in name),
        st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=20),
        max_size=3,
    ),
    st.none() | st.integers(1, 1 << 40),
    st.none() | st.integers(1, 99) | st.floats(0.01, 1e9),
    st.booleans(),
)


@given(POLICIES)
def test_toml_round_trip(policy: Policy) -> None:
    """What to_toml writes, loads reads as an equal policy."""
    assert Policy.loads(policy.to_toml(), name="/policy.toml") == policy
