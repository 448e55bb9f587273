#include "crowd.h"
#include <sched.h>
#include <unistd.h>
#include "loop.h"

#define BEGINS 32       /* crowd_changes counts each change twice */
#define GAP_NS 300000   /* between two of them */
#define ENDS_NS 5000000 /* after the last */
#define COMPUTES_NS 1000000000

_Atomic pid_t crowd_last;
atomic_int crowd_changes;
atomic_bool crowd_stands;
static _Atomic uint64_t changed_ns, computed_ns;

static bool has_processors(void) {
    cpu_set_t mask;
    return sched_getaffinity(getpid(), sizeof mask, &mask) == 0 && CPU_COUNT(&mask) > 1; /* of our main thread, which shares none */
}

void crowd_computed(uint64_t now_ns) { SET(computed_ns, now_ns); }

bool crowd_computes(uint64_t now_ns) { return now_ns - GET(computed_ns) < COMPUTES_NS; }

bool crowd_changed(pid_t tid, uint64_t now_ns) {
    int count = GET(crowd_changes);
    if (tid == GET(crowd_last)) {
        SET(crowd_changes, count - 1);
        return false;
    }
    bool stands = GET(crowd_stands), begins = count >= BEGINS && !stands && crowd_computes(now_ns);
    bool counts = !stands && !begins && now_ns - GET(changed_ns) < GAP_NS;
    SET(crowd_last, tid);
    SET(changed_ns, now_ns);
    SET(crowd_changes, !counts ? 0 : count < BEGINS ? count + 2 : count);
    if (begins && has_processors()) SET(crowd_stands, true);
    return begins && GET(crowd_stands);
}

bool crowd_look(uint64_t now_ns) {
    bool stands = GET(crowd_stands);
    if (!stands || now_ns - GET(changed_ns) <= ENDS_NS) return stands;
    SET(crowd_stands, false);
    loop_disperse();
    return false;
}
