/* stub_probe.c: the stub and the redirected exec alone, without policy: a mini supervisor that serves exec and PRIVATE_LOAD by
 * elf.c, image.c, exec.c and trace.c and lets every other call pass. The guest's view is the host's.
 *
 *     stub_probe STUB PROGRAM [ARGUMENT...]      exit status: the program's, 128 + n for a signal
 *     PROBE_COUNT=1                              prints how many execs were served
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "borrow.h"
#include "context.h"
#include "exec.h"
#include "loop.h"
#include "mounts.h"
#include "private.h"
#include "procfs.h"
#include "thread.h"
#include "trace.h"
#include "walk.h"

#define THREADS 72 /* more than may dance at once, or nobody would receive */
#define TAG 0x5bdb000000000000ull

static int proc_fd;
/* Mount 0 is the host, which the guest is taken not to write to; mount 1 is /tmp. */
static struct { struct sbx_plan plan; struct sbx_mount mount[2]; } plan = {
    .plan = {.mounts = sizeof(struct sbx_plan), .mount_count = 2},
    .mount = {{.kind = SBX_MOUNT_HOST, .flags = SBX_MOUNT_EXEC}, {.kind = SBX_MOUNT_HOST, .flags = SBX_MOUNT_EXEC | SBX_MOUNT_WRITABLE}}};
static int served;

/* ---- what exec.c and its friends ask of the rest of the sentry, in its simplest form ----------------------------------- */

const struct sbx_plan *mounts_plan(void) { return &plan.plan; }
int mounts_proc(void) { return proc_fd; }
bool mounts_flag(int mount, enum sbx_mount_flag flag) { return plan.mount[mount].flags & flag; }
bool borrow_stands(void) { return false; }
bool loop_leave(void) { return true; }
int procfs_look(const struct request *request, const char *name, enum procfs_kind *kind, char target[SBX_PATH_MAX]) {
    (void)request, (void)name, (void)kind, (void)target;
    return -ENOENT;
}
int procfs_open(struct request *request, const struct place *place, int flags) {
    (void)request, (void)place, (void)flags;
    return -ENOENT;
}

void walk_none(struct place *place) {
    place->owned = false;
    place->dir = -1;
}

void walk_done(struct place *place) {
    if (place->owned) close(place->dir);
    place->owned = false;
}

static int settle(int fd, struct place *place) {
    char link[32];
    *place = (struct place){.dir = fd, .owned = fd >= 0};
    if (fd < 0) return -errno;
    snprintf(link, sizeof link, "self/fd/%d", fd);
    if (readlinkat(proc_fd, link, place->guest, sizeof place->guest - 1) < 0) return -errno;
    place->mount = strncmp(place->guest, "/tmp/", 5) == 0;
    return 0;
}

int walk(const struct request *request, int which, enum walk_last last, enum walk_goal goal, struct place *place) {
    char base[48];
    (void)goal;
    if (request->path[which][0] == '\0') return place->owned = false, -ENOENT;
    if (request->dirfd[which] == AT_FDCWD) snprintf(base, sizeof base, "%d/cwd", request->tid);
    else snprintf(base, sizeof base, "%d/fd/%d", request->tid, request->dirfd[which]);
    int dir = openat(proc_fd, base, O_PATH | O_CLOEXEC);
    int error = settle(openat(dir, request->path[which], O_PATH | O_CLOEXEC | (last == WALK_NOFOLLOW ? O_NOFOLLOW : 0)), place);
    if (dir >= 0) close(dir);
    return error;
}

int walk_descriptor(pid_t tid, int fd, struct place *place) {
    char link[48];
    snprintf(link, sizeof link, "%d/fd/%d", tid, fd);
    int error = settle(openat(proc_fd, link, O_PATH | O_CLOEXEC), place);
    if (error < 0) return -EBADF;
    return strncmp(place->guest, "/memfd:", 7) == 0 ? walk_done(place), -EXDEV : 0;
}

int walk_open(const struct place *place, int flags, mode_t mode) {
    char link[32];
    snprintf(link, sizeof link, "self/fd/%d", place->dir);
    int fd = openat(proc_fd, link, flags | O_CLOEXEC, mode);
    return fd < 0 ? -errno : fd;
}

void answer_send(struct request *request, struct answer *answer) {
    struct seccomp_notif_resp response = {.id = request->id};
    struct seccomp_notif_addfd add = {.id = request->id, .flags = SECCOMP_ADDFD_FLAG_SEND, .srcfd = (uint32_t)answer->fd,
                                      .newfd_flags = answer->fd_flags};
    int error = answer->kind == ANSWER_NONE ? ENOSYS : answer->error;
    for (int i = 0; i < 3 && !error; i++)
        if (answer->out[i].size && guest_write(request->tid, answer->out[i].address, answer->out[i].data, answer->out[i].size) < 0)
            error = EFAULT;
    if (answer->kind == ANSWER_FD) {
        int sent = error ? -1 : ioctl(guest_listener(), SECCOMP_IOCTL_NOTIF_ADDFD, &add);
        if (!error && sent < 0) error = errno;
        close(answer->fd);
        if (sent >= 0) return;
    }
    if (error) response.error = -error;
    else if (answer->kind == ANSWER_CONTINUE) response.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
    else response.val = answer->value;
    ioctl(guest_listener(), SECCOMP_IOCTL_NOTIF_SEND, &response);
}

