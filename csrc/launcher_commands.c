#include "launcher.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "context.h"
#include "exec.h"
#include "guest.h"
#include "handed.h"
#include "loop.h"
#include "private.h"
#include "rpc.h"
#include "walk.h"

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

static void append(struct command *command) {
    pthread_mutex_lock(&lock);
    struct command **at = &commands;
    while (*at) at = &(*at)->next;
    *at = command;
    pthread_cond_broadcast(&arrived);
    pthread_mutex_unlock(&lock);
}

int launcher_run(uint64_t number, int memfd, const int *fds, int fd_count) {
    struct command *command = calloc(1, sizeof *command);
    int error = command == NULL ? -ENOMEM : fd_count > SBX_COMMAND_FDS ? -E2BIG : handed_note(fds, fd_count);
    if (error < 0) {
        free(command);
        close(memfd);
        for (int i = 0; i < fd_count; i++) close(fds[i]);
        return error;
    }
    command->number = number;
    command->memfd = memfd;
    command->context.cwd = -1;
    command->fd_count = fd_count;
    memcpy(command->fd, fds, (size_t)fd_count * sizeof *fds);
    append(command);
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
    request->nr = SYS_execve; /* which it is, to whoever reads the records */
    request->paths = 1;
    request->path[0][0] = 0;
    int mount = -1, error = failed ? -(int)request->args[3] : begin(request, command, &at_cwd, &mount);
    request->careful = true; /* who has failed is told once: there is no second try */
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
