"""Memory of the sentry, which no limit of the guest's counts where there is no cgroup: as many calls as can wait at once, each with the largest
message that there is, all read from one buffer of the guest's."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from tests.escape.attack import LOST, box, build, ordinary, sentry_of

ATTACK = r"""
/* threads that wait: to send by streams, to send as a whole, to receive all. Tells for each line of input how many have ended */
enum { STREAM, WHOLE, ALL };
static int kind, count, ends[600][2], ended;
static char *buffer;
#define LARGE (8u << 20)
static void *act(void *argument) {
    int *pair = argument;
    struct iovec part = {buffer, kind == WHOLE ? 200000 : LARGE};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (kind == ALL) recvmsg(pair[0], &message, MSG_WAITALL);
    else while (sendmsg(pair[0], &message, MSG_NOSIGNAL) > 0) continue;
    __atomic_fetch_add(&ended, 1, __ATOMIC_SEQ_CST);
    return NULL;
}
static void feed(int i) { /* most of what it waits for */
    static size_t fed[600];
    for (ssize_t did = 1; kind == ALL && did > 0 && fed[i] < LARGE - (1u << 20); fed[i] += did > 0 ? did : 0)
        did = send(ends[i][1], buffer, 1u << 20, MSG_DONTWAIT | MSG_NOSIGNAL);
}
int main(int argc, char **argv) {
    char line[16];
    pthread_attr_t small;
    kind = atoi(argv[1]);
    count = atoi(argv[2]);
    buffer = mmap(NULL, LARGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(buffer, 1, LARGE);
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 65536);
    struct rlimit files = {4096, 4096};
    setrlimit(RLIMIT_NOFILE, &files);
    for (int i = 0; i < count; i++) {
        pthread_t thread;
        if (socketpair(AF_UNIX, kind == WHOLE ? SOCK_SEQPACKET : SOCK_STREAM, 0, ends[i])) return unfit("socketpair");
        if (pthread_create(&thread, &small, act, ends[i])) return unfit("thread");
    }
    while (fgets(line, sizeof line, stdin)) {
        for (int i = 0; i < count; i++) feed(i);
        printf("%d\n", __atomic_load_n(&ended, __ATOMIC_SEQ_CST));
        fflush(stdout);
    }
    return LOST;
}
"""
BOUND = 64 << 10  # KiB
KINDS = {"streams": (0, 60), "whole": (1, 500), "all": (2, 60)}


def _status(pid: int, field: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


@ordinary
@pytest.mark.parametrize("walls", ["every wall", "no namespaces", "no wall"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_waits_is_light(walls: str, kind: str) -> None:
    """The sentry's peak, with every thread in a call that waits, or has been refused."""
    which, count = KINDS[kind]
    with box(walls, build(ATTACK)) as made:
        sentry = sentry_of(made)
        assert made.run(["/bin/true"]).returncode == 0
        before = _status(sentry, "VmHWM")
        attack = made.popen(["/attack/attack", str(which), str(count)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert attack.stdin and attack.stdout
        deadline, ended, rounds = time.monotonic() + 60, 0, 0
        while (ended + _status(sentry, "Threads") < count or rounds < 100) and time.monotonic() < deadline:
            attack.stdin.write(b"\n")
            attack.stdin.flush()
            ended, rounds = int(attack.stdout.readline()), rounds + 1
        assert count <= ended + _status(sentry, "Threads") and ended < count
        assert _status(sentry, "VmHWM") - before < BOUND
        attack.stdin.close()
        assert attack.wait(60) == LOST
