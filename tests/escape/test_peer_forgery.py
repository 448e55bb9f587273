"""A process shows itself as another to who asks the kernel who is there: by credentials that are not its own, by an end that another
has connected, and by an end that both send by, while the sentry makes the calls for both."""

from __future__ import annotations

import os
import socket
import sys

from sandbox import Allow
from tests.escape.attack import LOST, WON, box, build, every_wall, in_a_world_of_its_own, inside, ordinary

ATTACK = r"""
/* "told" is of credentials that are not the sender's; "peer" of a connection that another process began. */
static int won;
static struct ucred claimed(int pid) { return (struct ucred){pid, getuid(), getgid()}; }
static int sends(int fd, const struct ucred *who, int many) {
    static _Alignas(8) char space[CMSG_SPACE(sizeof *who)];
    struct iovec part = {"x", 1};
    struct mmsghdr message = {.msg_hdr = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = who ? space : NULL, .msg_controllen = who ? sizeof space : 0}};
    struct cmsghdr *head = (void *)space;
    *head = (struct cmsghdr){CMSG_LEN(sizeof *who), SOL_SOCKET, SCM_CREDENTIALS};
    if (who) memcpy(CMSG_DATA(head), who, sizeof *who);
    return many ? sendmmsg(fd, &message, 1, 0) : sendmsg(fd, &message.msg_hdr, 0);
}
static int sender(int fd) {
    _Alignas(8) char space[200], text[10];
    struct iovec part = {text, sizeof text};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
    struct ucred who = {0};
    if (recvmsg(fd, &message, 0) < 0) exit(UNFIT);
    struct cmsghdr *at = CMSG_FIRSTHDR(&message);
    if (at && at->cmsg_type == SCM_CREDENTIALS) memcpy(&who, CMSG_DATA(at), sizeof who);
    return who.pid;
}
static void in_child(void (*act)(int, int), int fd, int other, int *pid) {
    if ((*pid = fork()) == 0) act(fd, other), _exit(0);
    waitpid(*pid, NULL, 0);
}
static void says_nothing(int fd, int other) { if (sends(fd, NULL, 0) < 0) _exit(1); }
static struct sockaddr_un name = {AF_UNIX, "listener"};
static void connects(int fd, int other) { connect(fd, (void *)&name, sizeof name); }
int main(void) {
    int pair[2], pid, on = 1, who;
    if (chdir("/tmp") || socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair)) return unfit("pair");
    setsockopt(pair[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on);
    int another = fork();
    if (another == 0) pause();
    const struct { const char *name; struct ucred who; } lies[] = {
        {"another", claimed(another)}, {"first", claimed(1)}, {"nobody", claimed(0)}, {"user", {getpid(), getuid() + 1, getgid()}}, {"group", {getpid(), getuid(), getgid() + 1}}};
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++)
        for (int many = 0; many < 2; many++)
            won += told(lies[i].name, sends(pair[0], &lies[i].who, many)) == 0;
    kill(another, SIGKILL);
    if (won) return WON; /* the rest would read what has arrived */
    in_child(says_nothing, pair[0], 0, &pid);
    sends(pair[0], NULL, 0), send(pair[0], "x", 1, 0);
    who = sender(pair[1]), printf("child=%d\n", who == getpid()), won += who == getpid();
    who = sender(pair[1]), printf("parent is child=%d\n", who == pid), won += who == pid;
    who = sender(pair[1]), printf("native=%d\n", who != getpid()), won += who != getpid();
    int server = socket(AF_UNIX, SOCK_STREAM, 0), end = socket(AF_UNIX, SOCK_STREAM, 0);
    unlink(name.sun_path);
    if (bind(server, (void *)&name, sizeof name) || listen(server, 5)) return unfit("listen");
    connects(end, 0);
    in_child(connects, end, 0, &pid);
    struct ucred peer = {0};
    socklen_t size = sizeof peer;
    int accepted = accept(server, NULL, NULL);
    if (getsockopt(accepted, SOL_SOCKET, SO_PEERCRED, &peer, &size)) return unfit("peer");
    printf("peer=%d\n", peer.pid == pid), won += peer.pid == pid;
    return won ? WON : LOST;
}
"""
LIES = ("another", "first", "nobody", "user", "group")


def test_it_works_with_capabilities() -> None:
    outcome = in_a_world_of_its_own(build(ATTACK))
    assert outcome.status == WON and outcome.told["another"] == 0, outcome


@ordinary
@every_wall
def test_inside(walls: str) -> None:
    outcome = inside(build(ATTACK), walls=walls)
    assert outcome.status == LOST, outcome
    assert {outcome.told[lie] for lie in LIES} == {1} and outcome.told["peer"] == 0, outcome


UNNAMED = """
import socket, struct, sys
handed = socket.socket(fileno=int(sys.argv[1]))
for name in (None, "", "\\0one", "two"):
    with socket.socket(socket.AF_UNIX) as listener:
        try:
            if name is not None: listener.bind(name)
            listener.listen()
        except OSError: pass
    print(struct.unpack("iII", handed.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0])
"""


@ordinary
@every_wall
def test_the_caller_is_no_process_of_the_guest(walls: str) -> None:
    """A socket that was handed in has its other end outside: no listener without a name, or with one, takes its place."""
    ours, theirs = socket.socketpair()
    with ours, theirs, box(walls, network=[Allow("192.0.2.1:1")]) as guest:
        done = guest.run([sys.executable, "-c", UNNAMED, str(theirs.fileno())], pass_fds=[theirs.fileno()], cwd="/tmp", text=True)
    told = {int(pid) for pid in done.stdout.split()}
    assert len(told) == 1 and told <= {0, os.getpid()}, done
