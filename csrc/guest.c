#include "guest.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef PIDFD_THREAD
#define PIDFD_THREAD O_EXCL /* Linux 6.9 */
#endif

static int listener = -1, proc = -1;
static uint64_t guest_tag;
static bool by_pid;
/* Where pids may be recycled to a stranger: the calling thread's memory, opened before its notification was checked. */
static _Thread_local int memory = -1;
static _Thread_local pid_t memory_of;
static _Thread_local uint64_t checked; /* the notification that this thread serves */
static int (*lend)(uint64_t id, pid_t tid, int fd);
static bool lender_needed;
static pid_t own; /* glibc asks the kernel each time */

void guest_close(int *fd) {
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

void guest_setup(int listener_fd, int proc_fd, uint64_t tag, bool pids_are_ours) {
    listener = listener_fd;
    proc = proc_fd;
    guest_tag = tag;
    by_pid = pids_are_ours;
    own = getpid();
}
int guest_listener(void) { return listener; }
int guest_proc(void) { return proc; }

void guest_forget(void) {
    guest_close(&memory);
    memory_of = 0;
}

static int open_memory(pid_t tid) {
    if (memory >= 0 && memory_of == tid) return 0;
    guest_forget();
    char path[32];
    snprintf(path, sizeof path, "%d/mem", tid);
    memory = openat(proc, path, O_RDWR | O_CLOEXEC);
    if (memory < 0) return -EFAULT;
    memory_of = tid;
    return 0;
}

/* Up to `size` bytes: how many, stopping at the first page that cannot be read. */
static ssize_t read_some(pid_t tid, uint64_t address, void *to, size_t size) {
    if (by_pid) {
        size_t first = 4096 - (address & 4095);
        if (first > size) first = size;
        struct iovec local = {to, size};
        struct iovec remote[2] = {{(void *)address, first}, {(void *)(address + first), size - first}};
        return process_vm_readv(tid, &local, 1, remote, size > first ? 2 : 1, 0);
    }
    if (open_memory(tid) < 0) return -1;
    return pread(memory, to, size, (off_t)address);
}

int guest_read(pid_t tid, uint64_t address, void *to, size_t size) {
    if (size == 0) return 0;
    if (by_pid) {
        struct iovec local = {to, size}, remote = {(void *)address, size};
        return process_vm_readv(tid, &local, 1, &remote, 1, 0) == (ssize_t)size ? 0 : -EFAULT;
    }
    if (open_memory(tid) < 0) return -EFAULT;
    return pread(memory, to, size, (off_t)address) == (ssize_t)size ? 0 : -EFAULT;
}

int guest_write(pid_t tid, uint64_t address, const void *from, size_t size) {
    if (size == 0) return 0;
    if (by_pid) {
        struct iovec local = {(void *)from, size}, remote = {(void *)address, size};
        return process_vm_writev(tid, &local, 1, &remote, 1, 0) == (ssize_t)size ? 0 : -EFAULT;
    }
    /* INVARIANT still-there: only through the descriptor opened before the check. */
    if (memory < 0 || memory_of != tid) return -EFAULT;
    return pwrite(memory, from, size, (off_t)address) == (ssize_t)size ? 0 : -EFAULT;
}

int guest_write_held(pid_t tid, uint64_t address, const void *from, size_t size) {
    struct iovec local = {(void *)from, size}, remote = {(void *)address, size};
    return process_vm_writev(tid, &local, 1, &remote, 1, 0) == (ssize_t)size ? 0 : -EFAULT;
}

int guest_read_string(pid_t tid, uint64_t address, char *to, size_t size) {
    size_t have = 0;
    while (have < size) {
        size_t want = have == 0 && size > 256 ? 256 : size - have; /* most paths are short */
        if (want > 4096) want = 4096;
        ssize_t got = read_some(tid, address + have, to + have, want);
        if (got <= 0) return -EFAULT;
        char *end = memchr(to + have, 0, (size_t)got);
        if (end) return (int)(end - to);
        have += (size_t)got;
    }
    return -ENAMETOOLONG;
}

int guest_notify(unsigned long request, void *argument) {
    int result;
    do result = ioctl(listener, request, argument); while (result < 0 && errno == EINTR);
    return result;
}

bool guest_alive(uint64_t id) { return guest_notify(SECCOMP_IOCTL_NOTIF_ID_VALID, &id) == 0; }

bool guest_check(pid_t tid, uint64_t id) {
    checked = id;
    if (!by_pid) open_memory(tid);
    return guest_alive(id);
}

int guest_inject(uint64_t id, int fd, bool close_on_exec) {
    struct seccomp_notif_addfd add = {.id = id, .srcfd = (uint32_t)fd, .newfd_flags = close_on_exec ? O_CLOEXEC : 0};
    int number = guest_notify(SECCOMP_IOCTL_NOTIF_ADDFD, &add);
    return number < 0 ? -errno : number;
}

pid_t guest_leader(pid_t tid) {
    if (syscall(SYS_tgkill, tid, tid, 0) == 0) return tid; /* it is a leader: most are, and /proc takes its time */
    char path[32], text[512];
    snprintf(path, sizeof path, "%d/status", tid);
    if (guest_text(proc, path, text, sizeof text) == 0) return -ESRCH;
    char *at = strstr(text, "\nTgid:");
    int leader = 0;
    if (at == NULL || sscanf(at + 6, "%d", &leader) != 1) return -ESRCH;
    return leader;
}

static int open_pidfd(pid_t tid) {
    int fd = (int)syscall(SYS_pidfd_open, tid, 0);
    if (fd >= 0 || errno == ESRCH) return fd >= 0 ? fd : -ESRCH;
    fd = (int)syscall(SYS_pidfd_open, tid, PIDFD_THREAD);
    if (fd >= 0) return fd;
    pid_t leader = guest_leader(tid);
    if (leader < 0) return leader;
    fd = (int)syscall(SYS_pidfd_open, leader, 0);
    return fd < 0 ? -errno : fd;
}

void guest_lender(int (*borrow)(uint64_t id, pid_t tid, int fd), bool needed) {
    lend = borrow;
    lender_needed = needed;
}

int guest_borrow_fd(pid_t tid, int fd) {
    if (fd < 0) return -EBADF;
    if (lender_needed) return lend(checked, tid, fd);
    cleanup_close int pidfd = open_pidfd(tid);
    if (pidfd < 0) return pidfd;
    int got = (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);
    return got < 0 ? -errno : got;
}

bool guest_borrows(void) {
    static int works = -1; /* unknown */
    if (works < 0) works = !lender_needed && guest_same_file(getpid(), 0, 0) == 1;
    return works;
}

int guest_same_file(pid_t pid, int fd, int ours) {
    long order = syscall(SYS_kcmp, pid, own, KCMP_FILE, (unsigned long)fd, (unsigned long)ours);
    return order < 0 ? -errno : order == 0;
}

int64_t guest_context(pid_t tid) {
    struct rlimit64 limit;
    if (syscall(SYS_prlimit64, tid, RLIMIT_LOCKS, NULL, &limit) < 0) return -ESRCH;
    if (limit.rlim_max != (guest_tag | 0xffffffffu) || (limit.rlim_cur & ~0xffffffffull) != guest_tag) return -ESRCH;
    return (int64_t)(limit.rlim_cur & 0xffffffffu);
}

int guest_set_context(pid_t tid, uint32_t context) {
    struct rlimit64 limit = {guest_tag | context, guest_tag | 0xffffffffu};
    if (guest_context(tid) < 0) return -ESRCH; /* a stranger that has got the number must not get the tag */
    return syscall(SYS_prlimit64, tid, RLIMIT_LOCKS, &limit, NULL) < 0 ? -errno : 0;
}

bool guest_extend_files(pid_t pid, struct rlimit64 *old) {
    if (syscall(SYS_prlimit64, pid, RLIMIT_NOFILE, NULL, old) < 0 || old->rlim_cur >= old->rlim_max) return false;
    struct rlimit64 raised = {old->rlim_max, old->rlim_max};
    return syscall(SYS_prlimit64, pid, RLIMIT_NOFILE, &raised, NULL) == 0;
}

void guest_limit_files(pid_t pid, const struct rlimit64 *old) { syscall(SYS_prlimit64, pid, RLIMIT_NOFILE, old, NULL); }
