"""Descriptors passed over sockets: from outside, from a neighbour, with more rights than the receiver has; and descriptors
that are passed to make the sentry leak its own."""

from __future__ import annotations

import array
import os
import socket

import pytest

from tests.escape.attack import LOST, box, build, every_wall, open_files, ordinary, sentry_of
from tests.escape.conftest import Host

RECEIVE = r"""
/* takes a descriptor of a directory and of a file from standard input, and looks for a way from them to the host */
static int receive(int *fds) {
    char byte, space[CMSG_SPACE(2 * sizeof(int))];
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
    if (recvmsg(0, &message, 0) != 1) return -1;
    memcpy(fds, CMSG_DATA(CMSG_FIRSTHDR(&message)), 2 * sizeof(int));
    return 0;
}
int main(int argc, char **argv) {
    int fds[2], won = 0;
    char text[64] = "", path[64];
    struct stat status;
    if (receive(fds)) return unfit("recvmsg");
    char *names[] = {"file", "../secret/file", "./file", "../../.."};
    for (int i = 0; i < 4; i++) {
        int fd = openat(fds[0], names[i], O_RDONLY);
        if (fd >= 0 && read(fd, text, sizeof text - 1) > 0 && strstr(text, "secret")) won = 1;
        won |= !fstatat(fds[0], names[i], &status, 0);
        snprintf(path, sizeof path, "/proc/self/fd/%d/%s", fds[0], names[i]);
        won |= !stat(path, &status);
    }
    won |= !fchdir(fds[0]) && !stat("file", &status);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fds[1]);
    int fd = open(path, O_RDWR);
    won |= fd >= 0 && write(fd, "stolen", 6) == 6;
    won |= !fchmod(fds[1], 0600) || !CALL(SYS_fsetxattr, fds[1], "user.a", "b", 1, 0) || !unlinkat(fds[0], "file", 0);
    won |= !linkat(fds[0], "file", AT_FDCWD, "/tmp/file", 0) || !linkat(fds[1], "", AT_FDCWD, "/tmp/file2", AT_EMPTY_PATH);
    return won ? WON : LOST;
}
"""
LEAK = r"""
/* messages with as many descriptors as can be, to receivers with little room, and closed sockets full of them */
int main(int argc, char **argv) {
    int ends[2], fds[253];
    char byte = 0, big[CMSG_SPACE(sizeof fds)], small[CMSG_SPACE(sizeof(int))];
    for (int i = 0; i < 253; i++) fds[i] = 1;
    for (int i = 0; i < 200; i++) {
        if (socketpair(AF_UNIX, i % 2 ? SOCK_SEQPACKET : SOCK_STREAM, 0, ends)) return unfit("socketpair");
        struct iovec part = {&byte, 1};
        struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = big, .msg_controllen = sizeof big};
        struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
        *rights = (struct cmsghdr){CMSG_LEN(sizeof fds), SOL_SOCKET, SCM_RIGHTS};
        memcpy(CMSG_DATA(rights), fds, sizeof fds);
        if (sendmsg(ends[0], &message, MSG_DONTWAIT) != 1) return unfit("sendmsg");
        message.msg_control = small;
        message.msg_controllen = i % 3 ? sizeof small : 0;
        if (i % 5) recvmsg(ends[1], &message, MSG_DONTWAIT | (i % 7 ? 0 : MSG_PEEK));
        rights->cmsg_len = i % 2 ? 17 : (size_t)-1; /* lengths that are none */
        message.msg_control = big; message.msg_controllen = sizeof big;
        sendmsg(ends[0], &message, MSG_DONTWAIT);
        close(ends[0]); close(ends[1]);
        for (int fd = 3; fd < 300; fd++) close(fd);
    }
    return LOST;
}
"""


CUT = r"""
/* reads messages whose descriptors have no place; standard input is the socket */
int main(int argc, char **argv) {
    char byte, space[256];
    struct rlimit none = {3, 3};
    if (setrlimit(RLIMIT_NOFILE, &none)) return unfit("setrlimit");
    for (int i = 0; i < atoi(argv[1]); i++) {
        struct iovec part = {&byte, 1};
        struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
        if (recvmsg(0, &message, 0) != 1) return unfit("recvmsg");
        if (!(message.msg_flags & MSG_CTRUNC)) return WON;
    }
    return LOST;
}
"""
SO_PASSPIDFD = 76


@ordinary
@every_wall
def test_a_descriptor_from_outside_is_no_door(host: Host, walls: str) -> None:
    """A directory of the host is nothing to walk from, a file is what it was given for."""
    before = host.content
    ours, theirs = socket.socketpair()
    folder = os.open(host.secret, os.O_RDONLY | os.O_DIRECTORY)
    with ours, theirs, open(host.secret / "file", "rb") as file, box(walls, build(RECEIVE)) as made:
        process = made.popen(["/attack/attack"], stdin=theirs.fileno(), stdout=-1)
        rights = array.array("i", [folder, file.fileno()])
        ours.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        out, _ = process.communicate()
        assert process.returncode == LOST, out
    os.close(folder)
    assert host.content == before and (host.secret / "file").exists()


def test_natively_it_is_one(host: Host) -> None:
    import subprocess

    ours, theirs = socket.socketpair()
    folder = os.open(host.secret, os.O_RDONLY | os.O_DIRECTORY)
    with ours, theirs, open(host.secret / "file", "rb") as file:
        process = subprocess.Popen([build(RECEIVE)], stdin=theirs)
        rights = array.array("i", [folder, file.fileno()])
        ours.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        assert process.wait(30) == 42
    os.close(folder)


@ordinary
@every_wall
def test_the_sentry_keeps_none(walls: str) -> None:
    with box(walls, build(LEAK)) as made:
        assert made.run(["/attack/attack"], timeout=60).returncode == LOST
        before = open_files(sentry_of(made))
        assert made.run(["/attack/attack"], timeout=60).returncode == LOST
        assert open_files(sentry_of(made)) <= before + 8


@ordinary
@every_wall
def test_the_sentry_keeps_none_behind_a_cut(walls: str) -> None:
    """A descriptor of the sender's process, behind others that found no place."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, open("/dev/null") as file, box(walls, build(CUT)) as made:
        try:
            theirs.setsockopt(socket.SOL_SOCKET, SO_PASSPIDFD, 1)
        except OSError:
            pytest.skip("before Linux 6.5 there is no such option")

        def receive(count: int) -> None:
            process = made.popen(["/attack/attack", str(count)], stdin=theirs.fileno(), stdout=-1)
            for _ in range(count):
                ours.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [file.fileno()]))])
            assert process.wait(60) == LOST

        receive(1)
        before = open_files(sentry_of(made))
        receive(200)
        assert open_files(sentry_of(made)) <= before + 8
