#include "launcher.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "confine.h"
#include "context.h"
#include "exec.h"
#include "filter.h"
#include "loop.h"
#include "private.h"
#include "rpc.h"
#include "walk.h"

#define STACK_SIZE 65536
#define BEGINS_WITHIN_MS 30000

/* ---- in the launcher: trusted code, no guest byte has reached it ------------------------------------------------------- */

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

static void become(const struct private_command *next, uint64_t open_files) {
    struct stat status;
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL); /* the sentry blocks SIGCHLD for itself */
    if (fstat(next->memfd, &status) < 0) cannot(next, errno);
    char *memory = mmap(NULL, (size_t)status.st_size, PROT_READ | PROT_WRITE, MAP_PRIVATE, next->memfd, 0);
    if (memory == MAP_FAILED) cannot(next, errno);
    close(next->memfd);
    const struct sbx_command *command = (const struct sbx_command *)memory;
    char **vector = calloc((size_t)command->argc + command->envc + 2, sizeof *vector);
    if (vector == NULL) cannot(next, ENOMEM);
    char *at = memory + command->strings;
    for (uint32_t i = 0; i < command->argc; i++, at += strlen(at) + 1) vector[i] = at;
    char **environment = vector + command->argc + 1;
    for (uint32_t i = 0; i < command->envc; i++, at += strlen(at) + 1) environment[i] = at;
    if (command->flags & (SBX_COMMAND_TERMINAL | SBX_COMMAND_NEW_SESSION)) setsid();
    else setpgid(0, 0);
    int error = place_descriptors(next, command);
    if (!error) error = confine_files(open_files); /* no sooner: the stub and what was moved are above most limits */
    if (error < 0) cannot(next, -error);
    if (command->flags & SBX_COMMAND_TERMINAL) ioctl(0, TIOCSCTTY, 0);
    if (ask(PRIVATE_START, (void *)next->number, 0, 0) < 0) _exit(127);
    syscall(SYS_execveat, PRIVATE_STUB_FD, "", vector, environment, AT_EMPTY_PATH);
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

/* ---- in the sentry ------------------------------------------------------------------------------------------------------- */

/* A command between RUN and its end. */
struct command {
    struct command *next;
    uint64_t number;
    pid_t pid;                /* 0 until START */
    bool taken;               /* the launcher has it */
    bool ended;               /* off the list; freed when nobody uses it any more */
    int uses;                 /* threads of ours that serve its process: which SIGKILL may end meanwhile */
    int memfd;
    int fd_count, fd[SBX_COMMAND_FDS];
    struct context context;   /* that it starts in */
};
static struct command *commands;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t arrived = PTHREAD_COND_INITIALIZER;

static struct command *find(uint64_t number, pid_t pid) { /* with lock held */
    for (struct command *at = commands; at; at = at->next)
        if (number ? at->number == number : at->pid == pid) return at;
    return NULL;
}

static void drop_descriptors(struct command *command) {
    for (int i = 0; i < command->fd_count; i++) close(command->fd[i]);
    command->fd_count = 0;
}

static void dispose(struct command *command) { /* with lock held */
    if (!command->ended || command->uses > 0) return;
    drop_descriptors(command);
    if (command->context.cwd >= 0) close(command->context.cwd);
    if (command->memfd >= 0) close(command->memfd);
    free(command);
}

int launcher_run(uint64_t number, int memfd, const int *fds, int fd_count) {
    struct command *command = calloc(1, sizeof *command);
    if (command == NULL || fd_count > SBX_COMMAND_FDS) {
        free(command);
        close(memfd);
        for (int i = 0; i < fd_count; i++) close(fds[i]);
        return command ? -E2BIG : -ENOMEM;
    }
    command->number = number;
    command->memfd = memfd;
    command->context.cwd = -1;
    command->fd_count = fd_count;
    memcpy(command->fd, fds, (size_t)fd_count * sizeof *fds);
    pthread_mutex_lock(&lock);
    struct command **at = &commands;
    while (*at) at = &(*at)->next;
    *at = command;
    pthread_cond_broadcast(&arrived);
    pthread_mutex_unlock(&lock);
    return 0;
}

static void forget(struct command *command) { /* with lock held */
    struct command **at = &commands;
    while (*at != command) at = &(*at)->next;
    *at = command->next;
    command->ended = true;
    dispose(command);
}

uint64_t launcher_command_of(pid_t pid) {
    pthread_mutex_lock(&lock);
    struct command *command = find(0, pid);
    uint64_t number = command ? command->number : 0;
    if (command) forget(command);
    pthread_mutex_unlock(&lock);
    return number;
}

