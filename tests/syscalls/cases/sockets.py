from __future__ import annotations

import array
import errno
import os
import socket
import struct
import threading

from probe import Probe, child, write


def stream_by_path(p: Probe) -> None:
    os.mkdir("dir")
    server = socket.socket(socket.AF_UNIX)
    p.do("bind", server.bind, "dir/sock")
    p.do("not listening", socket.socket(socket.AF_UNIX).connect, "dir/sock")
    p.do("listen", server.listen, 5)
    p.show("name", server.getsockname())

    begin, go = os.pipe()

    def client() -> None:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect("dir/sock")
            os.read(begin, 1)
            sock.sendall(b"hello")
            answer = sock.recv(100)
            p.show("peer", sock.getpeername())
            p.show("answer", answer)

    import sys

    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        client()
        sys.stdout.flush()
        os._exit(0)
    connection, name = server.accept()
    p.show("accepted from", name)
    sys.stdout.flush()
    os.write(go, b"1")
    p.show("request", connection.recv(100))
    owner = struct.unpack("iII", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    p.show("peer", (owner[0] == pid, owner[1] == os.getuid(), owner[2] == os.getgid()))
    connection.sendall(b"bye")
    os.waitpid(pid, 0)
    p.do("stat", os.stat, "dir/sock")
    os.rename("dir", "moved")
    p.do("renamed", socket.socket(socket.AF_UNIX).connect, "moved/sock")
    os.chdir("moved")
    p.do("relative", socket.socket(socket.AF_UNIX).connect, "sock")
    os.chmod("sock", 0)
    p.do("without rights", socket.socket(socket.AF_UNIX).connect, "sock")
    p.do("by proc", socket.socket(socket.AF_UNIX).connect, "/proc/self/cwd/sock")


def datagrams_by_path(p: Probe) -> None:
    one, two = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    p.do("bind", one.bind, "one")
    p.do("bind", two.bind, "two")
    p.do("sendto", one.sendto, b"hello", "two")
    p.do("recvfrom", two.recvfrom, 100)
    p.do("answer", two.sendto, b"back", "one")
    p.do("recvmsg", one.recvmsg, 100)
    p.do("sendmsg", one.sendmsg, [b"a", b"b"], [], 0, "two")
    p.do("recv", two.recv, 100)
    p.do("missing", one.sendto, b"x", "missing")
    p.do("connect", one.connect, "two")
    p.do("send", one.send, b"connected")
    p.do("recv", two.recv, 100)
    p.do("name", two.getsockname)
    p.do("peer", one.getpeername)
    p.do("wrong kind", socket.socket(socket.AF_UNIX).connect, "one")


def names(p: Probe) -> None:
    sock = socket.socket(socket.AF_UNIX)
    p.show("unnamed", sock.getsockname())
    p.do("too long", sock.bind, "n" * 108)
    p.do("107", sock.bind, "n" * 107)
    p.do("bind twice", sock.bind, "again")
    other = socket.socket(socket.AF_UNIX)
    p.do("taken", other.bind, "n" * 107)
    p.do("missing directory", other.bind, "missing/sock")
    write("file")
    p.do("below a file", other.bind, "file/sock")
    os.symlink("target", "link")
    p.do("over a link", other.bind, "link")
    p.do("empty means autobind or nothing", lambda: socket.socket(socket.AF_UNIX).connect(""))
    os.umask(0o077)
    p.do("umask", other.bind, "masked")
    p.do("stat", os.stat, "masked")


def abstract_names(p: Probe) -> None:
    server = socket.socket(socket.AF_UNIX)
    p.do("bind", server.bind, _MINE)
    p.do("listen", server.listen)
    client = socket.socket(socket.AF_UNIX)
    p.do("connect", client.connect, _MINE)
    p.do("accept", lambda: server.accept()[1])
    p.do("missing", socket.socket(socket.AF_UNIX).connect, _MINE + b"-missing")
    p.do("name", server.getsockname)
    p.do("taken", socket.socket(socket.AF_UNIX).bind, _MINE)
    p.do("another type", socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).bind, _MINE)
    server.close()
    p.do("free again", socket.socket(socket.AF_UNIX).bind, _MINE)
    for label, name in ABSTRACT.items():
        with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
            p.do(f"{label}: bind", server.bind, name)
            p.show(f"{label}: name", server.getsockname())
            server.listen()
            p.do(f"{label}: connect", client.connect, name)
            p.show(f"{label}: peer", client.getpeername())
            p.do(f"{label}: one zero more", socket.socket(socket.AF_UNIX).connect, name + b"\0")


