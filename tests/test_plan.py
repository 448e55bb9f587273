"""Plans: what Python builds passes the check in C, and lookups agree with a model."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox._core import Limits, MountKind, PlanMount, build_plan, check_plan, find_mount
from sandbox._core.binding import ffi, lib

PROGRAM = b"\x06\x00\x00\x00\x00\x00\xff\x7f"
ROOT = PlanMount(b"/", MountKind.SKELETON)
CSRC = Path(__file__).parent.parent / "csrc"


def plan(*mounts: PlanMount, descriptors: int = 0) -> bytes:
    return build_plan(mounts, Limits(), filters=(PROGRAM,) * 3, tag=7 << 32, required=0, descriptors=descriptors)


def test_lookups() -> None:
    made = plan(
        PlanMount(b"/data", MountKind.HOST, 0, b"/srv", hide=(b"secret", b"a/b")),
        PlanMount(b"/data/sub", MountKind.SCRATCH),
        ROOT,
        PlanMount(b"/data-x", MountKind.HOST, 0, b"/srv"),
    )
    assert find_mount(made, b"/") == (0, b"")
    assert find_mount(made, b"/etc/x") == (0, b"etc/x")
    assert find_mount(made, b"/data/y") == (1, b"y")
    assert find_mount(made, b"/data-x/y") == (2, b"y")
    assert find_mount(made, b"/data/sub") == (3, b"")
    assert find_mount(made, b"/data/secret/deep") is None
    assert find_mount(made, b"/data/a/bc") == (1, b"a/bc")


@pytest.mark.parametrize(
    ("mount", "why"),
    [
        (PlanMount(b"relative", MountKind.SCRATCH), "absolute"),
        (PlanMount(b"/a/../b", MountKind.SCRATCH), "normal"),
        (PlanMount(b"/a/", MountKind.SCRATCH), "normal"),
        (PlanMount(b"/" + b"n" * 256, MountKind.SCRATCH), "normal"),
        (PlanMount(b"/" + b"n/" * 2100 + b"n", MountKind.SCRATCH), "length"),
        (PlanMount(b"/a", MountKind.HOST, 0, b"srv"), "source"),
        (PlanMount(b"/a", MountKind.LINK), "link"),
        (PlanMount(b"/a", MountKind.BYTES, handle=1), "descriptor"),
        (PlanMount(b"/a", MountKind.NONE), "kind"),
        (PlanMount(b"/a", 77), "kind"),
        (PlanMount(b"/a", MountKind.SCRATCH, 128), "flags"),
        (PlanMount(b"/a", MountKind.HOST, 0, b"/srv", hide=(b"/x",)), "hidden"),
        (PlanMount(b"/a", MountKind.HOST, 0, b"/srv", hide=(b"",)), "hidden"),
        (PlanMount(b"/", MountKind.SCRATCH), "sorted|two"),
        (PlanMount(b"/a\0b", MountKind.SCRATCH), "NUL"),
    ],
)
def test_what_cannot_be_is_refused(mount: PlanMount, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        plan(ROOT, mount, descriptors=1)


def test_the_root_is_a_directory() -> None:
    with pytest.raises(ValueError, match="first mount"):
        plan(PlanMount(b"/a", MountKind.SCRATCH))
    with pytest.raises(ValueError, match="no directory"):
        plan(PlanMount(b"/", MountKind.PROC))


def test_filters_are_needed() -> None:
    with pytest.raises(ValueError, match="filter"):
        build_plan([ROOT], Limits(), filters=(b"", PROGRAM, PROGRAM), tag=1 << 32, required=0)


def test_limits_and_tag_arrive() -> None:
    made = build_plan([ROOT], Limits(1, 2, 3, 4, 5, 6, 7), filters=(PROGRAM,) * 3, tag=9 << 32, required=2, cgroup=b"/c")
    header = ffi.cast("struct sbx_plan *", ffi.from_buffer(made))
    assert (header.limits.memory, header.limits.scratch_files, header.tag, header.required) == (1, 7, 9 << 32, 2)
    assert ffi.string(ffi.cast("char *", header) + header.cgroup) == b"/c"
    assert header.size == len(made)


names = st.sampled_from([b"a", b"b", b"a-", b"ab", b"\xff", b"a b", b"..."])
paths = st.lists(names, max_size=4).map(lambda parts: b"/" + b"/".join(parts))


@settings(max_examples=300, deadline=None)
@given(st.sets(paths, max_size=8), paths)
def test_longest_prefix_wins(points: set[bytes], path: bytes) -> None:
    ordered = sorted(points | {b"/"})
    made = plan(*(PlanMount(point, MountKind.SCRATCH) for point in ordered))

    def holds(point: bytes) -> bool:
        return point == b"/" or path == point or path.startswith(point + b"/")

    best = max((point for point in ordered if holds(point)), key=len)
    assert find_mount(made, path) == (ordered.index(best), path[len(best) :].strip(b"/"))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_plans_do_not_crash(data: st.DataObject) -> None:
    made = bytearray(plan(ROOT, PlanMount(b"/d", MountKind.HOST, 0, b"/srv", hide=(b"x", b"y/z"))))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(made) - 1))
        made[at] = data.draw(st.integers(0, 255))
    try:
        find_mount(bytes(made), b"/d/y/z")
    except ValueError:
        return
    check_plan(bytes(made))


def test_constants_of_the_contract() -> None:
    assert lib.SBX_MOUNTS_MAX >= 1024 and lib.SBX_PLAN_MAX >= 1 << 20


@pytest.mark.parametrize("source", ["spawn.c", "drain.c"])
def test_sources_of_the_extension_alone_have_no_warnings(source: str) -> None:
    """setup.py compiles the others with warnings as errors, as parts of the sentry."""
    flags = ["-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-fsyntax-only"]
    subprocess.run(["gcc", *flags, str(CSRC / source)], check=True)
