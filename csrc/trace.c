#include "trace.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "guest.h"

#define OPTIONS (PTRACE_O_TRACEEXEC | PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL)
#define ALL_SIGNALS UINT64_MAX
#define RESTARTS(value) ((value) <= -512 && (value) >= -516) /* -ERESTARTSYS and its kin: the call begins again */

static long request(enum __ptrace_request what, pid_t tid, uint64_t address, uint64_t data) {
    return ptrace(what, tid, (void *)address, (void *)data) < 0 ? -errno : 0;
}

/* ---- ends --------------------------------------------------------------------------------------------------------------- */

/* Children of our own process that ended while they were traced: their status belongs to trace_reap. */
#define ENDED_MAX 512
static struct { pid_t pid; int status; struct rusage usage; } ended[ENDED_MAX];
static int ended_count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t taken = PTHREAD_COND_INITIALIZER;
static atomic_bool reap_again;

static void hand_over(pid_t pid, int status, const struct rusage *usage) {
    pthread_mutex_lock(&lock);
    while (ended_count == ENDED_MAX) pthread_cond_wait(&taken, &lock);
    ended[ended_count].pid = pid;
    ended[ended_count].status = status;
    ended[ended_count].usage = *usage;
    ended_count++;
    pthread_mutex_unlock(&lock);
    kill(getpid(), SIGCHLD);
}

static pid_t take_over(int *status, struct rusage *usage) {
    pid_t pid = 0;
    pthread_mutex_lock(&lock);
    if (ended_count > 0) {
        ended_count--;
        pid = ended[ended_count].pid;
        *status = ended[ended_count].status;
        *usage = ended[ended_count].usage;
        pthread_cond_signal(&taken);
    }
    pthread_mutex_unlock(&lock);
    return pid;
}

static pid_t reap_one(pid_t pid, int *status, struct rusage *usage) {
    siginfo_t info = {0};
    if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) < 0 || info.si_pid == 0) return 0;
    if (info.si_code == CLD_TRAPPED || info.si_code == CLD_STOPPED) return 0;
    return wait4(pid, status, __WALL | WNOHANG, usage) == pid ? pid : 0;
}

/* A child that is held in front of the others: they are looked at one by one, where the kernel lists them. */
static pid_t reap_behind(int *status, struct rusage *usage) {
    char text[4096];
    pid_t reaped = 0;
    size_t kept = 0;
    cleanup_close int fd = openat(guest_proc(), "thread-self/children", O_RDONLY | O_CLOEXEC);
    for (ssize_t got; fd >= 0 && !reaped && (got = read(fd, text + kept, sizeof text - 1 - kept)) > 0;) {
        text[kept + (size_t)got] = '\0';
        char *at = text;
        for (char *end; !reaped && (end = strchr(at, ' ')); at = end + 1) reaped = reap_one(atoi(at), status, usage);
        kept = strlen(at); /* the beginning of a number */
        memmove(text, at, kept);
    }
    return reaped;
}

pid_t trace_reap(int *status, struct rusage *usage) {
    for (;;) {
        pid_t pid = take_over(status, usage);
        if (pid > 0) return pid;
        atomic_store(&reap_again, true); /* before the look: a child that we see stopped is let go after it */
        siginfo_t info = {0};
        if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT | __WALL | __WNOTHREAD) < 0 || info.si_pid == 0) {
            atomic_store(&reap_again, false);
            return take_over(status, usage);
        }
        if (info.si_code == CLD_TRAPPED || info.si_code == CLD_STOPPED) return reap_behind(status, usage);
        if (wait4(info.si_pid, status, __WALL | WNOHANG, usage) == info.si_pid) return info.si_pid;
    }
}

/* The thread is traced no more: whoever looked for ended children meanwhile may have seen it instead. */
static void let_go(struct trace *trace) {
    trace->attached = false;
    if (atomic_exchange(&reap_again, false)) kill(getpid(), SIGCHLD);
}

/* The next stop of the thread: its signal with the ptrace event above it, or -1 for its end. A thread that is not the
 * leader takes the leader's id when it execs, and nothing wakes a wait for the old one: so there we wait for all that
 * this thread of ours traces, which is nothing else. This wait reaps: a thread that is no leader is waited for by nobody
 * else, and a process of another parent is handed on to it; only our own children end here. */
static int next_stop(struct trace *trace) {
    int status;
    struct rusage usage;
    pid_t pid;
    do pid = wait4(trace->waits_for_any ? -1 : trace->tid, &status, __WALL | __WNOTHREAD, &usage);
    while (pid < 0 && errno == EINTR);
    if (pid > 0 && WIFSTOPPED(status)) {
        trace->tid = pid;
        return status >> 8;
    }
    if (pid > 0 && pid == trace->tgid) hand_over(pid, status, &usage);
    let_go(trace);
    return -1;
}

