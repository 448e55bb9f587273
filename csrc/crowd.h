/* crowd.h: threads of a guest that call at the same time, and are given descriptors, are a crowd, for which two of ours receive: each
 * soon has a caller of its own on a processor of their own (burst.h). With one caller the second would be woken in vain for each
 * call; and plain answers stay on the processor anyway, so that for stats alone one is faster (docs/design.md). */
#ifndef SBX_CROWD_H
#define SBX_CROWD_H
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

extern _Atomic pid_t crowd_last;  /* who called last */
extern atomic_int crowd_changes;  /* how often that was another than before, less how often it was not */
extern atomic_bool crowd_stands;
extern atomic_bool crowd_gives;   /* a descriptor has been given: while it begins, and since it was looked after */
#define CROWD_GET(value) atomic_load_explicit(&(value), memory_order_relaxed)

bool crowd_changed(pid_t tid, uint64_t now_ns);
/* A call came from this thread. Has a crowd begun? */
static inline bool crowd_received(pid_t tid, uint64_t now_ns) {
    return (tid != CROWD_GET(crowd_last) || CROWD_GET(crowd_changes)) && crowd_changed(tid, now_ns);
}
static inline void crowd_given(void) {
    if (!CROWD_GET(crowd_gives)) atomic_store_explicit(&crowd_gives, true, memory_order_relaxed);
}
/* How many are to receive. */
static inline int crowd_receivers(void) { return CROWD_GET(crowd_stands) ? 2 : 1; }
/* Is there a crowd still? To be looked at as bursts are. */
bool crowd_look(uint64_t now_ns);
#endif
