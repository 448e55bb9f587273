/* floor.c: the least that serving a call can cost.
 *
 *   floor [--no-pin] [--threads N] [--count] [--network | --served] -- program argument...
 *
 * Runs the program under a seccomp listener and serves stat and open of paths with one system call each: no policy, no
 * path walk, no record; or, instead, the calls of floor_network.c. Guest and server share one processor unless --no-pin. With --threads
 * so many receive, each of which the kernel wakes for every call. It is a yardstick and no sandbox: what it
 * serves, it serves with its own rights, and memory is read and written without the sentry's care. Relative paths are taken
 * from where it was started: the program must not change its directory. To open a name that ends in .fifo waits in a thread of
 * its own, any other in the one that receives. */
#include "floor.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP 1ul
#endif
#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1ul << 5)
#endif

#define THREADS_MAX 16

static atomic_ulong served_stats, served_opens;
static bool network, served;

void fail(const char *what) {
    perror(what);
    exit(125);
}

static int install(void) {
    struct sock_filter code[] = {
        LOAD(arch), EQUAL(AUDIT_ARCH_X86_64, 0, 7),
        LOAD(nr), EQUAL(SYS_stat, 6, 0), EQUAL(SYS_open, 5, 0), EQUAL(SYS_newfstatat, 1, 0), EQUAL(SYS_openat, 0, 2),
        LOAD(args[0]), EQUAL((unsigned)AT_FDCWD, 1, 0), /* not a descriptor's: those are native */
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
    };
    struct sock_fprog program = network ? network_filter(served) : (struct sock_fprog){sizeof code / sizeof *code, code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) fail("no_new_privs");
    int flags = SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    int listener = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
    if (listener < 0) fail("seccomp");
    return listener;
}

void pass(int socket, int *fd, bool give) {
    char byte = 0, control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec vector = {&byte, 1};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    if (!give) {
        if (recvmsg(socket, &message, MSG_CMSG_CLOEXEC) != 1 || (head = CMSG_FIRSTHDR(&message)) == NULL) fail("recvmsg");
        memcpy(fd, CMSG_DATA(head), sizeof *fd);
        return;
    }
    *head = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
    memcpy(CMSG_DATA(head), fd, sizeof *fd);
    if (sendmsg(socket, &message, 0) != 1) fail("sendmsg");
}

/* The path in one call: it seldom crosses into a page that is not there. */
static int read_path(pid_t tid, unsigned long address, char path[4097]) {
    size_t most = 4096 - (address & 4095);
    struct iovec here = {path, most < 256 ? 4096 : 256}, there = {(void *)address, here.iov_len};
    ssize_t got = process_vm_readv(tid, &here, 1, &there, 1, 0);
    if (got > 0 && memchr(path, 0, (size_t)got)) return 0;
    here.iov_len = there.iov_len = 4096;
    got = process_vm_readv(tid, &here, 1, &there, 1, 0);
    if (got <= 0) return -EFAULT;
    path[got] = 0;
    return 0;
}

static int serve_stat(pid_t tid, const char *path, unsigned long address, int flags) {
    struct stat status;
    if (fstatat(AT_FDCWD, path, &status, flags)) return -errno;
    struct iovec here = {&status, sizeof status}, there = {(void *)address, sizeof status};
    return process_vm_writev(tid, &here, 1, &there, 1, 0) == sizeof status ? 0 : -EFAULT;
}

struct opening {
    int listener, flags;
    mode_t mode;
    __u64 id;
    char path[4097];
};

static void serve_open(const struct opening *opening) {
    int fd = openat(AT_FDCWD, opening->path, opening->flags | O_CLOEXEC, opening->mode);
    struct seccomp_notif_resp reply = {.id = opening->id, .error = -errno};
    struct seccomp_notif_addfd add = {.id = opening->id, .flags = SECCOMP_ADDFD_FLAG_SEND, .srcfd = (__u32)fd,
                                      .newfd_flags = (__u32)opening->flags & O_CLOEXEC};
    if (fd < 0) ioctl(opening->listener, SECCOMP_IOCTL_NOTIF_SEND, &reply);
    else ioctl(opening->listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add);
    if (fd >= 0) close(fd);
}

