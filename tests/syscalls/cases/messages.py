from __future__ import annotations

import array
import ctypes
import errno
import mmap
import os
import signal
import socket
import struct
import threading
import time

from probe import LIBC, Probe

SENDMSG, RECVMSG, RECVMMSG, SENDMMSG = 46, 47, 299, 307
BAD = 8  # no page of ours is there
WHOLE = 9 << 20


class Part(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_uint64)]


class Head(ctypes.Structure):
    _fields_ = [("name", ctypes.c_void_p), ("name_length", ctypes.c_int), ("parts", ctypes.c_void_p), ("count", ctypes.c_uint64),
                ("control", ctypes.c_void_p), ("control_length", ctypes.c_uint64), ("flags", ctypes.c_int)]  # fmt: skip


class Several(ctypes.Structure):
    _fields_ = [("head", Head), ("length", ctypes.c_uint)]


def _call(number: int, sock: socket.socket, *args: object) -> str:
    ctypes.set_errno(0)
    value = int(LIBC.syscall(ctypes.c_long(number), ctypes.c_long(sock.fileno()), *args))
    return errno.errorcode[ctypes.get_errno()] if value < 0 else str(value)


def _head(*lengths: int, **fields: int) -> Head:
    """A message whose parts are all at the start of one buffer."""
    buffer = ctypes.create_string_buffer(1 << 20)
    parts = (Part * max(len(lengths), 1))(*[Part(ctypes.addressof(buffer), length) for length in lengths])
    made = Head(parts=ctypes.addressof(parts), count=len(lengths), **fields)
    made.kept = (buffer, parts)  # type: ignore[attr-defined]
    return made


def _send(sock: socket.socket, head: Head, flags: int = 0) -> str:
    return _call(SENDMSG, sock, ctypes.byref(head), ctypes.c_long(flags))


def _read_all(sock: socket.socket, size: int) -> bytes:
    got = b""
    while len(got) < size:
        more = sock.recv(size - len(got))
        if not more:
            break
        got += more
    return got


def long_messages_of_streams(p: Probe) -> None:
    """More than fits anywhere, by one call: all of it goes, in order."""
    data = os.urandom(1 << 20) * (WHOLE >> 20)
    for flags in (0, socket.MSG_EOR):
        ours, theirs = socket.socketpair()
        got = [b""]
        reader = threading.Thread(target=lambda: got.__setitem__(0, _read_all(theirs, WHOLE)))
        reader.start()
        p.show("sent", ours.sendmsg([data[:100], data[100:5 << 20], b"", data[5 << 20 :]], [], flags))
        reader.join()
        p.show("as it was", got[0] == data)
    ours.setblocking(False)
    sent = ours.sendmsg([data])
    p.show("as much as has room", 65536 < sent < WHOLE)
    p.show("then", p.do("none", ours.sendmsg, [data]))
    p.show("as it was", _read_all(theirs, sent) == data[:sent])


def descriptors_go_with_the_first_byte(p: Probe) -> None:
    ours, theirs = socket.socketpair()
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0]))]
    sender = threading.Thread(target=lambda: p.show("sent", ours.sendmsg([bytes(WHOLE)], rights)))
    sender.start()
    data, control, _, _ = theirs.recvmsg(10, 100)
    p.show("first", (data, [(level, kind, len(text)) for level, kind, text in control]))
    rest = b""
    while len(rest) < WHOLE - 10:
        data, control, _, _ = theirs.recvmsg(1 << 20, 100)
        rest += data
        if control:
            p.show("another", control)
    sender.join()


def long_messages_that_are_cut_short(p: Probe) -> None:
    """A signal, a time, the end of the other side: what has gone by then is told."""
    for kind in ("signal", "time"):
        ours, theirs = socket.socketpair()
        if kind == "time":
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 0, 100000))
        else:
            signal.signal(signal.SIGALRM, lambda *_: None)
            signal.setitimer(signal.ITIMER_REAL, 0.2)
        sent = int(_send(ours, _head(*[1 << 20] * 9)))
        p.show(f"{kind}: a part", 65536 < sent < WHOLE)
        p.show("as told", len(_read_all(theirs, sent)) == sent)
        theirs.setblocking(False)
        p.do("no more", theirs.recv, 1)
    ours, theirs = socket.socketpair()
    closer = threading.Timer(0.2, theirs.close)
    closer.start()
    sent = _send(ours, _head(*[1 << 20] * 9), socket.MSG_NOSIGNAL)
    p.show("closed", sent.isdigit() and 65536 < int(sent) < WHOLE)
    closer.join()
    heard: list[int] = []
    signal.signal(signal.SIGPIPE, lambda number, _: heard.append(number))
    p.show("again", _send(ours, _head(1)))
    p.show("signals", heard)


