#include "exec.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "borrow.h"
#include "burst.h"
#include "context.h"
#include "exec_slots.h"
#include "loop.h"
#include "trace.h"

#ifndef AT_EXECVE_CHECK
#define AT_EXECVE_CHECK 0x10000 /* Linux 6.14 */
#endif
#define STACK_LIMIT_MAX (24u << 20)  /* soft RLIMIT_STACK up to which a quarter of it bounds the arguments */

static int stub = -1;
static struct stat stub_status;

int exec_setup(int fd) {
    stub = fd;
    return fstat(stub, &stub_status) < 0 ? -errno : 0;
}

/* A thread that was armed makes no other call: the guest changed the string under it. */
static bool is_misstep(const struct request *request) {
    pid_t tgid = slots_group_of(request->tid);
    if (tgid) kill(tgid, SIGKILL);
    return tgid != 0;
}

bool exec_expected(const struct request *request) { return slots_expects(request); }
bool exec_deferred(struct seccomp_notif *notification) { return slots_deferred(notification); }

/* ---- limits of the guest that stand in the way for a moment ------------------------------------------------------------ */

static int inject_beyond(const struct request *request, int fd) {
    struct rlimit64 files;
    bool extended = guest_extend_files(request->tid, &files);
    int number = guest_inject(request->id, fd, true);
    if (extended) guest_limit_files(request->tid, &files);
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
    slots_keep(slot, image);
    return true;
}

/* The one record of an exec, before the guest can know its outcome. */
static void note(const struct request *request, const struct image *image, int64_t result) {
    struct answer outcome = answer_result(result);
    outcome.mount = image->mount;
    answer_record(request, &outcome);
}

static void come_back(struct trace *trace, int slot, int injected, int64_t result) {
    int64_t closed = 0;
    const uint64_t args[6] = {(uint64_t)injected};
    slots_disarm(slot); /* from its return on, the thread may call exec again */
    if (!is_own_error(result)) trace_kill(trace);
    else if (trace_call(trace, SYS_close, args, &closed) == TRACE_RETURNED) trace_return(trace, result);
}

/* The path's own NUL is the empty string of the new call; argv and envp are the guest's. */
static enum trace_end call_stub(struct trace *trace, const struct request *request, int slot, int injected, int64_t *result) {
    bool at = request->nr == SYS_execveat;
    const uint64_t args[6] = {(uint64_t)injected, request->args[at] + strlen(request->path[0]), request->args[at + 1],
                              request->args[at + 2], AT_EMPTY_PATH, trace->saved.r9};
    slots_arm(slot, args);
    return trace_call(trace, SYS_execveat, args, result);
}

/* True where the image has been handed on to the slot; the caller's thread has been answered in any case. */
static bool dance(struct trace *trace, const struct request *request, int slot, uint64_t limit, struct image *image,
                  struct context *context) {
    int64_t result = 0;
    struct rlimit64 stack;
    bool stopped = trace_stop(trace) == TRACE_RETURNED;
    int injected = stopped ? (int)trace->saved.rax : -ESRCH; /* the stub's descriptor, or why there is none */
    if (stopped && trace->saved.orig_rax != request->nr) trace_kill(trace);
    if (!stopped || !trace->attached || injected < 0) {
        note(request, image, injected < 0 ? injected : -ESRCH);
        if (stopped && trace->attached) trace_return(trace, injected);
        return false;
    }
    image->table_full = (uint64_t)injected >= limit;
    bool lowered = lower_stack(trace->tgid, image, &stack);
    enum trace_end end = call_stub(trace, request, slot, injected, &result);
    if (lowered && end != TRACE_GONE) syscall(SYS_prlimit64, trace->tgid, RLIMIT_STACK, &stack, NULL);
    bool arrived = end == TRACE_EXECED && arrive(trace, slot, image, context);
    note(request, image, arrived ? 0 : end == TRACE_RETURNED ? result : -ESRCH);
    if (end == TRACE_RETURNED) come_back(trace, slot, injected, result);
    else if (end == TRACE_EXECED && !arrived) trace_kill(trace);
    if (arrived) {
        burst_became(request->tid, trace->tgid);
        trace_begin(trace);
    }
    return arrived;
}

/* The answer is the stub's descriptor: given and answered in one, which spares the guest's thread a wake-up. Returns the
 * first number that would be beyond the guest's own limit. */
static uint64_t give_stub(struct request *request) {
    struct rlimit64 files = {0, 0};
    struct answer answer = answer_fd(fcntl(stub, F_DUPFD_CLOEXEC, 0), O_CLOEXEC);
    if (answer.fd < 0) answer = answer_error(ENFILE);
    answer.silent = true;
    bool extended = guest_extend_files(request->tid, &files);
    answer_send(request, &answer);
    if (extended) guest_limit_files(request->tid, &files);
    return files.rlim_cur;
}