/* The command of a process that asks (found by its number, it becomes that process's): it stays until it is put, though
 * the process may be killed and reaped any time. */
static struct command *hold(uint64_t number, pid_t pid) {
    pthread_mutex_lock(&lock);
    struct command *command = find(number, pid);
    if (command) command->uses++;
    if (command && number) command->pid = pid;
    pthread_mutex_unlock(&lock);
    return command;
}

static void put(struct command *command) {
    pthread_mutex_lock(&lock);
    command->uses--;
    dispose(command);
    pthread_mutex_unlock(&lock);
}

static void end(struct command *command) { /* of a command that no process of stands for */
    pthread_mutex_lock(&lock);
    command->uses--;
    if (command->ended) dispose(command);
    else forget(command);
    pthread_mutex_unlock(&lock);
}

pid_t launcher_pid_of(uint64_t number) {
    pthread_mutex_lock(&lock);
    struct command *command = find(number, 0);
    pid_t pid = command ? command->pid : 0;
    pthread_mutex_unlock(&lock);
    return pid;
}

static struct answer give(struct request *request, struct command *command) {
    struct private_command *out = (struct private_command *)request->buffer;
    memset(out, 0, sizeof *out);
    out->number = command->number;
    out->memfd = guest_inject(request->id, command->memfd, true);
    if (out->memfd < 0) return answer_error(-out->memfd);
    for (int i = 0; i < command->fd_count; i++) {
        out->fd[i] = guest_inject(request->id, command->fd[i], true);
        if (out->fd[i] < 0) return answer_error(-out->fd[i]);
        out->fd_count++;
    }
    drop_descriptors(command); /* our copies: the other ends must see their end */
    struct answer answer = answer_value(0);
    answer.silent = true;
    answer.out[0] = (struct answer_out){request->args[1], out, sizeof *out};
    return answer;
}

/* The launcher has made a process for a command: it may be killed before it asks START, and even be gone by now. */
static void note_made(uint64_t number, pid_t pid) {
    struct sbx_usage none = {0};
    pthread_mutex_lock(&lock);
    struct command *command = number ? find(number, 0) : NULL;
    bool waits = command && command->pid == 0;
    bool there = guest_context(pid) == CONTEXT_LAUNCHER; /* nobody but our own fresh children, dead or alive */
    if (waits && there) command->pid = pid; /* its end will be reported as any other's */
    else if (waits) forget(command);
    pthread_mutex_unlock(&lock);
    if (waits && !there) rpc_send(SBX_MSG_EXITED, number, SIGKILL, 0, &none, sizeof none, -1);
}

static struct answer next(struct request *request) {
    if ((pid_t)request->args[2] > 0) note_made(request->args[3], (pid_t)request->args[2]);
    loop_leave();
    pthread_mutex_lock(&lock);
    struct command *command = NULL;
    for (;;) {
        for (command = commands; command && command->taken;) command = command->next;
        if (command) break;
        pthread_cond_wait(&arrived, &lock);
    }
    command->taken = true;
    pthread_mutex_unlock(&lock);
    return give(request, command);
}

/* Copy what START and LOAD need out of the command's memfd, which the Supervisor made. */
static int read_command(const struct command *command, struct sbx_command *header, char *program, char *cwd) {
    if (pread(command->memfd, header, sizeof *header, 0) != sizeof *header) return -EPROTO;
    ssize_t got = pread(command->memfd, program, SBX_PATH_MAX, header->program);
    if (got <= 0 || memchr(program, 0, (size_t)got) == NULL) return -ENAMETOOLONG;
    got = pread(command->memfd, cwd, SBX_PATH_MAX, header->cwd);
    return got <= 0 || memchr(cwd, 0, (size_t)got) == NULL ? -ENAMETOOLONG : 0;
}

static int find_cwd(struct request *request, const char *cwd, struct context *context) {
    PLACE(place);
    int error = walk_absolute(request, cwd, WALK_FOLLOW, WALK_EXISTING, &place);
    if (error < 0) return error;
    context->cwd = place.special ? -1 : walk_open(&place, O_PATH | O_DIRECTORY, 0);
    if (context->cwd == -ELOOP && !request->careful) { /* a link: once more, with care */
        request->careful = true;
        return find_cwd(request, cwd, context);
    }
    if (context->cwd < 0 && !place.special) return context->cwd;
    context->cwd_mount = place.mount;
    strcpy(context->cwd_path, place.guest);
    return 0;
}

