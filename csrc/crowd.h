/* crowd.h: threads of a guest that call at the same time, and compute in between, are a crowd, for which two of ours receive: each soon
 * has a caller of its own on a processor of their own (burst.h). For others one is as fast or faster (docs/design.md): the second is
 * woken in vain for each call. */
#ifndef SBX_CROWD_H
#define SBX_CROWD_H
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "relaxed.h"

extern _Atomic pid_t crowd_last;  /* who called last */
extern atomic_int crowd_changes;  /* how often that was another than before, less how often it was not */
extern atomic_bool crowd_stands;

bool crowd_changed(pid_t tid, uint64_t now_ns);
/* A call came from this thread. Has a crowd begun? */
static inline bool crowd_received(pid_t tid, uint64_t now_ns) {
    return (tid != GET(crowd_last) || GET(crowd_changes)) && crowd_changed(tid, now_ns);
}
/* Those who called at the same time were found to compute in between: now; in the last second. */
void crowd_computed(uint64_t now_ns);
bool crowd_computes(uint64_t now_ns);
/* How many are to receive. */
static inline int crowd_receivers(void) { return GET(crowd_stands) ? 2 : 1; }
/* Is there a crowd still? To be looked at as bursts are. */
bool crowd_look(uint64_t now_ns);
#endif