_MINE = f"\0probe-{os.getuid()}".encode()  # natively they are everybody's: the suite runs as two users at the same time
ABSTRACT = {
    "short": _MINE, "with a zero": _MINE + b"\0", "binary": _MINE + b"\xff\0\1/", "all of sun_path": _MINE.ljust(108, b"\0"),
    "long": _MINE.ljust(99, b"n"), "longer": _MINE.ljust(100, b"n"), "longest": _MINE.ljust(108, b"n"),
}  # fmt: skip


def abstract_datagrams(p: Probe) -> None:
    with _datagram(_MINE) as one, _datagram(_MINE.ljust(108, b"n")) as two, _datagram() as three:
        p.do("there", two.sendto, b"x", _MINE)
        p.show("from", one.recvfrom(9))
        p.do("back", one.sendto, b"y", _MINE.ljust(108, b"n"))
        p.show("from", two.recvmsg(9))
        p.do("without a name", three.sendto, b"z", _MINE)
        p.show("from", one.recvfrom(9))
        p.do("connect", three.connect, _MINE)
        p.do("peer", three.getpeername)
        p.do("nobody", three.sendto, b"z", _MINE + b"-nobody")
        p.do("of another type", socket.socket(socket.AF_UNIX).connect, _MINE)


def _datagram(*name: str | bytes) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    if name:
        made.bind(*name)
    return made


def names_of_the_kernels_choice(p: Probe) -> None:
    """By a bind without a name, and before who wants credentials connects or sends: five hexadecimal digits, and others reach it there."""
    with _datagram() as bound, _datagram() as sender, _datagram() as connects, _datagram(_MINE) as one:
        before = bound.getsockname()
        p.do("bind", bound.bind, "")
        name = bound.getsockname()
        p.show("name", (before, name[:1], len(name), all(digit in b"0123456789abcdef" for digit in name[1:])))
        p.do("again", bound.bind, "")
        p.show("the same", bound.getsockname() == name)
        p.do("another", bound.bind, _MINE + b"-two")
        p.do("to it", one.sendto, b"x", name)
        p.show("from", bound.recvfrom(9))
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        connects.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        p.do("sends", sender.sendto, b"y", _MINE)
        p.do("connects", connects.connect, _MINE)
        for made in (sender, connects):
            p.show("has one", (len(made.getsockname()), made.getsockname() != name))
        came = one.recvfrom(9)[1]
        p.show("from", came == sender.getsockname())
        p.do("back", one.sendto, b"z", came)
        p.show("got", sender.recv(9))


