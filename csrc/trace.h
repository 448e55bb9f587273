/* trace.h: one guest thread under ptrace for the length of one served call, made to run calls of ours from its own
 * `syscall` instruction. Alone may call ptrace and wait for a traced thread.
 *
 * A thread of ours traces one guest thread at a time and always waits for its end, or a sibling's exec would wait for
 * ever. Nothing is written to guest memory. Between trace_stop and trace_return every signal but SIGKILL and SIGSTOP is
 * blocked, so no code of the guest's runs there unless the guest overwrites the instruction itself: then, as with
 * anything else unexpected, it is killed. */
#ifndef SBX_TRACE_H
#define SBX_TRACE_H
#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>
#include <sys/user.h>

struct trace {
    pid_t tid, tgid;
    bool attached;
    bool waits_for_any;             /* see trace_attach */
    uint64_t mask;                  /* the thread's own signal mask */
    struct user_regs_struct saved;  /* as its call returned */
};

enum trace_end {
    TRACE_GONE,     /* the thread is dead (perhaps by trace_kill) and reaped: touch nothing */
    TRACE_RETURNED, /* the call came back */
    TRACE_EXECED    /* the call was an exec: stopped before the first instruction, and the thread is `tgid` now */
};

/* Seize the thread, which waits for the answer to a notification. 0 or -errno. */
int trace_attach(struct trace *trace, pid_t tid, pid_t tgid);
/* Let it stop as soon as it is answered: to be called before the answer is sent. */
int trace_interrupt(struct trace *trace);
/* Wait for that stop; block signals. TRACE_RETURNED, or TRACE_GONE. */
enum trace_end trace_stop(struct trace *trace);
/* Run one call. *result gets what it returned. */
enum trace_end trace_call(struct trace *trace, long nr, const uint64_t args[6], int64_t *result);
/* Make a process of one thread, with a copy of the thread's memory and descriptors that no other thread can reach, and hold
 * it as the thread is held. 0 or -errno; -ESRCH: the thread is gone. trace_join ends it again. */
int trace_split(struct trace *trace, struct trace *child);
void trace_join(struct trace *trace, struct trace *child);
/* Let the guest go on as if its own call had returned `result`. */
void trace_return(struct trace *trace, int64_t result);
/* The same, but the guest makes its call `nr` again once it has taken its signals (or gets EINTR, as the kernel decides). */
void trace_again(struct trace *trace, long nr);
/* After TRACE_EXECED: let the new program begin. */
void trace_begin(struct trace *trace);
/* Let a thread go that was seized in error, before trace_stop. */
void trace_release(struct trace *trace);
/* Kill the whole process, wait for this thread's end. */
void trace_kill(struct trace *trace);

/* For the thread whose children the guest's processes are: the next one that has ended, reaped; 0 where there is none. A
 * parent's wait also sees (and steals) the trace stops of its own children, whichever thread traces: so nobody else may
 * wait. SIGCHLD is raised where it should be called again. */
pid_t trace_reap(int *status, struct rusage *usage);
#endif
