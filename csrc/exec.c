#include "exec.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "borrow.h"
#include "context.h"
#include "image.h"
#include "loop.h"
#include "trace.h"

#ifndef AT_EXECVE_CHECK
#define AT_EXECVE_CHECK 0x10000 /* Linux 6.14 */
#endif
#define SLOTS 256                    /* execs at once, from the call to the LOAD */
#define WAITING_MAX 192              /* threads of ours that may wait for a slot; with SLOTS, less than the pool */
#define STACK_LIMIT_MAX (24u << 20)  /* soft RLIMIT_STACK up to which a quarter of it bounds the arguments */

/* An exec is DANCING while its thread is traced, PENDING from the exec stop to the LOAD, LOADING while that is served. */
enum state { FREE, DANCING, PENDING, LOADING };
struct slot { enum state state; pid_t tgid, tid; bool armed; uint64_t args[6]; };

static struct slot slots[SLOTS];
static struct image images[SLOTS]; /* apart, so that a search through the slots stays small */
static int waiting;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

static int stub = -1;
static struct stat stub_status;

int exec_setup(int fd) {
    stub = fd;
    return fstat(stub, &stub_status) < 0 ? -errno : 0;
}

/* ---- slots ------------------------------------------------------------------------------------------------------------ */

static int find(pid_t tgid, enum state state) { /* with lock held */
    for (int i = 0; i < SLOTS; i++)
        if (slots[i].state == state && slots[i].tgid == tgid) return i;
    return -1;
}

static void release(int slot) { /* with lock held */
    if (slots[slot].state != DANCING) image_done(&images[slot]);
    slots[slot] = (struct slot){0};
    pthread_cond_broadcast(&changed);
}

static void slot_release(int slot) {
    pthread_mutex_lock(&lock);
    release(slot);
    pthread_mutex_unlock(&lock);
}

/* A process that was killed before its LOAD leaves its slot behind: freed when its number comes again, or for want of slots. */
static int find_free(pid_t tgid) { /* with lock held */
    int old = find(tgid, PENDING);
    if (old >= 0) release(old);
    for (int i = 0; i < SLOTS; i++)
        if (slots[i].state == FREE) return i;
    for (int i = 0; i < SLOTS; i++)
        if (slots[i].state == PENDING && kill(slots[i].tgid, 0) < 0 && errno == ESRCH) {
            release(i);
            return i;
        }
    return -1;
}

/* A slot in state DANCING. One dance at a time in a thread group, or two execs would wait for each other's threads. */
static int slot_take(const struct request *request, pid_t tgid) {
    int slot = -1;
    pthread_mutex_lock(&lock);
    while (find(tgid, DANCING) >= 0 || (slot = find_free(tgid)) < 0) {
        if (waiting >= WAITING_MAX) break;
        waiting++;
        pthread_cond_wait(&changed, &lock);
        waiting--;
        if (!guest_alive(request->id)) break; /* the other exec has ended this thread */
    }
    if (slot >= 0) slots[slot] = (struct slot){.state = DANCING, .tgid = tgid, .tid = request->tid};
    pthread_mutex_unlock(&lock);
    return slot >= 0 ? slot : -EAGAIN;
}