static bool is_event(int stop, int event) {
    return stop >> 8 == event;
}

int trace_attach(struct trace *trace, pid_t tid, pid_t tgid) {
    *trace = (struct trace){.tid = tid, .tgid = tgid, .waits_for_any = tid != tgid};
    long error = request(PTRACE_SEIZE, tid, 0, OPTIONS);
    trace->attached = error == 0;
    return (int)error;
}

int trace_interrupt(struct trace *trace) {
    return (int)request(PTRACE_INTERRUPT, trace->tid, 0, 0);
}

void trace_kill(struct trace *trace) {
    if (!trace->attached) return;
    kill(trace->tgid, SIGKILL);
    while (next_stop(trace) >= 0) request(PTRACE_CONT, trace->tid, 0, 0);
}

void trace_release(struct trace *trace) {
    int stop = trace_interrupt(trace) < 0 ? 0 : next_stop(trace);
    if (stop < 0) return;
    int signal = is_event(stop, PTRACE_EVENT_STOP) ? 0 : stop & 0x7f;
    if (request(PTRACE_DETACH, trace->tid, 0, (uint64_t)signal) == 0) let_go(trace);
    else trace_kill(trace);
}

static enum trace_end give_up(struct trace *trace) {
    trace_kill(trace);
    return TRACE_GONE;
}

enum trace_end trace_stop(struct trace *trace) {
    int stop = next_stop(trace);
    if (stop < 0) return TRACE_GONE;
    uint64_t all = ALL_SIGNALS;
    if (!is_event(stop, PTRACE_EVENT_STOP) ||
        request(PTRACE_GETSIGMASK, trace->tid, sizeof trace->mask, (uint64_t)&trace->mask) != 0 ||
        request(PTRACE_SETSIGMASK, trace->tid, sizeof all, (uint64_t)&all) != 0 ||
        request(PTRACE_GETREGS, trace->tid, 0, (uint64_t)&trace->saved) != 0)
        return give_up(trace);
    return TRACE_RETURNED;
}

/* Go on to the next entry or return of a call. Job control is left for later: a thread that is told to stop goes on
 * here, and stops when it is let go. */
static int next_call_stop(struct trace *trace) {
    int signal = 0;
    for (;;) {
        if (request(PTRACE_SYSCALL, trace->tid, 0, (uint64_t)signal) == -ESRCH)
            signal = 0; /* being killed: the wait below tells */
        int stop = next_stop(trace);
        if (stop < 0 || stop == (SIGTRAP | 0x80) || is_event(stop, PTRACE_EVENT_EXEC) || is_event(stop, PTRACE_EVENT_CLONE)) return stop;
        signal = stop == SIGSTOP ? SIGSTOP : 0;
        if (!signal && !is_event(stop, PTRACE_EVENT_STOP)) {
            trace_kill(trace); /* a fault: the guest changed its code under the call */
            return -1;
        }
    }
}

static bool is_entry_of(struct trace *trace, const struct user_regs_struct *wanted) {
    struct user_regs_struct now;
    if (request(PTRACE_GETREGS, trace->tid, 0, (uint64_t)&now) != 0) return false;
    return now.orig_rax == wanted->rax && now.rip == wanted->rip + 2 && now.rdi == wanted->rdi &&
           now.rsi == wanted->rsi && now.rdx == wanted->rdx && now.r10 == wanted->r10 && now.r8 == wanted->r8 &&
           now.r9 == wanted->r9;
}

/* The instruction that made the notified call is two bytes before where it returned to. */
static struct user_regs_struct registers_for(const struct trace *trace, long nr, const uint64_t args[6]) {
    struct user_regs_struct registers = trace->saved;
    registers.rip -= 2;
    registers.rax = (uint64_t)nr;
    registers.orig_rax = UINT64_MAX; /* no call to restart */
    registers.rdi = args[0];
    registers.rsi = args[1];
    registers.rdx = args[2];
    registers.r10 = args[3];
    registers.r8 = args[4];
    registers.r9 = args[5];
    return registers;
}