/* PATH of the command's own environment. */
static const char *search_path(const struct command *command, const struct sbx_command *header, char *text, size_t size) {
    ssize_t got = pread(command->memfd, text, size - 1, header->strings);
    if (got <= 0) return "";
    text[got] = 0;
    char *at = text;
    for (uint32_t i = 0; i < header->argc + header->envc && at < text + got; i++, at += strlen(at) + 1)
        if (i >= header->argc && strncmp(at, "PATH=", 5) == 0) return at + 5;
    return "/usr/local/bin:/usr/bin:/bin";
}

static int prepare(struct request *request, const char *cwd, const char *program, int *mount) {
    char path[2 * SBX_PATH_MAX];
    snprintf(path, sizeof path, "%s%s%s", program[0] == '/' ? "" : cwd, program[0] == '/' ? "" : "/", program);
    if (strlen(path) >= SBX_PATH_MAX) return -ENAMETOOLONG;
    int error = exec_prepare(request, path, cwd, mount);
    strcpy(request->path[0], path); /* for the record */
    return error;
}

static int prepare_by_search(struct request *request, const char *cwd, const char *program, const char *search, int *mount) {
    int error = -ENOENT;
    while (*search) {
        size_t length = strcspn(search, ":");
        char path[SBX_PATH_MAX];
        int made = snprintf(path, sizeof path, "%.*s/%s", (int)length, search, program);
        int tried = made < (int)sizeof path ? prepare(request, cwd, length ? path : program, mount) : -ENAMETOOLONG;
        if (tried != -ENOENT && tried != -ENOTDIR && tried != -EACCES) return tried;
        if (tried == -EACCES) error = tried;
        search += length + (search[length] == ':');
    }
    return error;
}

static int begin(struct request *request, struct command *command, bool *at_cwd, int *mount) {
    struct sbx_command header;
    char program[SBX_PATH_MAX], cwd[SBX_PATH_MAX];
    int error = read_command(command, &header, program, cwd);
    if (error) return error;
    error = find_cwd(request, cwd, &command->context);
    *at_cwd = error < 0;
    if (error) return error;
    command->context.umask = header.umask;
    if (!(header.flags & SBX_COMMAND_SEARCH)) return prepare(request, cwd, program, mount);
    size_t size = 2 * 1024 * 1024;
    char *text = malloc(size);
    if (text == NULL) return -ENOMEM;
    error = prepare_by_search(request, cwd, program, search_path(command, &header, text, size), mount);
    if (error < 0) strcpy(request->path[0], program);
    free(text);
    return error;
}

/* args[3]: the errno of what has failed before (the launcher itself asks where it could make no process). */
static struct answer start(struct request *request) {
    bool at_cwd = false, failed = request->args[3] != 0;
    struct command *command = request->args[1] ? hold(request->args[1], failed ? 0 : request->tid) : NULL;
    if (command == NULL) return answer_denied(ENOSYS);
    request->careful = true; /* there is no second try here */
    request->nr = SYS_execve; /* which it is, to whoever reads the records */
    request->paths = 1;
    request->path[0][0] = 0;
    int mount = -1, error = failed ? -(int)request->args[3] : begin(request, command, &at_cwd, &mount);
    if (error < 0) rpc_send(SBX_MSG_FAILED, command->number, -error, at_cwd, NULL, 0, -1);
    if (failed) end(command);
    else put(command);
    struct answer answer = answer_result(error < 0 ? error : 0);
    answer.mount = mount;
    return answer;
}

/* The first LOAD of a command: only now does its process become a guest. */
static int leave_launcher(struct request *request) {
    struct command *command = hold(0, request->tid);
    if (command == NULL) return -ENOSYS;
    exec_program_of(request->tid, command->context.exe);
    int error = context_enter(request->tid, &command->context);
    if (!error) rpc_send(SBX_MSG_STARTED, command->number, request->tid, 0, NULL, 0, -1); /* the kernel has taken the arguments */
    guest_close(&command->context.cwd);
    put(command);
    return error;
}

struct answer launcher_serve(struct request *request) {
    bool trusted = guest_context(request->tid) == CONTEXT_LAUNCHER;
    switch ((enum private_question)request->args[0]) {
    case PRIVATE_NEXT: if (trusted) return next(request); break;
    case PRIVATE_START: if (trusted) return start(request); break;
    case PRIVATE_LOAD:
        if (trusted) {
            int error = leave_launcher(request);
            if (error < 0) return answer_denied(-error);
        }
        return exec_private_load(request);
    case PRIVATE_NONE: case PRIVATE_TAKE: break; /* TAKE is borrow.c's, where it is expected */
    }
    return answer_denied(ENOSYS);
}