static int decode_exec(const struct seccomp_notif *notification, struct request *request) {
    bool at = notification->data.nr == SYS_execveat;
    request->id = notification->id;
    request->tid = (pid_t)notification->pid;
    request->nr = (uint32_t)notification->data.nr;
    for (int i = 0; i < 6; i++) request->args[i] = notification->data.args[i];
    request->dirfd[0] = at ? (int)request->args[0] : AT_FDCWD;
    request->flags = at ? (uint32_t)request->args[4] : 0;
    if (request->nr == SBX_PRIVATE_CALL) return 0;
    int length = guest_read_string(request->tid, request->args[at], request->path[0], SBX_PATH_MAX);
    return length < 0 ? length : 0;
}

static void *receive(void *nothing) {
    struct request *request = calloc(1, sizeof *request);
    (void)nothing;
    for (;;) {
        struct seccomp_notif notification = {0};
        if (!exec_deferred(&notification) && ioctl(guest_listener(), SECCOMP_IOCTL_NOTIF_RECV, &notification) < 0) {
            if (errno == EINTR || errno == ENOENT) continue;
            return NULL;
        }
        int error = decode_exec(&notification, request);
        if (!guest_check(request->tid, request->id)) continue;
        struct answer answer;
        if (error) answer = answer_error(-error);
        else if (exec_expected(request)) answer = (struct answer){.kind = ANSWER_CONTINUE};
        else if (request->nr == SBX_PRIVATE_CALL) __atomic_add_fetch(&served, 1, __ATOMIC_RELAXED), answer = exec_private_load(request);
        else answer = exec_serve(request);
        if (answer.kind != ANSWER_SENT) answer_send(request, &answer);
        guest_forget();
    }
}

/* ---- the guest ---------------------------------------------------------------------------------------------------------- */

struct start { char **argv; int report, go; };

static int begin(void *argument) {
    const struct start *start = argument;
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_execve, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_execveat, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SBX_PRIVATE_CALL, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
    struct rlimit64 tag = {TAG | 1, TAG | 0xffffffffu};
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    syscall(SYS_prlimit64, 0, RLIMIT_LOCKS, &tag, NULL);
    long flags = SECCOMP_FILTER_FLAG_NEW_LISTENER | 1 << 5 /* WAIT_KILLABLE_RECV */;
    int listener = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
    if (write(start->report, &listener, sizeof listener) != sizeof listener || listener < 0) _exit(126);
    syscall(SYS_close_range, 3, ~0u, 2 /* UNSHARE, and close */);
    execv(start->argv[0], start->argv);
    perror(start->argv[0]);
    _exit(errno == ENOENT ? 127 : 126);
}

static int serve_until_end(pid_t child, int events) {
    int status;
    struct rusage usage;
    for (;;) {
        struct signalfd_siginfo info;
        if (read(events, &info, sizeof info) < 0) return 125;
        for (pid_t pid; (pid = trace_reap(&status, &usage)) > 0;) {
            if (WIFSTOPPED(status)) return fprintf(stderr, "probe: reaped a stop\n"), 125;
            if (pid == child) return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        }
    }
}

int main(int argc, char **argv) {
    if (argc < 3) return 125;
    proc_fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int stub = open(argv[1], O_RDONLY | O_CLOEXEC), ends[2];
    if (stub < 0 || exec_setup(stub) < 0 || pipe2(ends, O_CLOEXEC) < 0) return 125;
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    sigset_t children;
    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    sigprocmask(SIG_BLOCK, &children, NULL);
    struct sigaction ends_only = {.sa_handler = SIG_DFL, .sa_flags = SA_NOCLDSTOP};
    sigaction(SIGCHLD, &ends_only, NULL);
    int events = signalfd(-1, &children, SFD_CLOEXEC), listener = -1;
    struct start start = {argv + 2, ends[1], 0};
    static _Alignas(16) char stack[65536];
    pid_t child = clone(begin, stack + sizeof stack, CLONE_FILES | SIGCHLD, &start);
    if (child < 0 || read(ends[0], &listener, sizeof listener) != sizeof listener || listener < 0) return 125;
    guest_setup(listener, proc_fd, TAG, true);
    ioctl(listener, SECCOMP_IOW(4, __u64), 1ul); /* SYNC_WAKE_UP, where there is one */
    struct context context = {.umask = 022, .cwd = -1, .cwd_path = "/"};
    if (context_enter(child, &context) < 0) return 125;
    for (int i = 0; i < THREADS; i++) {
        pthread_t thread;
        if (thread_create(&thread, NULL, receive, NULL)) return 125;
    }
    int status = serve_until_end(child, events);
    if (getenv("PROBE_COUNT")) fprintf(stderr, "probe: %d execs\n", served);
    return status;
}
