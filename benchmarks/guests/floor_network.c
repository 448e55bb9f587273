/* floor_network.c: the least that serving a call of the network can cost, in as many hops as the sandbox has: one where the guest
 * has a network namespace of its own; where its sockets are of the host's network, another to a process that makes the call. That process
 * answers for names, too, as the sandbox's does: one loop for all, by recvfrom and sendto. */
#include "floor.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <netinet/in.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define DATA_MAX 65536

/* A question to the other process, and its answer: `value`, and a descriptor where it is a socket. */
struct asked { int nr, first, second, third; socklen_t size; uint8_t address[128]; };
static bool asking;
static int other = -1;

struct sock_fprog network_filter(bool asks) {
    static struct sock_filter own[] = {
        LOAD(arch), EQUAL(AUDIT_ARCH_X86_64, 0, 6), LOAD(nr), EQUAL(SYS_connect, 5, 0), EQUAL(SYS_accept, 4, 0), EQUAL(SYS_sendto, 0, 2),
        LOAD(args[4]), EQUAL(0, 0, 1), /* without an address it is native; an address below 4 GiB is none of glibc's */
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
    };
    static struct sock_filter hosts[] = {
        LOAD(arch), EQUAL(AUDIT_ARCH_X86_64, 0, 9), LOAD(nr), EQUAL(SYS_connect, 8, 0), EQUAL(SYS_accept, 7, 0),
        EQUAL(SYS_socket, 3, 0), EQUAL(SYS_sendto, 0, 4), LOAD(args[4]), EQUAL(0, 2, 3),
        LOAD(args[0]), EQUAL(AF_INET, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
    };
    return asks ? (struct sock_fprog){sizeof hosts / sizeof *hosts, hosts} : (struct sock_fprog){sizeof own / sizeof *own, own};
}

static int64_t done(const struct asked *asked, int fd) {
    int got = 0;
    if (asked->nr == SYS_socket) got = socket(asked->first, asked->second | SOCK_CLOEXEC, asked->third);
    if (asked->nr == SYS_connect) got = connect(fd, (const struct sockaddr *)asked->address, asked->size);
    return got < 0 ? -errno : got;
}

/* One message with a descriptor, or none (-1). */
static ssize_t move(int socket, void *data, size_t size, int *fd, bool give) {
    char control[CMSG_SPACE(sizeof *fd)] = {0};
    struct iovec vector = {data, size};
    bool has = !give || *fd >= 0;
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = has ? control : NULL, .msg_controllen = has ? sizeof control : 0};
    struct cmsghdr *head = (struct cmsghdr *)(void *)control;
    if (give && has) {
        *head = (struct cmsghdr){CMSG_LEN(sizeof *fd), SOL_SOCKET, SCM_RIGHTS};
        memcpy(CMSG_DATA(head), fd, sizeof *fd);
    }
    ssize_t got = give ? sendmsg(socket, &message, 0) : recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    if (!give) *fd = -1;
    if (!give && message.msg_controllen >= sizeof *head) memcpy(fd, CMSG_DATA(head), sizeof *fd);
    return got;
}

/* A socket that answers for names, and its port in the guest's environment. */
static int resolver(void) {
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof name;
    char port[8];
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&name, size) || getsockname(fd, (struct sockaddr *)&name, &size)) fail("resolver");
    snprintf(port, sizeof port, "%d", ntohs(name.sin_port));
    if (setenv("BENCHMARK_RESOLVER", port, 1)) fail("setenv");
    return fd;
}

static void answer_name(int names) {
    char question[512];
    struct sockaddr_in asker;
    socklen_t size = sizeof asker;
    ssize_t got = recvfrom(names, question, sizeof question, 0, (struct sockaddr *)&asker, &size);
    if (got > 0) sendto(names, question, (size_t)got, 0, (struct sockaddr *)&asker, size);
}