def descriptors_are_passed(p: Probe) -> None:
    write("file", b"0123456789")
    one, two = socket.socketpair()
    fd, folder = os.open("file", os.O_RDONLY), os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    rights = array.array("i", [fd, folder])

    def receiver() -> None:
        one.close()
        data, ancillary, flags, _ = two.recvmsg(100, socket.CMSG_SPACE(8))
        got = array.array("i", ancillary[0][2])
        p.show("got", (data, len(got), flags))
        p.show("read", os.read(got[0], 4))
        p.show("openat", os.read(os.open("file", os.O_RDONLY, dir_fd=got[1]), 3))
        p.do("fstat", os.fstat, got[0])

    p.do("send", one.sendmsg, [b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
    p.show("status", child(receiver))
    p.show("shared position", os.read(fd, 3))
    p.do("no room", one.sendmsg, [b"y"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
    data, ancillary, flags, _ = two.recvmsg(10)
    p.show("truncated", (data, ancillary, bool(flags & socket.MSG_CTRUNC)))
    p.do("bad descriptor", one.sendmsg, [b"z"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [99]))])
    one.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    two.sendmsg([b"c"])
    data, ancillary, _, _ = one.recvmsg(10, 100)
    p.show("credentials", [(level, kind) for level, kind, _ in ancillary])
    p.show("own ids", struct.unpack("iII", ancillary[0][2])[1:] == (os.getuid(), os.getgid()))


def socket_pairs(p: Probe) -> None:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
        one, two = socket.socketpair(socket.AF_UNIX, kind)
        one.send(b"abc")
        one.send(b"def")
        p.show(f"{kind}", two.recv(100))
        p.do("vector", one.sendmsg, [b"1", b"2", b"3"])
        p.do("shutdown", one.shutdown, socket.SHUT_WR)
        p.show("rest", [two.recv(100) for _ in range(2)])
    one, two = socket.socketpair()
    one.setblocking(False)
    p.do("nothing yet", one.recv, 10)
    p.do("nothing yet", one.recvmsg, 10)
    sent = 0
    try:
        while True:
            sent += one.send(b"x" * 4096)
    except BlockingIOError as error:
        p.show("full", errno.errorcode[error.errno])
    p.show("received", len(two.recv(1 << 20, socket.MSG_DONTWAIT)) > 0)


def messages_wait(p: Probe) -> None:
    """recvmsg and accept in one thread hold up no other."""
    one, two = socket.socketpair()
    server = socket.socket(socket.AF_UNIX)
    server.bind("sock")
    server.listen()
    got: list[object] = []
    threads = [
        threading.Thread(target=lambda: got.append(two.recvmsg(10)[0])),
        threading.Thread(target=lambda: got.append(server.accept()[1])),
    ]
    for thread in threads:
        thread.start()
    for number in range(20):
        write(f"f{number}")
    child(lambda: p.do("a child works", os.stat, "f1"))
    one.send(b"now")
    threads[0].join()
    client = socket.socket(socket.AF_UNIX)
    client.connect("sock")
    threads[1].join()
    p.show("got", got)


def waiting_messages_are_interrupted(p: Probe) -> None:
    import signal

    class Alarm(Exception):
        pass

    def ring(*_: object) -> None:
        raise Alarm

    one, two = socket.socketpair()
    signal.signal(signal.SIGALRM, ring)
    for label, function in (("recvmsg", lambda: two.recvmsg(10)), ("recvfrom", lambda: two.recvfrom(10))):
        signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
        try:
            function()
        except Alarm:
            signal.setitimer(signal.ITIMER_REAL, 0)
            p.show(label, "interrupted")
    two.settimeout(0.05)
    p.do("timeout", lambda: _timeout(two))
    one.close()
    p.show("end", two.recvmsg(10)[0])


def who_is_there(p: Probe) -> None:
    """SO_PEERCRED of both ends, by path and abstract; of a pair it is who made it; of datagrams nobody."""
    for number, address in enumerate(("listener", "\0listener")):
        server = socket.socket(socket.AF_UNIX, (socket.SOCK_STREAM, socket.SOCK_SEQPACKET)[number])
        try:
            server.bind(address)
        except PermissionError:
            continue
        server.listen()
        pid = os.fork()
        if pid == 0:
            with socket.socket(socket.AF_UNIX, server.type) as sock:
                sock.connect(address)
                sock.send(bytes([_peer(sock)[0] == os.getppid()]))
                sock.recv(1)
            os._exit(0)
        with server.accept()[0] as peer:
            p.show("peer", (_peer(peer)[0] == pid, _peer(peer)[1:] == (os.getuid(), os.getgid())))
            p.show("server", peer.recv(1))
        os.waitpid(pid, 0)
    one, two = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    p.show("pair", (_peer(one)[0] == os.getpid(), _peer(two)[0] == os.getpid()))
    p.show("nobody", _peer(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))[0])
    p.show("short", one.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 3) == struct.pack("i", os.getpid())[:3])
    p.show("others", (one.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE), one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)))
    p.do("no option", one.getsockopt, socket.SOL_SOCKET, 200)


def who_has_sent(p: Probe) -> None:
    """SCM_CREDENTIALS: of a process that says nothing, that tells the truth, and that lies."""
    for kind in (socket.SOCK_SEQPACKET, socket.SOCK_DGRAM):
        here, there = socket.socketpair(socket.AF_UNIX, kind)
        here.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        pid = os.fork()
        if pid == 0:
            mine = (os.getpid(), os.getuid(), os.getgid())
            for who in (None, mine, (os.getppid(), *mine[1:]), (1, *mine[1:]), (mine[0], mine[1] + 1, mine[2])):
                data = [] if who is None else [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, struct.pack("iII", *who))]
                try:
                    there.sendmsg([b"x"], data)
                except OSError as error:
                    there.send(errno.errorcode[error.errno].encode())
            there.sendmsg([b"y"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [there.fileno()]))])
            os._exit(0)
        os.waitpid(pid, 0)
        there.close()
        for _ in range(6):
            text, control, _, _ = here.recvmsg(99, 200)
            told = [struct.unpack("iII", data[:12]) for _, kind, data in control if kind == socket.SCM_CREDENTIALS]
            p.show("sent", (text, [(who[0] == pid, who[1:] == (os.getuid(), os.getgid())) for who in told]))


def _peer(sock: socket.socket) -> tuple[int, int, int]:
    pid, user, group = struct.unpack("iII", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return pid, user, group


def _timeout(sock: socket.socket) -> str:
    try:
        sock.recvmsg(10)
    except socket.timeout:
        return "timed out"
    return "?"
