/* Start a sentry, or another process of a guest's own, from a large process without copying its page tables. Part of the Python extension, not of
 * the sentry. */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "core.h"
#include "mounts.h"

#define STACK_SIZE 65536

struct start {
    const char *path;
    char *const *argv;
    int socket, null;
    uid_t uid;
    gid_t gid;
    int flags;
    int error; /* written by the child, which shares our memory */
};

static int put(const char *path, const char *text, size_t length) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return -errno;
    ssize_t wrote = write(fd, text, length);
    int error = wrote == (ssize_t)length ? 0 : -errno;
    close(fd);
    return error;
}

/* In the new user namespace: the caller's own ids, and its capabilities kept over exec. */
static int become_owner(const struct start *start) {
    char map[64];
    int length = snprintf(map, sizeof map, "%u %u 1", start->uid, start->uid);
    int error = put("/proc/self/uid_map", map, (size_t)length);
    if (error < 0) return error;
    put("/proc/self/setgroups", "deny", 4);
    length = snprintf(map, sizeof map, "%u %u 1", start->gid, start->gid);
    if ((error = put("/proc/self/gid_map", map, (size_t)length)) < 0) return error;
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2];
    if (syscall(SYS_capget, &header, data) < 0) return -errno;
    data[0].inheritable = data[0].permitted;
    data[1].inheritable = data[1].permitted;
    if (syscall(SYS_capset, &header, data) < 0) return -errno;
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_SYS_ADMIN, 0, 0);
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_ADMIN, 0, 0); /* for its own loopback (confine.c) */
    return 0;
}

/* A pid namespace is of use only where its own /proc can be mounted: the one that is there shows other numbers. Refused
 * in containers that hide parts of /proc, and where mounting is refused altogether. A descriptor, or -errno. */
static int make_proc(void) {
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) return -errno;
    int context = (int)syscall(SYS_fsopen, "proc", FSOPEN_CLOEXEC);
    if (context < 0) return -errno;
    const unsigned attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
    int fd = (int)syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
    if (fd == 0) fd = (int)syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, attributes);
    if (fd >= 0) fd = fcntl(fd, F_DUPFD_CLOEXEC, 10); /* clear of 0 to 4 */
    return fd < 0 ? -errno : fd;
}

/* 0 to 2 are null, 3 the socket, 4 the new /proc where there is one; all else is closed. 0 or errno. */
static int place_descriptors(const struct start *start, int proc) {
    for (int fd = 0; fd < 3; fd++)
        if (dup2(start->null, fd) < 0) return errno;
    if (dup2(start->socket, 3) < 0) return errno; /* after null, which may have stood there; the others are above */
    if (proc >= 0 && dup2(proc, MOUNTS_SPAWN_PROC) < 0) return errno;
    return syscall(SYS_close_range, proc >= 0 ? MOUNTS_SPAWN_PROC + 1 : 4, ~0u, 0) < 0 ? errno : 0;
}

/* INVARIANT nothing-inherited: no descriptor, variable, signal disposition or mask of the caller reaches the sentry. */
static int child(void *argument) {
    struct start *start = argument;
    if (start->flags & CLONE_NEWUSER && (start->error = -become_owner(start))) _exit(127);
    int proc = start->flags & CLONE_NEWPID ? make_proc() : -1;
    if (start->flags & CLONE_NEWPID && proc < 0 && (start->error = -proc)) _exit(127);
    for (int signal = 1; signal < 65; signal++) {
        struct sigaction action = {.sa_handler = SIG_DFL};
        if (signal != SIGKILL && signal != SIGSTOP) sigaction(signal, &action, NULL);
    }
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setsid();
    start->error = place_descriptors(start, proc);
    if (chdir("/") < 0) start->error = errno;
    if (start->error) _exit(127);
    char *envp[] = {NULL};
    execve(start->path, start->argv, envp);
    start->error = errno;
    _exit(127);
}

static int start_with(struct start *start, int flags, int *pidfd) {
    static __thread uint8_t stack[STACK_SIZE] __attribute__((aligned(16)));
    start->flags = flags;
    start->error = 0;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* no handler of the caller runs in the child that shares its memory */
    int pid = clone(child, stack + STACK_SIZE, flags | CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, start, pidfd);
    int error = pid < 0 ? errno : start->error;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (pid >= 0 && error) {
        waitpid(pid, NULL, 0);
        close(*pidfd);
    }
    return error ? -error : pid;
}

int sbx_spawn(const char *path, char *const *argv, int socket, uint32_t *walls, int *pidfd) {
    struct start start = {.path = path, .argv = argv, .uid = geteuid(), .gid = getegid()};
    start.null = open("/dev/null", O_RDWR | O_CLOEXEC);
    start.socket = fcntl(socket, F_DUPFD_CLOEXEC, 10); /* clear of 0 to 3, which the child fills */
    if (start.null < 0 || start.socket < 0) return -errno;
    uint32_t user = *walls & (1u << SBX_WALL_USERNS), pids = *walls & (1u << SBX_WALL_PIDNS);
    const int new_pids = CLONE_NEWPID | CLONE_NEWNS;
    struct { uint32_t walls; int flags; } tries[] = {
        {user | pids, (user ? CLONE_NEWUSER : 0) | (pids ? new_pids : 0)},
        {pids, pids ? new_pids : 0},
        {user, user ? CLONE_NEWUSER : 0},
        {0, 0},
    };
    int pid = -EINVAL;
    for (size_t i = 0; i < sizeof tries / sizeof *tries; i++) {
        if (i > 0 && tries[i].walls == tries[i - 1].walls) continue;
        pid = start_with(&start, tries[i].flags, pidfd);
        *walls = tries[i].walls;
        if (pid >= 0 || pid == -ENOENT || pid == -ENOEXEC) break;
    }
    close(start.null);
    close(start.socket);
    return pid;
}