enum trace_end trace_call(struct trace *trace, long nr, const uint64_t args[6], int64_t *result) {
    struct user_regs_struct registers = registers_for(trace, nr, args);
    if (request(PTRACE_SETREGS, trace->tid, 0, (uint64_t)&registers) != 0) return give_up(trace);
    do {
        int stop = next_call_stop(trace);
        if (stop < 0) return TRACE_GONE;
        if (is_event(stop, PTRACE_EVENT_EXEC) || !is_entry_of(trace, &registers)) return give_up(trace);
        stop = next_call_stop(trace);
        if (stop < 0) return TRACE_GONE;
        if (is_event(stop, PTRACE_EVENT_EXEC)) return TRACE_EXECED;
        struct user_regs_struct after;
        if (request(PTRACE_GETREGS, trace->tid, 0, (uint64_t)&after) != 0) return give_up(trace);
        *result = (int64_t)after.rax;
    } while (RESTARTS(*result));
    return TRACE_RETURNED;
}

/* ---- a process of its own for a moment --------------------------------------------------------------------------------- */

/* Its first stop, before it has run an instruction. */
static int hold_child(struct trace *child, const struct trace *of, pid_t pid) {
    *child = (struct trace){.tid = pid, .tgid = pid, .attached = true, .mask = of->mask};
    int stop = next_stop(child);
    if (stop >= 0 && is_event(stop, PTRACE_EVENT_STOP) && request(PTRACE_GETREGS, pid, 0, (uint64_t)&child->saved) == 0) return 0;
    if (stop >= 0) trace_kill(child);
    return -EAGAIN;
}

/* clone() without flags: nothing is shared, and its end is told to nobody. */
static int split(struct trace *trace, struct trace *child) {
    const uint64_t none[6] = {0};
    struct user_regs_struct registers = registers_for(trace, SYS_clone, none), after;
    if (request(PTRACE_SETREGS, trace->tid, 0, (uint64_t)&registers) != 0) return give_up(trace), -ESRCH;
    int stop = next_call_stop(trace);
    if (stop < 0) return -ESRCH;
    if (stop != (SIGTRAP | 0x80) || !is_entry_of(trace, &registers)) return give_up(trace), -ESRCH;
    unsigned long pid = 0;
    while ((stop = next_call_stop(trace)) >= 0 && is_event(stop, PTRACE_EVENT_CLONE))
        if (request(PTRACE_GETEVENTMSG, trace->tid, 0, (uint64_t)&pid) != 0) return give_up(trace), -ESRCH;
    if (stop < 0) {
        if (pid && hold_child(child, trace, (pid_t)pid) == 0) trace_kill(child);
        return -ESRCH;
    }
    if (request(PTRACE_GETREGS, trace->tid, 0, (uint64_t)&after) != 0) return give_up(trace), -ESRCH;
    return pid ? hold_child(child, trace, (pid_t)pid) : (int64_t)after.rax < 0 ? (int)after.rax : -EAGAIN;
}

int trace_split(struct trace *trace, struct trace *child) {
    bool any = trace->waits_for_any;
    child->attached = false;
    if (request(PTRACE_SETOPTIONS, trace->tid, 0, OPTIONS | PTRACE_O_TRACECLONE) != 0) return give_up(trace), -ESRCH;
    trace->waits_for_any = false; /* it does not exec meanwhile, and the child's stops are not its own */
    int error = split(trace, child);
    trace->waits_for_any = any;
    if (trace->attached && request(PTRACE_SETOPTIONS, trace->tid, 0, OPTIONS) != 0) return give_up(trace), -ESRCH;
    return error;
}

void trace_join(struct trace *trace, struct trace *child) {
    bool any = trace->waits_for_any;
    int64_t ignored;
    const uint64_t wait[6] = {(uint64_t)child->tgid, 0, 0, __WALL};
    trace_kill(child);
    trace->waits_for_any = false;
    if (trace->attached) trace_call(trace, SYS_wait4, wait, &ignored);
    trace->waits_for_any = any;
}

void trace_begin(struct trace *trace) {
    if (request(PTRACE_SETSIGMASK, trace->tid, sizeof trace->mask, (uint64_t)&trace->mask) != 0 ||
        request(PTRACE_DETACH, trace->tid, 0, 0) != 0) {
        trace_kill(trace);
        return;
    }
    let_go(trace);
}

static void leave(struct trace *trace, int64_t result, uint64_t restarts) {
    struct user_regs_struct registers = trace->saved;
    registers.rax = (uint64_t)result;
    registers.orig_rax = restarts;
    if (request(PTRACE_SETREGS, trace->tid, 0, (uint64_t)&registers) != 0) {
        trace_kill(trace);
        return;
    }
    trace_begin(trace);
}

void trace_return(struct trace *trace, int64_t result) { leave(trace, result, UINT64_MAX); }
void trace_again(struct trace *trace, long nr) { leave(trace, -512, (uint64_t)nr); }