def long_datagrams(p: Probe) -> None:
    for kind in (socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
        ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
        for lengths in ((100_000,), (1 << 20,) * 2, (1 << 20,) * 8, (1 << 20,) * 9):
            sent = _send(ours, _head(*lengths))
            p.show(f"{kind} {sum(lengths)}", sent)
            if sent.isdigit():
                p.show("as it was", len(theirs.recvmsg(1 << 20)[0]))
        del theirs
        p.show("nobody is there", _send(ours, _head(100_000), socket.MSG_NOSIGNAL))
        p.show("nowhere", _send(socket.socket(socket.AF_UNIX, kind), _head(100_000)))
    held, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    many = 0
    held.setblocking(False)
    while _send(held, _head(60_000)) == "60000":
        many += 1
    held.setblocking(True)
    sent_last: list[str] = []
    sender = threading.Thread(target=lambda: sent_last.append(_send(held, _head(60_000))))
    sender.start()
    p.show("whole", [len(theirs.recvmsg(1 << 20)[0]) for _ in range(many + 1)] == [60_000] * (many + 1))
    sender.join()
    p.show("sent after a wait", sent_last)


def much_room(p: Probe) -> None:
    """Rooms that are larger than what comes, while it has not come."""
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
        ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
        sender = threading.Timer(0.1, lambda: ours.sendmsg([b"x" * 100_000], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0]))]))
        sender.start()
        data, control, flags, _ = theirs.recvmsg(2 << 20, 100, socket.MSG_CMSG_CLOEXEC)
        p.show("waited", (data == b"x" * len(data), len(data) >= 65536, len(control), flags))
        sender.join()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 50000))
        while len(data) < 100_000:
            data += theirs.recvmsg(2 << 20)[0]
        p.do("time", theirs.recvmsg, 2 << 20)
        p.do("at once", theirs.recvmsg, 2 << 20, 0, socket.MSG_DONTWAIT)
        ours.sendmsg([b"seen"])
        p.do("seen", theirs.recvmsg, 2 << 20, 0, socket.MSG_PEEK)
        p.do("and read", theirs.recvmsg, 2 << 20)
    ours, theirs = socket.socketpair()
    sender = threading.Thread(target=lambda: [ours.sendall(b"y" * 30_000) for _ in range(10)])
    sender.start()
    p.show("all", len(theirs.recvmsg(300_000, 0, socket.MSG_WAITALL)[0]))
    sender.join()
    closer = threading.Timer(0.1, ours.close)
    closer.start()
    p.do("end", theirs.recvmsg, 2 << 20)
    closer.join()


def heads_that_are_odd(p: Probe) -> None:
    one, two = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    two.bind("two")
    name = ctypes.create_string_buffer(struct.pack("H", socket.AF_UNIX) + b"two", 200)
    there = {"name": ctypes.addressof(name), "name_length": 110}
    for length in (-1, 0, 2, 110, 111, 128, 129, 1 << 30):
        p.show(f"name of {length}", _send(one, _head(1, name=ctypes.addressof(name), name_length=length)))
        p.show(f"no name of {length}", _send(two, _head(1, name_length=length)))
        p.show(f"name nowhere of {length}", _send(one, _head(1, name=BAD, name_length=length)))
    for lengths in ((-1,), (1 << 62,), (1 << 62, 1 << 62), (1 << 62,) * 5, (1, -5), ((1 << 63) - 1, 1, 1)):
        p.show(f"parts of {lengths}", _send(one, _head(*lengths, **there)))
    p.show("many parts", _send(one, _head(*[1] * 1024, **there)))
    p.show("too many", _send(one, _head(*[1] * 1025, **there)))
    p.show("too many, name nowhere", _send(one, _head(*[1] * 1025, name=BAD, name_length=16)))
    p.show("too many, no name so long", _send(one, _head(*[1] * 1025, name=ctypes.addressof(name), name_length=-1)))
    for length in (1, 15, 16, 16384, 16385, 100_000, 131_073, 1 << 31, 1 << 40):
        p.show(f"control nowhere of {length}", _send(one, _head(1, **there, control=BAD, control_length=length)))
        p.show(f"no control of {length}", _send(one, _head(1, **there, control_length=length)))
    away = {"name": ctypes.addressof(ctypes.create_string_buffer(b"\x01\0away", 20)), "name_length": 6}
    p.show("control nowhere, name of nobody", _send(one, _head(1, **away, control=BAD, control_length=16)))
    while True:
        try:
            two.recv(10000, socket.MSG_DONTWAIT)
        except BlockingIOError:
            break