static void slot_keep(int slot, const struct image *image) {
    pthread_mutex_lock(&lock);
    images[slot] = *image;
    slots[slot].state = PENDING;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static int find_dancer(pid_t tid) { /* with lock held */
    for (int i = 0; i < SLOTS; i++)
        if (slots[i].state == DANCING && slots[i].armed && slots[i].tid == tid) return i;
    return -1;
}

bool exec_expected(struct request *request) {
    pthread_mutex_lock(&lock);
    int slot = find_dancer(request->tid);
    bool expected = slot >= 0 && request->nr == SYS_execveat && request->path[0][0] == '\0' &&
                    memcmp(request->args, slots[slot].args, sizeof slots[slot].args) == 0;
    pthread_mutex_unlock(&lock);
    return expected;
}

/* A thread that dances makes no other call: the guest changed the string under it. */
static bool is_misstep(const struct request *request) {
    pthread_mutex_lock(&lock);
    int slot = find_dancer(request->tid);
    pid_t tgid = slot < 0 ? 0 : slots[slot].tgid;
    pthread_mutex_unlock(&lock);
    if (slot >= 0) kill(tgid, SIGKILL);
    return slot >= 0;
}

/* ---- limits of the guest that stand in the way for a moment ------------------------------------------------------------ */

/* A descriptor for the guest where its table is full: the soft limit is raised for as long as it takes. */
static int inject(const struct request *request, int fd) {
    struct rlimit64 old, raised;
    int number = guest_inject(request->id, fd, true);
    if (number != -EMFILE || syscall(SYS_prlimit64, request->tid, RLIMIT_NOFILE, NULL, &old) < 0) return number;
    raised = (struct rlimit64){old.rlim_max, old.rlim_max};
    if (old.rlim_cur >= old.rlim_max || syscall(SYS_prlimit64, request->tid, RLIMIT_NOFILE, &raised, NULL) < 0) return number;
    number = guest_inject(request->id, fd, true);
    syscall(SYS_prlimit64, request->tid, RLIMIT_NOFILE, &old, NULL);
    return number;
}

/* The strings of a `#!` line come on the stack later, by the stub, but count now: a quarter of the stack's limit bounds
 * the arguments, so it is lowered by four times their size while the kernel copies. */
static bool lower_stack(pid_t tgid, const struct image *image, struct rlimit64 *old) {
    uint64_t bytes = image->load.script ? image->load.prefix_length : 0;
    if (bytes == 0 || syscall(SYS_prlimit64, tgid, RLIMIT_STACK, NULL, old) < 0) return false;
    if (old->rlim_cur > STACK_LIMIT_MAX || old->rlim_cur <= 4 * bytes) return false;
    struct rlimit64 lowered = {old->rlim_cur - 4 * bytes, old->rlim_max};
    return syscall(SYS_prlimit64, tgid, RLIMIT_STACK, &lowered, NULL) == 0;
}

/* ---- the dance -------------------------------------------------------------------------------------------------------- */

/* Errors that say something about the guest's own memory and limits. Any other would tell of the host's files. */
static bool is_own_error(int64_t result) {
    return result == -E2BIG || result == -ENOMEM || result == -EFAULT || result == -EAGAIN;
}

static bool runs_stub(pid_t tgid) {
    char name[32];
    struct stat status;
    snprintf(name, sizeof name, "%d/exe", tgid);
    return fstatat(guest_proc(), name, &status, 0) == 0 && status.st_dev == stub_status.st_dev &&
           status.st_ino == stub_status.st_ino;
}

/* INVARIANT no-continue: another thread may have swapped the descriptor or the string under the call; here the new
 * program has not run an instruction, and it is the stub or it is dead. */
static bool arrive(struct trace *trace, int slot, const struct image *image, struct context *context) {
    if (!runs_stub(trace->tgid)) return false;
    struct context entered = *context;
    strcpy(entered.exe, image->exe);
    if (context_enter(trace->tgid, &entered) < 0) return false;
    slot_keep(slot, image);
    return true;
}

static void arm(int slot, const uint64_t args[6]) {
    pthread_mutex_lock(&lock);
    memcpy(slots[slot].args, args, sizeof slots[slot].args);
    slots[slot].armed = true;
    pthread_mutex_unlock(&lock);
}

static void disarm(int slot) {
    pthread_mutex_lock(&lock);
    slots[slot].armed = false;
    pthread_mutex_unlock(&lock);
}

static void come_back(struct trace *trace, int slot, int injected, int64_t result) {
    int64_t closed = 0;
    const uint64_t args[6] = {(uint64_t)injected};
    disarm(slot); /* from its return on, the thread may call exec again */
    if (!is_own_error(result)) trace_kill(trace);
    else if (trace_call(trace, SYS_close, args, &closed) == TRACE_RETURNED) trace_return(trace, result);
}

/* The path's own NUL is the empty string of the new call; argv and envp are the guest's. */
static enum trace_end call_stub(struct trace *trace, const struct request *request, int slot, int injected, int64_t *result) {
    bool at = request->nr == SYS_execveat;
    const uint64_t args[6] = {(uint64_t)injected, request->args[at] + strlen(request->path[0]), request->args[at + 1],
                              request->args[at + 2], AT_EMPTY_PATH, trace->saved.r9};
    arm(slot, args);
    return trace_call(trace, SYS_execveat, args, result);
}

/* True where the image has been handed on to the slot; the caller's thread has been answered in any case. */
static bool dance(struct trace *trace, const struct request *request, int slot, int injected, const struct image *image,
                  struct context *context) {
    int64_t result = 0;
    struct rlimit64 stack;
    if (trace_stop(trace) != TRACE_RETURNED) return false;
    bool lowered = lower_stack(trace->tgid, image, &stack);
    enum trace_end end = call_stub(trace, request, slot, injected, &result);
    if (lowered && end != TRACE_GONE) syscall(SYS_prlimit64, trace->tgid, RLIMIT_STACK, &stack, NULL);
    if (end == TRACE_RETURNED) come_back(trace, slot, injected, result);
    if (end != TRACE_EXECED) return false;
    if (!arrive(trace, slot, image, context)) {
        trace_kill(trace);
        return false;
    }
    trace_begin(trace);
    return true;
}

static struct answer redirect(struct request *request, int slot, pid_t tgid, struct image *image, struct context *context) {
    struct trace trace;
    int injected = inject(request, stub);
    int error = injected < 0 ? injected : trace_attach(&trace, request->tid, tgid);
    if (error < 0) {
        slot_release(slot);
        return answer_error(-error);
    }
    /* INVARIANT still-there: the number still means the thread that asked, which waits for us. */
    if (!guest_alive(request->id) || trace_interrupt(&trace) < 0) {
        trace_release(&trace);
        slot_release(slot);
        return answer_error(ESRCH);
    }
    struct answer answer = answer_value(0);
    answer.mount = image->mount;
    answer_send(request, &answer);
    if (dance(&trace, request, slot, injected, image, context)) image->program = image->interpreter = -1;
    else slot_release(slot);
    return (struct answer){.kind = ANSWER_SENT};
}

static struct answer serve(struct request *request, struct image *image) {
    int error = image_resolve(request, image);
    if (error == 0 && borrow_stands()) error = -EACCES; /* its thread had to be held for a descriptor that the caller gave */
    if (error < 0) {
        struct answer answer = image->denied ? answer_denied(-error) : answer_error(-error);
        answer.mount = image->mount;
        return answer;
    }
    if (request->flags & AT_EXECVE_CHECK) return answer_value(0);
    pid_t tgid = guest_leader(request->tid);
    struct context *context = context_of(request->tid);
    if (tgid < 0 || context == NULL) {
        context_put(context);
        return answer_error(ESRCH);
    }
    loop_leave(); /* or nobody would receive the second call */
    int slot = slot_take(request, tgid);
    struct answer answer = slot < 0 ? answer_error(-slot) : redirect(request, slot, tgid, image, context);
    context_put(context);
    return answer;
}

struct answer exec_serve(struct request *request) {
    struct image image;
    if (is_misstep(request)) return answer_denied(EPERM);
    struct answer answer = serve(request, &image);
    image_done(&image);
    return answer;
}

/* ---- the stub's question ------------------------------------------------------------------------------------------------ */

int exec_prepare(struct request *request, const char *path, const char *cwd) {
    struct image image;
    int error = image_resolve_path(request, path, cwd, &image);
    if (error == 0 && (error = slot_take(request, request->tid)) >= 0) {
        slot_keep(error, &image);
        return 0;
    }
    image_done(&image);
    return error;
}

void exec_program_of(pid_t pid, char exe[SBX_PATH_MAX]) {
    pthread_mutex_lock(&lock);
    int slot = find(pid, PENDING);
    strcpy(exe, slot < 0 ? "" : images[slot].exe);
    pthread_mutex_unlock(&lock);
}

/* After an exec the process has one thread, whose number is the group's. */
static int start_load(pid_t tgid) {
    pthread_mutex_lock(&lock);
    int slot = find(tgid, PENDING);
    if (slot >= 0) slots[slot].state = LOADING;
    pthread_mutex_unlock(&lock);
    return slot;
}

static void end_load(int slot, bool again) {
    pthread_mutex_lock(&lock);
    if (again) slots[slot].state = PENDING;
    else release(slot);
    pthread_mutex_unlock(&lock);
}

/* A table with room for one descriptor more: then the interpreter's is asked for when the program's has been closed. */
static int give(const struct request *request, struct image *image) {
    struct private_load *load = &image->load;
    load->interpreter = -1;
    if (image->program >= 0) {
        load->program = inject(request, image->program);
        if (load->program < 0) return load->program;
        guest_close(&image->program);
    }
    if (image->interpreter < 0) return 0;
    load->interpreter = inject(request, image->interpreter);
    if (load->interpreter == -EMFILE) {
        load->interpreter = PRIVATE_ASK_AGAIN;
        return 0;
    }
    return load->interpreter < 0 ? load->interpreter : 0;
}

struct answer exec_private_load(struct request *request) {
    int slot = start_load(request->tid);
    if (slot < 0) return answer_denied(ENOSYS);
    struct image *image = &images[slot];
    int error = give(request, image);
    struct answer answer = answer_result(error);
    if (error == 0) {
        struct private_load *copy = (struct private_load *)request->buffer;
        memcpy(copy, &image->load, sizeof *copy);
        size_t head = offsetof(struct private_load, execfn) + strlen(copy->execfn) + 1;
        answer.out[0] = (struct answer_out){request->args[1], copy, head};
        answer.out[1] = (struct answer_out){request->args[1] + offsetof(struct private_load, prefix), copy->prefix,
                                            copy->prefix_length};
    }
    end_load(slot, error == 0 && image->load.interpreter == PRIVATE_ASK_AGAIN);
    return answer;
}
