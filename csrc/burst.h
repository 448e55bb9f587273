/* burst.h: a guest thread that makes one served call after the other shares a processor with the thread that serves it, as
 * long as that lasts; and so do several together, while they are given descriptors and hardly compute in between. Giving a
 * descriptor wakes the guest's thread like any other wake-up; moved to an idle processor, that costs several times the call
 * (docs/design.md). So does one that executes a program, until that has made its first calls. */
#ifndef SBX_BURST_H
#define SBX_BURST_H
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define BURST_LOOK_MS 10
/* A call of thread `tid` has been received by this thread of ours, now. */
void burst_received(pid_t tid, uint64_t now_ns);
/* This thread of ours has given it a descriptor. */
void burst_given(pid_t tid);
/* Give back the processors of threads that have gone on to something else. Milliseconds to the next look; 0: none share any. */
int burst_look(uint64_t now_ns);
/* Thread `tid` waits for its exec; and, where that makes it the leader, is known by another number now. */
void burst_exec(pid_t tid);
void burst_became(pid_t tid, pid_t leader);
/* Give all back now: the guest asks for an affinity, and is shown its own, never a burst's. */
void burst_end(void);
/* Give all back, and share none from now on: the guest chooses its processors itself. */
void burst_never(void);
#endif