/* False: the floor has ended. */
static bool answer_call(int socket) {
    struct asked asked;
    int fd;
    if (move(socket, &asked, sizeof asked, &fd, false) != sizeof asked) return false;
    int64_t value = done(&asked, fd);
    int made = asked.nr == SYS_socket && value >= 0 ? (int)value : -1;
    move(socket, &value, sizeof value, &made, true);
    if (made >= 0) close(made);
    if (fd >= 0) close(fd);
    return true;
}

void network_begin(bool asks) {
    int pair[2];
    asking = asks;
    if (!asks) return;
    int names = resolver();
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)) fail("socketpair");
    pid_t pid = fork();
    if (pid < 0) fail("fork");
    other = pair[0];
    if (pid > 0) {
        close(pair[1]);
        close(names);
        return;
    }
    close(pair[0]);
    struct pollfd wait[] = {{pair[1], POLLIN, 0}, {names, POLLIN, 0}};
    for (bool stands = true; stands && poll(wait, 2, -1) > 0;) {
        if (wait[1].revents) answer_name(names);
        if (wait[0].revents) stands = answer_call(pair[1]);
    }
    _exit(0);
}

static int64_t ask(struct asked *asked, int fd, int *made) {
    int64_t value = -EIO;
    move(other, asked, sizeof *asked, &fd, true);
    return move(other, &value, sizeof value, made, false) == sizeof value ? value : -EIO;
}

static bool copied(pid_t tid, void *to, uint64_t address, size_t size) {
    struct iovec here = {to, size}, there = {(void *)address, size};
    return size == 0 || process_vm_readv(tid, &here, 1, &there, 1, 0) == (ssize_t)size;
}

static int64_t served(const struct seccomp_notif *call, int fd, int *made) {
    static char data[DATA_MAX];
    const __u64 *args = call->data.args;
    pid_t tid = (pid_t)call->pid;
    struct asked asked = {.nr = call->data.nr, .first = (int)args[0], .second = (int)args[1], .third = (int)args[2]};
    __u64 at = asked.nr == SYS_connect ? args[1] : asked.nr == SYS_sendto ? args[4] : 0;
    asked.size = (socklen_t)(asked.nr == SYS_connect ? args[2] : asked.nr == SYS_sendto ? args[5] : 0);
    if (asked.nr == SYS_accept) return (*made = accept4(fd, NULL, NULL, SOCK_CLOEXEC)) < 0 ? -errno : 0;
    if (asked.size > sizeof asked.address || !copied(tid, asked.address, at, asked.size)) return -EFAULT;
    int64_t value = asking ? ask(&asked, fd, made) : asked.nr == SYS_connect ? done(&asked, fd) : 0;
    if (asked.nr != SYS_sendto || value < 0) return value;
    if (args[2] > sizeof data || !copied(tid, data, args[1], args[2])) return -EMSGSIZE;
    ssize_t sent = sendto(fd, data, args[2], (int)args[3], (struct sockaddr *)asked.address, asked.size);
    return sent < 0 ? -errno : sent;
}

void network_serve(int listener, const struct seccomp_notif *call) {
    struct seccomp_notif_resp reply = {.id = call->id};
    int pidfd = -1, fd = -1, made = -1;
    if (call->data.nr != SYS_socket) {
        pidfd = (int)syscall(SYS_pidfd_open, call->pid, 0);
        if (pidfd < 0) pidfd = (int)syscall(SYS_pidfd_open, call->pid, O_EXCL /* PIDFD_THREAD: Linux 6.9 */);
        fd = (int)syscall(SYS_pidfd_getfd, pidfd, (int)call->data.args[0], 0);
    }
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &call->id) == 0) {
        int64_t value = served(call, fd, &made);
        struct seccomp_notif_addfd add = {.id = call->id, .flags = SECCOMP_ADDFD_FLAG_SEND, .srcfd = (__u32)made, .newfd_flags = O_CLOEXEC};
        reply.error = value < 0 ? (int)value : 0;
        reply.val = value < 0 ? 0 : value;
        if (made >= 0) ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add);
        else ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &reply);
    }
    if (made >= 0) close(made);
    if (fd >= 0) close(fd);
    if (pidfd >= 0) close(pidfd);
}
