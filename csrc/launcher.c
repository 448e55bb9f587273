#include "launcher.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "confine.h"
#include "filter.h"
#include "private.h"

#define STACK_SIZE 65536
#define BEGINS_WITHIN_MS 30000

struct launch {
    const struct sbx_plan *plan;
    int stub, landlock_abi, report;
    bool own_users;
};

static long ask(enum private_question question, const void *argument, pid_t pid, uint64_t number) {
    return syscall(SBX_PRIVATE_CALL, question, argument, pid, number);
}

/* Place the command's descriptors: first they all move above what they may become. The number of the stub is not to be had:
 * what stands there is executed as it is. */
static int place_descriptors(const struct private_command *next, const struct sbx_command *command) {
    int moved[SBX_COMMAND_FDS], highest = PRIVATE_STUB_FD;
    for (int i = 0; i < next->fd_count; i++) {
        if (command->fd[i] < 0 || command->fd[i] == PRIVATE_STUB_FD) return -EBADF;
        if (command->fd[i] > highest) highest = command->fd[i];
    }
    for (int i = 0; i < next->fd_count; i++) {
        moved[i] = fcntl(next->fd[i], F_DUPFD_CLOEXEC, highest + 1);
        if (moved[i] < 0) return -errno;
        close(next->fd[i]);
    }
    for (int i = 0; i < next->fd_count; i++)
        if (dup2(moved[i], command->fd[i]) < 0) return -errno;
    return 0;
}

/* The command cannot start: its caller is told. */
static _Noreturn void cannot(const struct private_command *next, int error) {
    ask(PRIVATE_START, (void *)next->number, 0, (uint64_t)error);
    _exit(127);
}

/* argv, and after it and its NULL envp: pointers into the command's own strings. NULL: no memory. */
static char **point_at_strings(const struct sbx_command *command) {
    char **vector = calloc((size_t)command->argc + command->envc + 2, sizeof *vector);
    char *at = (char *)command + command->strings;
    for (uint32_t i = 0; vector && i < command->argc + command->envc; i++, at += strlen(at) + 1)
        vector[i < command->argc ? i : i + 1] = at;
    return vector;
}

static _Noreturn void become(const struct private_command *next, uint64_t open_files) {
    struct stat status;
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL); /* the sentry blocks SIGCHLD for itself */
    if (fstat(next->memfd, &status) < 0) cannot(next, errno);
    void *memory = mmap(NULL, (size_t)status.st_size, PROT_READ | PROT_WRITE, MAP_PRIVATE, next->memfd, 0);
    if (memory == MAP_FAILED) cannot(next, errno);
    close(next->memfd);
    const struct sbx_command *command = memory;
    char **vector = point_at_strings(command);
    if (vector == NULL) cannot(next, ENOMEM);
    if (command->flags & (SBX_COMMAND_TERMINAL | SBX_COMMAND_NEW_SESSION)) setsid();
    else setpgid(0, 0);
    int error = place_descriptors(next, command);
    if (!error) error = confine_files(open_files); /* no sooner: the stub and what was moved are above most limits */
    if (error < 0) cannot(next, -error);
    if (command->flags & SBX_COMMAND_TERMINAL) ioctl(0, TIOCSCTTY, 0);
    if (ask(PRIVATE_START, (void *)next->number, 0, 0) < 0) _exit(127);
    syscall(SYS_execveat, PRIVATE_STUB_FD, "", vector, vector + command->argc + 1, AT_EMPTY_PATH);
    cannot(next, errno); /* E2BIG, ENOMEM: the kernel copies the arguments */
}

static _Noreturn void serve_commands(uint64_t open_files) {
    pid_t made = 0;
    uint64_t number = 0;
    for (;;) {
        struct private_command next = {0};
        if (ask(PRIVATE_NEXT, &next, made, number) < 0) _exit(0);
        number = next.number;
        made = (pid_t)syscall(SYS_clone, CLONE_PARENT | SIGCHLD, NULL, NULL, NULL, NULL);
        if (made == 0) become(&next, open_files);
        if (made < 0) ask(PRIVATE_START, (void *)next.number, 0, (uint64_t)errno);
        for (int i = 0; i < next.fd_count; i++) close(next.fd[i]);
        close(next.memfd);
    }
}

static int launch(void *argument) {
    const struct launch *launch = argument;
    const struct sbx_plan *plan = launch->plan;
    const char *base = (const char *)plan;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int listener = confine_limits(&plan->limits, plan->tag, launch->own_users);
    if (!listener) listener = confine_guest(launch->stub, launch->landlock_abi);
    if (!listener) listener = filter_install(base + plan->guest_filter[1], plan->guest_filter_count[1]);
    if (!listener) listener = filter_listen(base + plan->guest_filter[0], plan->guest_filter_count[0]);
    if (write(launch->report, &listener, sizeof listener) != sizeof listener || listener < 0) _exit(1);
    close(launch->report);
    /* Until here the table is the sentry's own; from here it is a copy that keeps only the stub. */
    if (syscall(SYS_close_range, ~0u - 1, ~0u, 2 /* CLOSE_RANGE_UNSHARE */) < 0) _exit(1);
    if (dup3(launch->stub, PRIVATE_STUB_FD, O_CLOEXEC) < 0) _exit(1);
    syscall(SYS_close_range, 3, PRIVATE_STUB_FD - 1, 0);
    syscall(SYS_close_range, PRIVATE_STUB_FD + 1, ~0u, 0);
    setsid();
    serve_commands(plan->limits.open_files);
}

int launcher_begin(const struct sbx_plan *plan, int stub, int landlock_abi, bool own_users, pid_t *pid) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0) return -errno;
    static struct launch start; /* the launcher's own copy */
    static uint8_t stack[STACK_SIZE] __attribute__((aligned(16)));
    start = (struct launch){plan, stub, landlock_abi, ends[1], own_users};
    *pid = clone(launch, stack + STACK_SIZE, CLONE_FILES | SIGCHLD, &start);
    if (*pid >= 0) return ends[0]; /* the write end is the launcher's as well: it closes it */
    int error = errno;
    close(ends[0]);
    close(ends[1]);
    return -error;
}

int launcher_listener(int report) {
    int listener = -EPROTO;
    struct pollfd polled = {.fd = report, .events = POLLIN}; /* the write end is in our table too: its death would not be seen */
    if (poll(&polled, 1, BEGINS_WITHIN_MS) <= 0) return -ETIMEDOUT;
    if (read(report, &listener, sizeof listener) != sizeof listener) listener = -EPROTO;
    close(report);
    return listener;
}