static struct answer redirect(struct request *request, int slot, pid_t tgid, struct image *image, struct context *context) {
    struct trace trace;
    burst_exec(request->tid);
    int error = trace_attach(&trace, request->tid, tgid);
    if (error < 0) {
        slots_release(slot);
        return answer_error(-error);
    }
    /* INVARIANT still-there: the number still means the thread that asked, which waits for us. */
    if (!guest_alive(request->id) || trace_interrupt(&trace) < 0) {
        trace_release(&trace);
        slots_release(slot);
        return answer_error(ESRCH);
    }
    uint64_t limit = give_stub(request);
    if (dance(&trace, request, slot, limit, image, context)) image->program = image->interpreter = -1;
    else slots_release(slot);
    return (struct answer){.kind = ANSWER_SENT};
}

static struct answer serve(struct request *request, struct image *image) {
    int error = image_find(request, image);
    bool asks = request->flags & AT_EXECVE_CHECK;
    /* Somebody has to receive the second call: woken here, it comes to that while we look at the rest. */
    bool left = error == 0 && !asks && loop_hand_on();
    if (error == 0 && !asks) error = image_follow(request, image);
    if (error == 0 && borrow_stands()) error = -EACCES; /* its thread had to be held for a descriptor that the caller gave */
    if (error < 0) {
        struct answer answer = image->denied ? answer_denied(-error) : answer_error(-error);
        answer.mount = image->mount;
        return answer;
    }
    if (asks) return answer_value(0);
    pid_t tgid = guest_leader(request->tid);
    struct context *context = context_of(request->tid);
    if (tgid < 0 || context == NULL) {
        context_put(context);
        return answer_error(ESRCH);
    }
    int slot = left && loop_leave() ? slots_take_or_defer(request, tgid) : -EAGAIN;
    struct answer answer = {.kind = ANSWER_SENT}; /* or will be */
    if (slot >= 0) answer = redirect(request, slot, tgid, image, context);
    else if (slot != -EBUSY) answer = answer_error(-slot);
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

int exec_prepare(struct request *request, const char *path, const char *cwd, int *mount) {
    struct image image;
    int error = image_find_path(request, path, cwd, &image);
    *mount = image.mount;
    int slot = error < 0 ? error : slots_take(request, request->tid);
    if (slot < 0) {
        image_done(&image);
        return slot;
    }
    image.table_full = true; /* perhaps: the stub's descriptor stands far above the command's */
    slots_keep(slot, &image);
    return 0;
}

void exec_program_of(pid_t pid, char exe[SBX_PATH_MAX]) { slots_program_of(pid, exe); }

/* PRIVATE_LOAD's descriptors. The answer brings one by itself: the place that the stub's own had is free again. */
static struct answer load_by_answer(const struct request *request, struct image *image) {
    struct private_load *load = &image->load;
    if (image->program < 0) return answer_fd(take(&image->interpreter), O_CLOEXEC); /* asked again */
    if (image->interpreter >= 0) load->interpreter = guest_inject(request->id, image->interpreter, true);
    if (load->interpreter == -EMFILE) load->interpreter = PRIVATE_ASK_AGAIN;
    else if (load->interpreter < -1) return answer_error(-load->interpreter);
    else guest_close(&image->interpreter);
    return answer_fd(take(&image->program), O_CLOEXEC);
}

/* The stub's own place was beyond the limit: every descriptor that is given is, too. */
static struct answer load_beyond(const struct request *request, struct image *image) {
    if (image->interpreter >= 0) image->load.interpreter = inject_beyond(request, image->interpreter);
    int number = inject_beyond(request, image->program);
    guest_close(&image->interpreter);
    return image->load.interpreter < -1 ? answer_error(-image->load.interpreter) : answer_result(number);
}

struct answer exec_private_load(struct request *request) {
    int slot = slots_load(request->tid); /* one thread after an exec, whose number is the group's */
    if (slot < 0) return answer_denied(ENOSYS);
    struct image *image = slots_image(slot);
    struct private_load *load = &image->load;
    load->interpreter = -1;
    struct answer answer = image->table_full ? load_beyond(request, image) : load_by_answer(request, image);
    uint64_t to = request->args[1];
    answer.out[0] = (struct answer_out){to, load, offsetof(struct private_load, execfn) + strlen(load->execfn) + 1};
    answer.out[1] = (struct answer_out){to + offsetof(struct private_load, prefix), load->prefix, load->prefix_length};
    answer.silent = true;
    bool again = load->interpreter == PRIVATE_ASK_AGAIN;
    if (again) slots_load_again(slot); /* before the stub can ask */
    answer_send(request, &answer);
    if (!again) slots_release(slot);
    return (struct answer){.kind = ANSWER_SENT};
}
