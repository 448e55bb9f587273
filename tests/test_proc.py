"""Texts of /proc: nothing of the host in them, nothing of the guest missing."""

from __future__ import annotations

import errno
import os
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sandbox
from sandbox._messages import Refused, Request
from sandbox.services.proc import Mounted, ProcService

SERVICE = ProcService(
    [
        Mounted(b"/", (b"/m/0", b"/tmp/s/skeleton")),
        Mounted(b"/usr", (b"/m/1", b"/usr")),
        Mounted(b"/work", (b"/m/12", b"/tmp/s/scratch/12"), b"rw", b"tmpfs"),
        Mounted(b"/a b", (b"/m/2",)),
    ]
)
HEAD = b"00400000-00401000 r-xp 00000000 08:01 123                                "


def text(name: bytes, source: bytes | None = None) -> bytes:
    return SERVICE.content(Request(7, name, source))


@pytest.mark.parametrize(
    ("kernel", "guest"),
    [
        (b"/m/1/bin/sh", b"/usr/bin/sh"),
        (b"/m/12/x (deleted)", b"/work/x (deleted)"),
        (b"/m/1", b"/usr"),
        (b"/m/0", b"/"),
        (b"/tmp/s/scratch/12/y", b"/work/y"),
        (b"/usr/lib/z", b"/usr/lib/z"),
        (b"/memfd:x (deleted)", b"/memfd:x (deleted)"),
        (b"[heap]", b"[heap]"),
        (b"/dev/zero (deleted)", b"/dev/zero (deleted)"),
    ],
)
def test_maps_have_the_guests_names(kernel: bytes, guest: bytes) -> None:
    assert text(b"7/maps", HEAD + kernel + b"\n") == HEAD + guest + b"\n"


@pytest.mark.parametrize("kernel", [b"/home/alice/secret", b"/m/13/x", b"/m/1x/y", b"/tmp/s/scratch/123/x", b"/users/x"])
def test_host_paths_have_no_name(kernel: bytes) -> None:
    """A file that no mount holds is memory without a name, not a line less."""
    shown = text(b"7/maps", HEAD + kernel + b"\n")
    assert shown == HEAD.rstrip() + b" \n" and kernel not in shown


@pytest.mark.parametrize("name", [b"7/smaps", b"7/task/8/smaps"])
def test_stub_is_left_out_with_its_details(name: bytes) -> None:
    block = b"Size:                  4 kB\nVmFlags: rd ex\n"
    lines = HEAD + b"/memfd:stub (deleted)\n" + block + HEAD + b"/m/1/x\n" + block
    assert text(name, lines) == HEAD + b"/usr/x\n" + block


def test_tracer_and_tag_do_not_show() -> None:
    assert text(b"7/status", b"Name:\tx\nTracerPid:\t99\nUid:\t0\n") == b"Name:\tx\nTracerPid:\t0\nUid:\t0\n"
    with open("/proc/self/limits", "rb") as file:
        source = file.read()
    odd = source.replace(
        b"Max file locks            unlimited            unlimited            locks",
        b"Max file locks            5                    12345678901          locks",
    )
    assert b"12345678901" in odd and b"12345678901" not in text(b"7/limits", odd)
    assert len(text(b"7/limits", odd)) == len(source)


def test_mounts_are_the_plans() -> None:
    assert text(b"7/mounts").splitlines()[2:] == [
        b"sandbox /work tmpfs rw,nosuid,nodev 0 0",
        b"sandbox /a\\040b sandbox ro,nosuid,nodev 0 0",
    ]
    for line in text(b"7/mountinfo").splitlines():
        left, _, right = line.partition(b" - ")
        assert len(left.split()) == 6 and len(right.split()) == 3


def test_boot_id_is_the_guests_own_and_stable() -> None:
    assert text(b"sys/kernel/random/boot_id") == text(b"sys/kernel/random/boot_id")
    assert text(b"sys/kernel/random/uuid") != text(b"sys/kernel/random/uuid")
    with open("/proc/sys/kernel/random/boot_id", "rb") as file:
        assert text(b"sys/kernel/random/boot_id") != file.read()


def test_load_without_the_hosts_processes() -> None:
    assert text(b"loadavg", b"0.10 0.20 0.30 3/812 12345\n") == b"0.10 0.20 0.30 1/1 1\n"


@pytest.mark.parametrize("name", [b"kcore", b"7/mem", b"7/root/etc/shadow", b"sys/kernel/secret", b"../1/maps", b"", b"/", b"7", b"7/"])
def test_unknown_names_are_refused(name: bytes) -> None:
    with pytest.raises(Refused) as caught:
        text(name, b"secret")
    assert caught.value.error == errno.ENOENT


def test_without_the_kernels_file_there_is_none() -> None:
    with pytest.raises(Refused):
        text(b"7/maps", None)
    assert text(b"7/net/tcp", None).startswith(b"  sl")


NAMES = st.sampled_from([b"7/maps", b"7/smaps", b"7/status", b"7/limits", b"loadavg", b"7/mounts", b"7/stat", b"meminfo"])


@given(NAMES, st.binary(max_size=300) | st.lists(st.sampled_from([HEAD, b"/m/1", b"\n", b" ", b"/x", b"Max "])).map(b"".join))
def test_no_source_breaks_it(name: bytes, source: bytes) -> None:
    """Whatever a guest writes into its names, or a broken sentry hands in."""
    assert isinstance(text(name, source), bytes)


def test_inside_nothing_of_the_host_shows() -> None:
    """The texts that a program reads of itself."""
    script = "cat /proc/self/maps /proc/self/mounts /proc/self/mountinfo /proc/self/smaps; cat /proc/meminfo > /dev/null"
    out = sandbox.run(script, shell=True, check=True).stdout
    out = out.replace(os.fsencode(sys.prefix), b"")  # the interpreter's own place, which is granted
    assert b"/m/" not in out and os.fsencode(os.getcwd()) not in out and b"stub" not in out
    assert b"/cat" in out and b" /work " in out
