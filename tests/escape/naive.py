"""The way that this project avoids: a supervisor that looks at a path in the guest's memory and then lets the kernel read
it again. Attacks that swap memory are shown to work against it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.escape.attack import Outcome, build

_SOURCE = r"""
#include <linux/filter.h>
#include <linux/seccomp.h>
/* naive NR ARGUMENT FORBIDDEN program arguments...: refuses call NR where its path is FORBIDDEN, else continues it */
int main(int argc, char **argv) {
    int number = atoi(argv[1]), argument = atoi(argv[2]), ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends)) return unfit("socketpair");
    pid_t child = fork();
    if (child == 0) {
        struct sock_filter code[] = {
            BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
        struct sock_fprog program = {4, code};
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        int listener = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
        union { struct cmsghdr header; char space[CMSG_SPACE(sizeof(int))]; } rights = {
            .header = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
        memcpy(CMSG_DATA(&rights.header), &listener, sizeof listener);
        struct iovec part = {"x", 1};
        struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &rights, .msg_controllen = sizeof rights};
        if (listener < 0 || sendmsg(ends[1], &message, 0) < 0) _exit(UNFIT);
        close(listener); close(ends[0]); close(ends[1]);
        execv(argv[4], argv + 4);
        _exit(UNFIT);
    }
    close(ends[1]);
    union { struct cmsghdr header; char space[CMSG_SPACE(sizeof(int))]; } rights;
    char byte;
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &rights, .msg_controllen = sizeof rights};
    int listener = -1;
    if (recvmsg(ends[0], &message, MSG_CMSG_CLOEXEC) == 1) memcpy(&listener, CMSG_DATA(&rights.header), sizeof listener);
    for (;;) {
        struct seccomp_notif notification = {0};
        int status;
        if (waitpid(child, &status, WNOHANG) == child) return WIFEXITED(status) ? WEXITSTATUS(status) : UNFIT;
        struct { int fd; short events, got; } polled = {listener, 1, 0};
        if (syscall(SYS_poll, &polled, 1, 20) <= 0 || !(polled.got & 1)) continue;
        if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &notification)) continue;
        char path[256] = "";
        struct iovec local = {path, 255}, remote = {(void *)notification.data.args[argument], 255};
        long got = process_vm_readv(notification.pid, &local, 1, &remote, 1, 0);
        if (got < 0) { remote.iov_len = local.iov_len = 4096 - ((long)remote.iov_base & 4095); process_vm_readv(notification.pid, &local, 1, &remote, 1, 0); }
        usleep(50); /* what a check takes */
        struct seccomp_notif_resp answer = {.id = notification.id};
        if (strcmp(path, argv[3]) == 0) answer.error = -EPERM;
        else answer.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
        ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
    }
}
"""


def naively(call: int, argument: int, forbidden: str, program: Path, *args: object) -> Outcome:
    """The attack below a supervisor that refuses the call where the path in its argument is `forbidden`."""
    command = [str(build(_SOURCE)), str(call), str(argument), forbidden, str(program), *map(str, args)]
    done = subprocess.run(command, capture_output=True, timeout=120)
    return Outcome(done.returncode, done.stdout, done.stderr)
