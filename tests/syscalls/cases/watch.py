from __future__ import annotations

import os
import select
import struct

from probe import LIBC, Probe, child, write

IN_ALL = 0xFFF
EVENTS = {1: "ACCESS", 2: "MODIFY", 4: "ATTRIB", 8: "CLOSE_WRITE", 0x10: "CLOSE_NOWRITE", 0x20: "OPEN",
          0x40: "MOVED_FROM", 0x80: "MOVED_TO", 0x100: "CREATE", 0x200: "DELETE", 0x400: "DELETE_SELF",
          0x800: "MOVE_SELF", 0x8000: "IGNORED", 0x40000000: "ISDIR"}  # fmt: skip


def _events(fd: int) -> list[tuple[int, list[str], bytes]]:
    try:
        data = os.read(fd, 65536)
    except BlockingIOError:
        return []
    found, at = [], 0
    while at < len(data):
        watch, mask, _, length = struct.unpack_from("iIII", data, at)
        name = data[at + 16 : at + 16 + length].rstrip(b"\0")
        found.append((watch, [text for bit, text in EVENTS.items() if mask & bit], name))
        at += 16 + length
    return found


LAST = {"write": "CLOSE_WRITE", "chmod": "ATTRIB", "rename": "MOVED_TO", "mkdir": "CREATE", "link": "CREATE",
        "symlink": "CREATE", "move out": "MOVED_FROM", "unlink": "DELETE", "another process": "CLOSE_WRITE",
        "moved": "MOVE_SELF"}  # fmt: skip


def _until(fd: int, label: str) -> list[tuple[int, list[str], bytes]]:
    """The events up to the change's last one."""
    seen: list[tuple[int, list[str], bytes]] = []
    while not any(LAST[label] in kinds for _, kinds, _ in seen):
        select.select([fd], [], [])
        seen += _events(fd)
    return seen


def what_happens_is_told(p: Probe) -> None:
    os.mkdir("dir")
    write("dir/old")
    fd = p.raw("inotify_init1", os.O_NONBLOCK)
    p.raw("inotify_add_watch", fd, b"dir", 0x2 | 0x4 | 0x8 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 0x800)
    for label, change in (
        ("write", lambda: write("dir/new")),
        ("chmod", lambda: os.chmod("dir/new", 0o600)),
        ("rename", lambda: os.rename("dir/new", "dir/newer")),
        ("mkdir", lambda: os.mkdir("dir/sub")),
        ("link", lambda: os.link("dir/old", "dir/hard")),
        ("symlink", lambda: os.symlink("x", "dir/soft")),
        ("move out", lambda: os.rename("dir/newer", "out")),
        ("unlink", lambda: os.unlink("dir/old")),
        ("another process", lambda: child(lambda: write("dir/by-child"))),
    ):
        change()
        p.show(label, _until(fd, label))
    os.rename("dir", "moved")
    p.show("moved", _until(fd, "moved"))


def arguments(p: Probe) -> None:
    write("file")
    os.symlink("file", "link")
    fd = p.raw("inotify_init1", os.O_NONBLOCK)
    one = p.raw("inotify_add_watch", fd, b"file", IN_ALL)
    p.raw("inotify_add_watch", fd, b"link", 2, label="the same file gives the same watch")
    p.raw("inotify_add_watch", fd, b"link", 2 | 0x02000000, label="not following")
    p.raw("inotify_add_watch", fd, b"file", 0x01000000 | 1, label="only directories")
    p.raw("inotify_add_watch", fd, b"file", 0x10000000 | 1, label="only new ones")
    p.raw("inotify_add_watch", fd, b"file", 0)
    p.raw("inotify_add_watch", fd, b"missing", 1)
    p.raw("inotify_add_watch", fd, b"", 1)
    p.raw("inotify_add_watch", fd, 0, 1)
    p.raw("inotify_add_watch", 99, b"file", 1)
    p.raw("inotify_add_watch", os.open("file", os.O_RDONLY), b"file", 1)
    os.chmod("file", 0)
    p.raw("inotify_add_watch", fd, b"file", 1, label="unreadable")
    p.do("remove", lambda: LIBC.inotify_rm_watch(fd, one))
    os.unlink("file")
