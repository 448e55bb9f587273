"""Writes the kept seeds: one small input for each thing that a target tells apart. Inputs that once failed are kept
beside them, named `was-…`, and are not written here."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path

from sandbox import _core
from sandbox._core import Limits, MessageType, MountFlag, MountKind, PlanMount
from sandbox._core.binding import ffi, lib

HERE = Path(__file__).resolve().parent / "corpus"
NUMBER = {row.name: row.nr for row in _core.syscalls()}
HEAD = struct.Struct("=IIQqq")


def keep(target: str, name: str, *parts: bytes) -> None:
    folder = HERE / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(b"".join(parts))


# ---- decode: how the memory lies, mode, number, offset of its end, six arguments, the memory


def call(name: str, *arguments: bytes, memory: bytes, how: int = 64, mode: int = 8) -> None:
    six = b"".join(arguments).ljust(6, b"\5")  # \5 is NULL
    head = bytes([how, mode]) + struct.pack("<HH", NUMBER[name], len(memory) * (1 + (how & 63)))
    keep("decode", f"{name}-{how}-{mode}", head, six, memory)


def at(offset: int) -> bytes:
    return b"\0" + struct.pack("<H", offset)


def value(number: int) -> bytes:
    return b"\2" + struct.pack("<q", number)


def decode() -> None:
    call("openat", value(-100), at(0), value(0o101), value(0o644), memory=b"/work/a\0")
    call("openat", value(3), b"\1\5", value(0), memory=b"below/a\0", mode=0)  # near the end, read from /proc/TID/mem
    call("openat", value(-100), at(0), memory=b"a" * 64, how=64 | 63)  # no NUL within PATH_MAX
    call("openat", value(-100), at(4090), memory=b"b" * 8190 + b"\0", how=0)  # across a page
    call("renameat2", value(-100), at(0), value(3), at(3), value(2), memory=b"/a\0/b\0")
    call("rename", at(0), at(0), memory=b"same\0", mode=12)  # changed between two reads
    call("utimensat", value(3), b"\5", at(0), memory=bytes(32))
    call("setxattr", at(0), at(3), at(9), value(4), memory=b"/a\0user.\0\0")
    call("symlink", at(0), at(2), memory=b"t\0/link\0")
    call("execveat", value(5), at(0), at(1), at(1), value(0x1000), memory=bytes(16))
    call("readlink", b"\4\1\0", at(0), value(100), memory=b"x\0")  # an address that wraps around
    call("kill", b"\3\xff", b"\3\x09", memory=b"")


# ---- plan: 0 and a plan as it is, or 1 and texts to make one of; then paths


def plans() -> None:
    mounts = [
        PlanMount(b"/", MountKind.SKELETON),
        PlanMount(b"/data", MountKind.HOST, source=b"/srv/data", hide=(b"secret", b"a/hidden")),
        PlanMount(b"/data/sub", MountKind.SCRATCH, flags=MountFlag.WRITABLE),
        PlanMount(b"/data-old", MountKind.HOST, source=b"/srv/old"),
        PlanMount(b"/dev/fd", MountKind.LINK, source=b"/proc/self/fd"),
        PlanMount(b"/proc", MountKind.PROC),
    ]
    allow = struct.pack("<HBBI", 6, 0, 0, 0x7FFF0000)
    whole = _core.build_plan(mounts, Limits(), filters=(allow, allow, allow), tag=5 << 32, required=0)
    paths = b"/data/secret/x\0/data/sub/y\0/data-older\0/\0relative\0/proc/self\0"
    keep("plan", "whole", b"\0", struct.pack("<H", len(whole)), whole, paths)
    keep("plan", "mended", b"\0", struct.pack("<H", len(whole)), whole[:-1], b"\1", paths)
    keep("plan", "empty", b"\0")
    broken = bytearray(whole + b"x\0y\0")
    mount = ffi.sizeof("struct sbx_plan") + ffi.sizeof("struct sbx_mount")
    row = ffi.from_buffer("struct sbx_mount *", memoryview(broken)[mount:], require_writable=True)
    row.hide, row.hide_count = len(whole), 3
    ffi.from_buffer("struct sbx_plan *", broken, require_writable=True).size = len(broken)
    keep("plan", "hides-past-the-end", b"\0", struct.pack("<H", len(broken)), broken, paths)

    def row(guest: bytes, source: bytes, hide: bytes, kind: MountKind, flags: int = 0) -> bytes:
        return guest + b"\0" + source + b"\0" + hide + b"\0" + bytes([kind, flags])

    rows = [
        row(b"", b"srv", b"etc", MountKind.HOST),
        row(b"a", b"srv/a", b"b/c", MountKind.HOST),
        row(b"a-", b"x", b"", MountKind.SCRATCH, 1),
        row(b"a/b", b"y", b"", MountKind.SERVICE),
        row(b"proc", b"", b"", MountKind.PROC),
    ]
    keep("plan", "made", b"\1", bytes([len(rows) - 1]), *rows, b"/a/b/c\0/a/b\0/a-/b\0/etc\0/a/bc\0")


# ---- elf: which read fails, the file


def header(kind: int, phnum: int = 1, phoff: int = 64, machine: int = 62, phentsize: int = 56) -> bytes:
    ident = b"\x7fELF\2\1\1".ljust(16, b"\0")
    return ident + struct.pack("<HHIQQQIHHHHHH", kind, machine, 1, 0x1000, phoff, 0, 0, 64, phentsize, phnum, 0, 0, 0)


def segment(kind: int, offset: int, size: int) -> bytes:
    return struct.pack("<IIQQQQQQ", kind, 4, offset, 0, 0, size, size, 1)


def elf() -> None:
    linker = b"/lib64/ld-linux-x86-64.so.2\0"
    keep("elf", "static", b"\0", header(2), segment(1, 0, 0))
    keep("elf", "dynamic", b"\0", header(3), segment(3, 120, len(linker)), linker)
    keep("elf", "interpreter-unended", b"\0", header(3), segment(3, 120, 5), b"/lib6")
    keep("elf", "interpreter-cut", b"\0", header(3), segment(3, 120, 400), linker)
    keep("elf", "interpreter-far", b"\0", header(3), segment(3, (1 << 63) - 1, 28))
    keep("elf", "headers-far", b"\0", header(3, phoff=(1 << 64) - 8))
    keep("elf", "headers-many", b"\0", header(3, phnum=65535))
    keep(
        "elf", "second-chunk", b"\0", header(3, phnum=40), segment(4, 0, 0) * 39, segment(3, 2304, len(linker)), linker
    )
    keep("elf", "other-machine", b"\0", header(3, machine=40), segment(3, 120, 2), b"/\0")
    keep("elf", "read-fails", b"\x11", header(3), segment(3, 120, len(linker)), linker)
    keep("elf", "script", b"\0", b"#!/usr/bin/env python3\nprint()\n")
    keep("elf", "script-blanks", b"\0", b"#! \t/bin/sh  -e  x \t\n")
    keep("elf", "script-long", b"\0", b"#!/" + b"a" * 300)
    keep("elf", "script-long-argument", b"\0", b"#!/bin/sh " + b"a" * 300)
    keep("elf", "script-bare", b"\0", b"#!\n")


# ---- rpc: of each packet its kind, descriptors, length


def rpc() -> None:
    def packet(kind: MessageType, count: int, text: bytes = b"", how: int = 1, length: int | None = None) -> bytes:
        body = HEAD.pack(kind, len(text), 7, 0, 0) + text
        return bytes([how, count]) + struct.pack("<H", len(body) if length is None else length) + body

    keep("rpc", "setup-and-run", packet(MessageType.SETUP, 4), packet(MessageType.RUN, 16), packet(MessageType.FDS, 3))
    keep("rpc", "fetch", packet(MessageType.FETCH, 0, b"/work/a"), packet(MessageType.END, 0))
    keep("rpc", "reply", packet(MessageType.REPLY, 1), packet(MessageType.REPLY, 0), packet(MessageType.REPLY, 2))
    keep("rpc", "too-many-descriptors", packet(MessageType.RUN, 17), packet(MessageType.REPLY, 20))
    keep("rpc", "too-long", packet(MessageType.FETCH, 1, b"a" * 40, how=3, length=9000))
    keep("rpc", "longest", packet(MessageType.FETCH, 1, b"a", length=lib.SBX_MESSAGE_MAX))
    keep("rpc", "cut-header", packet(MessageType.FETCH, 2, how=0, length=12))
    keep("rpc", "wrong-length", packet(MessageType.FETCH, 1, b"abc", how=0, length=34))
    keep("rpc", "empty", packet(MessageType.NONE, 1, how=0, length=0))


# ---- walk: the tree, what happens during the walks, the walks

NAMES = {
    name: bytes([index]) for index, name in enumerate(["a", "b", "c", "sub", "secret", "inner", "a (deleted)", "x y"])
}
DATA, INNER, SCRATCH = b"\0", b"\1", b"\2"
CARELESS, CAREFUL, WHOLE, RACING, NOFOLLOW, CREATE, DESCRIPTOR = 0, 2, 4, 8, 16, 32, 64


def path(*names: str) -> bytes:
    return bytes([len(names) - 1]) + b"".join(NAMES[name] for name in names)


def directory(mount: bytes, *names: str) -> bytes:
    return mount + path(*names) + b"\0"


def plain_file(mount: bytes, *names: str) -> bytes:
    return mount + path(*names) + b"\1"


def link(mount: bytes, target: int, *names: str) -> bytes:
    return mount + path(*names) + b"\2" + bytes([target])


def step(guest: str, how: int = CARELESS, flags: int = 0, dirfd: bytes = b"") -> bytes:
    return bytes([how | bool(dirfd), flags]) + dirfd + guest.encode() + b"\0"


def walk(name: str, tree: Iterable[bytes], steps: Iterable[bytes], race: bytes = b"", enter: bytes = b"\0") -> None:
    tree = list(tree)
    rest = enter + b"".join(steps)
    length = next(size for size in range(10000) if (size + len(rest)) // 4 == size)
    keep("walk", name, bytes([len(tree)]), *tree, race.ljust(length, b"\0")[:length], rest)


def walks() -> None:
    tree = [
        directory(DATA, "a"), directory(DATA, "a", "b"), plain_file(DATA, "a", "b", "c"), directory(DATA, "sub"),
        plain_file(DATA, "secret"), plain_file(DATA, "sub", "secret"), plain_file(INNER, "a"), directory(INNER, "b"),
    ]  # fmt: skip
    walk("plain", tree, [step("/data/a/b/c"), step("/data/./a//b/"), step("/data/a/../sub", CAREFUL), step("/file")])
    walk("whole", tree, [step("/data/a/b/c", WHOLE), step("/data/inner/a", WHOLE, 3), step("/data/secret", WHOLE)])
    walk(
        "hidden",
        tree,
        [step("/data/secret"), step("/data/sub/secret/x"), step("/data/a/../secret"), step("/link/secret")],
    )
    walk("up", tree, [step("/data/a/../../../../data/inner/b/.."), step("/.."), step("/data/inner/../sub")])
    walk(
        "write",
        tree,
        [step("/data/a/b/c", 0, 2), step("/data/inner/a", 0, 2), step("/data/inner/a", 0, 3), step("/file", 0, 3)],
    )
    walk(
        "create",
        tree,
        [step("/data/inner/new", CREATE, 4), step("/data/new", CREATE, 4), step("/scratch/b", CREATE | WHOLE, 5)],
    )
    walk(
        "proc",
        tree,
        [
            step("/proc/self/cwd/a"),
            step("/proc/self/fd/3"),
            step("/proc/thread-self/root/data"),
            step("/proc/self/exe"),
        ],
    )
    links = [
        link(DATA, 3, "b"),
        link(DATA, 4, "c"),
        link(INNER, 7, "c"),
        link(INNER, 27, "sub"),
        link(SCRATCH, 25, "a"),
    ]
    walk(
        "links",
        [*tree, *links],
        [step("/data/b/a"), step("/data/c/a"), step("/data/inner/c"), step("/data/inner/sub"), step("/scratch/a")],
    )
    loops = [link(DATA, 0, "a"), link(DATA, 1, "c"), link(DATA, 18, "b"), link(INNER, 21, "b")]
    walk("loops", loops, [step("/data/a"), step("/data/c/x"), step("/data/a", NOFOLLOW), step("/data/inner/b")])
    inside = bytes([DATA[0]]) + path("a")
    walk(
        "relative",
        tree,
        [step("b/c", dirfd=inside), step("../sub", dirfd=inside), step("..", CAREFUL, 1, inside)],
        enter=b"\1" + inside,
    )
    outside = bytes([128]) + path("a")
    walk("foreign", tree, [step("a", dirfd=outside), step("..", dirfd=outside), step("sub", DESCRIPTOR, 0, outside)])
    swap = b"\1\0\0\1\0\2\1\1\0\0\0\3\0\1"  # a is renamed, then a link is made where it was
    walk(
        "races",
        tree,
        [step("/data/a/b/c", RACING), step("/data/inner/b/../a", RACING | CAREFUL), step("/data/a/b/../b/c", RACING)],
        swap,
    )
    walk("swapped", tree, [step("", RACING | DESCRIPTOR, 0, inside)] * 3, b"\1\1" * 8)


# ---- procfs: how, flags of the open, a name of which bytes below 32 are words


def procfs() -> None:
    names = {
        "self": b"\1", "own-fd": b"\3/\6/\x0f", "own-fdinfo": b"\3/\7/\x10", "own-maps": b"\3/\x14",
        "stranger": b"\4/\x15",
        "first": b"\5/\x17", "task-fd": b"\3/\x08/\3/\6/\x12", "task-task": b"\3/\x08/\3/\x08", "net": b"\3/\x09/\x1e",
        "sys": b"\x0a/\x0b/\x1b", "sys-random": b"\x0a/\x0b/\x1c/\x1d", "up": b"\3/\x18/\5/\x17", "memory": b"\3/\x16",
        "kcore": b"\x1a", "cwd": b"\3/\x0c", "memfd": b"\3/\6/23", "exe": b"\1/\x0e", "thread-self": b"\2/\6/\x11",
        "zero": b"01", "huge": b"99999999999",
    }  # fmt: skip
    for name, word in names.items():
        keep("procfs", name, b"\0\0", word)
    for flags in (2, 3, 4):  # the file of the host comes behind a number that was a memfd's, at each moment in turn
        keep("procfs", f"swap-in-{flags}", b"\x10", bytes([flags]), b"\0\3", names["memfd"])
        keep("procfs", f"swap-out-{flags}", b"\x10", bytes([flags]), b"\3\0", names["own-fd"])
    keep("procfs", "write-host-file", b"\0\3", names["own-fd"])
    keep("procfs", "write-memfd", b"\0\3", names["memfd"])
    keep("procfs", "task-write", b"\0\2", names["task-fd"])


# ---- socket: the kind of socket, then calls: of the sentry for the guest, or the guest's own; each with its message

STREAM, DATAGRAM, PACKET = b"\0", b"\1", b"\2"
SEND, NATIVE, RECEIVE = b"\x81", b"\1", b"\x80"  # and a look at what came out, but after NATIVE
UNPADDED, DELTA, TYPE, CREDENTIALS, OTHER_LEVEL, MANY = 1, 2, 4, 8, 16, 32


def entry(*fds: int, what: int = 0, kind: bytes = b"", delta: bytes = b"") -> bytes:
    flags = what | MANY | (TYPE if kind else 0) | (DELTA if delta else 0)
    return bytes([flags, len(fds)]) + kind + bytes(fd & 255 for fd in fds) + delta


def packet(*entries: bytes, parts: bytes = b"\5", how: int = 0, more: bytes = b"") -> bytes:
    return bytes([len(parts) << 5 | how]) + parts + bytes([len(entries)]) + b"".join(entries) + more


def sockets() -> None:
    plain = packet()
    keep("socket", "send", STREAM, SEND, b"\0", plain)
    keep("socket", "send-rights", STREAM, SEND, b"\0", packet(entry(0, 1, 2)), RECEIVE, b"\0", packet(entry(0, 0, 0)))
    keep("socket", "send-twice-rights", PACKET, SEND, b"\0", packet(entry(0), entry(1, what=UNPADDED)))
    keep("socket", "send-not-ours", STREAM, SEND, b"\0", packet(entry(0, 30)), SEND, b"\0", packet(entry(-1)))
    keep("socket", "send-cut-entry", DATAGRAM, SEND, b"\0", packet(entry(0), entry(1, delta=b"\4")))
    keep("socket", "send-short-entry", DATAGRAM, SEND, b"\0", packet(entry(0, delta=b"\xf0"), entry(20)))
    keep(
        "socket",
        "send-credentials",
        b"\x80",
        SEND,
        b"\0",
        packet(entry(what=CREDENTIALS)),
        RECEIVE,
        b"\0",
        packet(entry(0, 1)),
    )
    keep("socket", "send-other-level", STREAM, SEND, b"\0", packet(entry(0, what=OTHER_LEVEL), entry(7, kind=b"\3")))
    keep("socket", "send-many", PACKET, SEND, b"\x41", packet(entry(0)), plain, packet(entry(9)))
    keep("socket", "send-to", DATAGRAM, SEND, b"\2", plain, b"\x20\x10", SEND, b"\6", plain, b"\xd0\xca")
    keep(
        "socket",
        "send-large",
        STREAM,
        SEND,
        b"\0",
        packet(parts=b"\xc9\xce\xcf"),
        SEND,
        b"\0",
        packet(parts=b"\xcc\xcc"),
    )
    keep("socket", "send-parts", STREAM, SEND, b"\0", b"\1\xcd\0\0", SEND, b"\0", b"\1\xcc\0\0")
    keep("socket", "receive", STREAM, NATIVE, b"\x50\3", RECEIVE, b"\0", packet(entry(0, 0, 0, 0), parts=b"\x40"))
    keep("socket", "receive-no-room", STREAM, NATIVE, b"\x50\7", RECEIVE, b"\0", packet(entry(0), parts=b"\4"))
    keep("socket", "receive-full", b"\x40", NATIVE, b"\x50\7", RECEIVE, b"\0", packet(entry(*range(8)), parts=b"\x40"))
    keep(
        "socket",
        "receive-many",
        PACKET,
        (NATIVE + b"\x44\1") * 3,
        RECEIVE,
        b"\x61",
        packet(entry(0)),
        plain,
        plain,
        plain,
    )
    keep(
        "socket",
        "receive-truncated",
        DATAGRAM,
        NATIVE,
        b"\x3f\0",
        RECEIVE,
        b"\x08",
        packet(parts=b"\2"),
        struct.pack("<I", 0x20),
    )
    keep("socket", "receive-from", DATAGRAM, NATIVE, b"\x20\0", RECEIVE, b"\6", plain, b"\x40\x10")
    keep("socket", "no-socket", STREAM, SEND, b"\x10", plain, b"\0", SEND, b"\x10", plain, b"\7")


# ---- messages of a sentry: descriptors, mode, type, number, value, value2, text


def messages() -> None:
    def message(
        name: str, kind: MessageType, value: int = 0, value2: int = 0, text: bytes = b"", fds: int = 0, mode: int = 2
    ) -> None:
        keep("messages", name, bytes([fds, mode, kind]), struct.pack("<Qqq", 7, value, value2), text)

    ready = bytes(ffi.sizeof("struct sbx_ready"))
    usage = bytes(ffi.sizeof("struct sbx_usage"))
    message("ready", MessageType.READY, 0x1FE, text=ready)
    message("fault", MessageType.FAULT, 2, text=b"mount /data: No such file")
    message("started", MessageType.STARTED, 12, fds=1)
    message("exited", MessageType.EXITED, 256, 1, usage)
    message("killed", MessageType.EXITED, 9, 0, usage)
    message("failed", MessageType.FAILED, 2, 1)
    message("serve-file", MessageType.SERVE, lib.SBX_SERVE_FILE, 3)
    message("serve-proc", MessageType.SERVE, lib.SBX_SERVE_PROC, 12, b"12/status", fds=1)
    message("fetched", MessageType.FETCHED, 0, fds=1)
    message("fetched-error", MessageType.FETCHED, -2)
    message("drain", MessageType.DRAIN)
    message("drain-with-descriptor", MessageType.DRAIN, fds=1)
    message("not-a-sentrys", MessageType.SETUP, fds=4)
    message("too-many-descriptors", MessageType.STARTED, 12, fds=19)
    message("too-long", MessageType.FAULT, 1, text=b"x", fds=1, mode=6)
    keep("messages", "raw", b"\2\1", HEAD.pack(MessageType.DRAIN, 5, 0, 0, 0))
    keep("messages", "empty", b"\0\1")


# ---- records: what is tested, then bytes for it


def records() -> None:
    row = struct.pack("<IIQQIIiHBBQQII", lib.SBX_RECORD_MAGIC, 80, 1, 1, 5, 257, 2, 1, 2, 1, 900, 0, 2, 0)
    assert len(row) == ffi.sizeof("struct sbx_record")
    keep("records", "plain", b"\0", row, b"/work/a\0")
    keep("records", "no-path", b"\0", row, b"/work/aa")
    old = struct.pack("<IIQQIIiHBBQQ", lib.SBX_RECORD_MAGIC - 1, 64, 1, 1, 5, 257, 2, 1, 2, 1, 900, 0)
    keep("records", "old", b"\0", old, b"/work/a\0", row, b"/work/a\0")
    keep("records", "cut", b"\0", row[:40])
    keep("records", "well-formed", b"\1\2\5/work\3b c", bytes(14), b"\0", bytes(14))
    keep("records", "ring", b"\2\1\x40\0\0", bytes(12), b"\1\x40\0\1", bytes(12))
    keep("records", "ring-back", b"\2\1\x40\0\0", bytes(12), b"\0", b"\xff" * 20)
    keep(
        "records", "file", b"\3SBXH", struct.pack("<QI", 7, 2), b"{}SBXR", struct.pack("<QI", 7, 80), row, b"/work/a\0"
    )
    keep("records", "blocks", b"\4\0\1\1m\1\1\x48", row, b"/work/a\0\2\1\x10", bytes(16))
    keep("records", "damaged", b"\5\x05\0\xff\1\5/work", bytes(14))


# ---- names: mode, name and type or a message, then answers: kind, and what it is of


def names() -> None:
    keep("names", "asked", b"\0\0\0")
    keep("names", "answered", b"\0\0\0\2\1\0\x5d\xb8\xd8\x22\7\0\0\0")
    keep("names", "answered-loopback", b"\4\1\0\2\1\0\x7f\0\0\1\7\0\0\0")
    keep("names", "answered-alias", b"\0\0\0\2\2\2\3\7\0\x0a\0\0\5\7\0\0\0")
    keep("names", "answered-six", b"\0\0\1\2\1\1\x20\1\x0d\xb8", bytes(12), b"\7\0\0\0")
    keep("names", "answered-cut", b"\0\0\0\2\0\0\2\0\2\0\0\0\0")
    keep("names", "answered-more", b"\0\0\0\1\4abcd\0\x10\0garbage")
    keep("names", "closed", b"\0\2\0")
    keep("names", "hosts", b"\0\4\0")
    keep("names", "pointer", b"\x08\6\3")
    keep("names", "raw", b"\3\0\7\1\0\0\1\0\0\0\0\0\0\3one\4test\0\0\1\0\1")
    keep("names", "raw-option", b"\3\0\7\1\0\0\1\0\0\0\0\0\1\3one\4test\0\0\1\0\1\0\0\x29\x10\0\0\0\0\0\0\0")
    keep("names", "raw-update", b"\3\0\7\x29\0\0\1\0\0\0\0\0\0\3one\4test\0\0\1\0\1")


# ---- http: version, then pieces or frames of the guest and of the server


def http() -> None:
    good, answer = b"\0\2\4\6\5", b"\x0f\x08\5\x12"
    keep("http", "good", b"\0\5", good, b"\1\4", answer, b"\1")
    keep("http", "in-pieces", b"\0\5", good, b"\0\4", answer, b"\0")
    keep("http", "refused", b"\0\5\0\3\4\6\5\1\0\0")
    keep("http", "other-host", b"\0\5\0\2\4\7\5\1\0\0")
    keep("http", "two", b"\0\x0a", good, good, b"\1\x08", answer, answer, b"\1")
    keep("http", "hidden-in-a-body", b"\0\x0b\1\2\4\6\x08\5\0\3\4\6\5\1\4", answer, b"\1")
    keep("http", "two-lengths", b"\0\x09\1\2\4\6\x08\x09\5\x0e\x0d\1\4", answer, b"\1")
    keep("http", "upgrade", b"\0\x09\0\2\4\6\x0a\x0b\5\0\3\1\5\x10\x0a\x0b\5\x12\1")
    keep("http", "dots", b"\0\5\0\x13\4\6\5\1\0\0")
    keep("http", "any", b"\0\2\xcd?????\xca\0\0\1\0\0")
    keep("http", "two-good", b"\1\1\x18\1\x18")
    keep("http", "two-fields", b"\1\1\x1b\4\5\x09\1\x18")
    keep("http", "two-frames", b"\1\3\x18\x80\0\1\5hello\x83\0\1\4\0\0\0\1\2\x18\x87\0\0\x08\0\0\0\0\0\0\0\0")


if __name__ == "__main__":
    for write in (decode, plans, elf, rpc, walks, procfs, sockets, messages, records, names, http):
        write()