def rooms_that_are_odd(p: Probe) -> None:
    one, two = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    for length in (-1, 0, 128, 129, 1 << 30):
        one.send(b"x")
        name = ctypes.create_string_buffer(200)
        head = _head(10, name=ctypes.addressof(name), name_length=length)
        p.show(f"name of {length}", (_call(RECVMSG, two, ctypes.byref(head), ctypes.c_long(socket.MSG_DONTWAIT)), head.name_length))
        p.show(f"no name of {length}", _call(RECVMSG, two, ctypes.byref(_head(10, name_length=length)), ctypes.c_long(socket.MSG_DONTWAIT)))
    for lengths in ((-1,), (100, 1 << 62, 1 << 62), (100, -5)):
        one.send(b"x")
        p.show(f"parts of {lengths}", _call(RECVMSG, two, ctypes.byref(_head(*lengths)), ctypes.c_long(socket.MSG_DONTWAIT)))
    p.show("too many", _call(RECVMSG, two, ctypes.byref(_head(*[1] * 1025)), ctypes.c_long(socket.MSG_DONTWAIT)))
    p.show("too many, name too short", _call(RECVMSG, two, ctypes.byref(_head(*[1] * 1025, name=BAD, name_length=-1)), ctypes.c_long(socket.MSG_DONTWAIT)))


def _several(sock: socket.socket, count: int, limit: object, flags: int = 0) -> str:
    kept = [_head(10) for _ in range(count)]
    heads = (Several * count)(*[Several(head) for head in kept])
    return _call(RECVMMSG, sock, heads, ctypes.c_long(count), ctypes.c_long(flags), limit)


def nothing_behind_a_part(p: Probe) -> None:
    """A stream that has taken a part of one message, since a signal came, gets no other behind it."""
    ours, theirs = socket.socketpair()
    made = [_head(900_000) for _ in range(4)]
    heads = (Several * 4)(*[Several(head) for head in made])
    reader = threading.Thread(target=lambda: all(time.sleep(0.001) or each for each in iter(lambda: theirs.recv(65536), b"")))
    reader.start()
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.003, 0.003)
    holes = 0
    for _ in range(30):
        sent = _call(SENDMMSG, ours, heads, ctypes.c_long(4), ctypes.c_long(0))
        holes += any(each.length < 900_000 for each in heads[: int(sent) - 1]) if sent.isdigit() else 0
    signal.setitimer(signal.ITIMER_REAL, 0)
    ours.close()
    reader.join()
    p.show("holes", holes)


def several_with_a_time(p: Probe) -> None:
    """The time is looked at after each message."""
    one, two = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)

    def timed(label: str, seconds: int, nanoseconds: int, count: int = 3, flags: int = 0) -> None:
        room = (ctypes.c_int64 * 2)(seconds, nanoseconds)
        did = _several(two, count, room, flags)
        left = room[0] + room[1] / 1e9
        p.show(label, (did, 0 <= room[1] < 10**9 and room[0] >= 0, left == 0, left == seconds + nanoseconds / 1e9, left < seconds + 1))

    def sends(count: int, pause: float = 0.0) -> threading.Thread:
        def send() -> None:
            for _ in range(count):
                time.sleep(pause)
                one.send(b"x")
        made = threading.Thread(target=send)
        made.start()
        return made

    sends(3).join()
    timed("enough time", 10, 5)
    sends(3).join()
    timed("none", 0, 0)
    timed("none", 0, 0)
    timed("none", 0, 0)
    sends(2).join()
    timed("too little", 0, 1)
    timed("again", 1 << 62, 0, count=1)
    sender = sends(8, 0.05)
    room = (ctypes.c_int64 * 2)(0, 120_000_000)
    p.show("it ends while it waits", 0 < int(_several(two, 8, room)) < 8 and tuple(room) == (0, 0))
    sender.join()
    _several(two, 8, None, socket.MSG_DONTWAIT)
    timed("nothing there", 5, 0, flags=socket.MSG_DONTWAIT)
    for seconds, nanoseconds in ((-1, 0), (0, -1), (0, 10**9), (1, 10**10)):
        timed(f"{seconds} {nanoseconds}", seconds, nanoseconds, flags=socket.MSG_DONTWAIT)
    sends(1).join()
    p.show("time nowhere", _several(two, 1, ctypes.c_void_p(BAD)))
    p.show("still there", _several(two, 1, None))
    with open("file", "w") as file:
        p.show("no socket, a bad time", _several(file, 1, (ctypes.c_int64 * 2)(0, -1)))  # type: ignore[arg-type]
        p.show("no socket, time nowhere", _several(file, 1, ctypes.c_void_p(BAD)))  # type: ignore[arg-type]
        p.show("no socket", _several(file, 1, None))  # type: ignore[arg-type]
    LIBC.mmap.restype = ctypes.c_void_p
    at = LIBC.mmap(None, ctypes.c_size_t(4096), mmap.PROT_READ, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, ctypes.c_long(0))
    sends(1).join()
    p.show("a time that cannot be written", _several(two, 1, ctypes.c_void_p(at)))