static void *serve_waiting(void *argument) {
    serve_open(argument);
    free(argument);
    return NULL;
}

static bool may_wait(const char *path) {
    size_t length = strlen(path);
    return length > 5 && strcmp(path + length - 5, ".fifo") == 0;
}

static void begin_waiting(const struct opening *opening) {
    struct opening *copy = malloc(sizeof *copy);
    pthread_t thread;
    if (copy == NULL) fail("malloc");
    *copy = *opening;
    if (pthread_create(&thread, NULL, serve_waiting, copy)) fail("pthread_create");
    pthread_detach(thread);
}

static void serve(int listener, const struct seccomp_notif *call) {
    bool at = call->data.nr == SYS_newfstatat || call->data.nr == SYS_openat;
    const __u64 *args = call->data.args + (at ? 1 : 0);
    struct seccomp_notif_resp reply = {.id = call->id};
    struct opening opening;
    char *path = opening.path;
    pid_t tid = (pid_t)call->pid;
    reply.error = read_path(tid, args[0], path);
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &call->id)) return;
    if (reply.error == 0 && (call->data.nr == SYS_stat || call->data.nr == SYS_newfstatat)) {
        served_stats++;
        reply.error = serve_stat(tid, path, args[1], at ? (int)args[2] : 0);
    } else if (reply.error == 0) {
        served_opens++;
        opening.listener = listener;
        opening.flags = (int)args[1];
        opening.mode = (mode_t)args[2];
        opening.id = call->id;
        (may_wait(path) ? begin_waiting : serve_open)(&opening);
        return;
    }
    ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &reply);
}

/* A thread of its own, so that main may wait for the guest. */
static void *serve_all(void *argument) {
    int listener = *(int *)argument;
    for (;;) {
        struct seccomp_notif call;
        memset(&call, 0, sizeof call);
        if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call) == 0) (network ? network_serve : serve)(listener, &call);
        else if (errno != EINTR && errno != ENOENT) return NULL; /* ENOENT: the caller died before we looked */
    }
}

int main(int argc, char **argv) {
    int threads = 1, pair[2], i = 1;
    bool pin = true, count = false;
    for (; i < argc && strncmp(argv[i], "--", 2) == 0 && argv[i][2]; i++) {
        if (strcmp(argv[i], "--no-pin") == 0) pin = false;
        else if (strcmp(argv[i], "--threads") == 0 && i + 1 < argc) threads = atoi(argv[++i]);
        else if (strcmp(argv[i], "--count") == 0) count = true;
        else if (strcmp(argv[i], "--network") == 0) network = true;
        else if (strcmp(argv[i], "--served") == 0) network = served = true;
    }
    if (i + 1 >= argc || threads < 1 || threads > (network ? 1 : THREADS_MAX)) /* the network's buffers are of one thread */
        return fprintf(stderr, "floor [--no-pin] [--threads N] [--count] [--network | --served] -- program...\n"), 125;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(0, &one);
    if (pin && sched_setaffinity(0, sizeof one, &one)) fail("sched_setaffinity");
    network_begin(served);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair)) fail("socketpair");
    pid_t guest = fork();
    if (guest < 0) fail("fork");
    if (guest == 0) {
        int listener = install();
        pass(pair[1], &listener, true);
        close(listener);
        execvp(argv[i + 1], argv + i + 1);
        fail(argv[i + 1]);
    }
    int listener;
    pass(pair[0], &listener, false);
    close(pair[1]);
    unsigned long flags = SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP;
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, flags)) fail("SYNC_WAKE_UP");
    pthread_t server[THREADS_MAX];
    int status;
    for (int thread = 0; thread < threads; thread++)
        if (pthread_create(&server[thread], NULL, serve_all, &listener)) fail("pthread_create");
    while (waitpid(guest, &status, 0) < 0 && errno == EINTR) continue;
    if (count) fprintf(stderr, "served %lu stats, %lu opens\n", atomic_load(&served_stats), atomic_load(&served_opens));
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
