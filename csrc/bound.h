/* bound.h: threads of the guest that are bound to one processor for a while (burst.c), and what they fork meanwhile, which is bound
 * with them: all get back what they might use before. To be called by one thread at a time. */
#ifndef SBX_BOUND_H
#define SBX_BOUND_H
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "relaxed.h"

struct bound {
    struct bound *next;
    _Atomic pid_t tid; /* 0: none */
    int processor;
    long newest;       /* newest_pid() when it was bound */
    cpu_set_t before;  /* what it might use */
};

static inline cpu_set_t bound_only(int processor) {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(processor, &one);
    return one;
}

/* False: it may use one processor only, or not this one; or it is no thread of the guest. */
bool bound_begin(struct bound *bound, pid_t tid, int processor);
void bound_end(struct bound *bound);
/* Now and then: give back to what was forked. True: there may be some. */
bool bound_look(uint64_t now_ns);
/* The same at once, of all whose binding has ended. */
void bound_settle(void);
/* And no more: threads of one processor are the guest's own choice from now on. */
void bound_forget(void);
#endif
