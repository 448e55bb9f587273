#include "burst.h"
#include <pthread.h>
#include <unistd.h>
#include "answer.h"
#include "bound.h"
#include "crowd.h"
#include "loop.h"

#define BEGINS 8             /* calls in a row: small programs make fewer, from their exec to their end */
#define GAP_NS 300000        /* between two of them; of several that share, who has not called for so long leaves */
#define ALONE_NS 30000       /* who has not called for so long gives way to one that calls alone */
#define ENDS_NS 5000000      /* after the last */
#define ENDS_TOGETHER_NS 1000000
#define WINDOW 32            /* calls of several that share */
#define SLOW_NS 15000        /* where half of them take longer, they compute in between, and are better off apart */
#define MEMBERS 8
#define LOOK_TOGETHER_MS 2
#define STARTS 16
#define START_ENDS_NS 1000000 /* after its last call */
#define STARTS_END_NS 200000000 /* after the last of them the main thread sleeps, and is to be woken for the next */
#define MASK_SIZE sizeof(cpu_set_t)

/* A thread of the guest that shares the processor of one of ours. */
struct member {
    struct bound bound;
    _Atomic uint64_t last_ns;
};
/* One of our threads, and those that share its processor. */
struct sharing {
    struct sharing *next;
    pid_t server;
    int processor;
    cpu_set_t own; /* what ours had before */
    atomic_int count;
    struct member members[MEMBERS];
};
static struct sharing *sharings; /* of those with members */
/* A thread that executes a program, until that has begun. */
static struct start { struct member member; atomic_int calls; } starts[STARTS];
static atomic_int start_count;
static uint64_t started_ns;
static bool looked_after; /* by the main thread, now and then */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Thread_local struct sharing mine;
static _Thread_local pid_t candidate;
static _Thread_local int streak;
static _Thread_local uint64_t seen_ns;
/* Whoever else calls meanwhile. */
static _Thread_local struct caller { pid_t tid; int calls; bool given; uint64_t seen_ns; } callers[MEMBERS];
static _Thread_local struct { int calls, slow; } window;
static bool chosen; /* the guest itself has chosen processors, which look like those that a burst has left behind: it has no more bursts */

static struct member *find(struct sharing *sharing, pid_t tid) {
    for (int i = 0; i < MEMBERS; i++)
        if (GET(sharing->members[i].bound.tid) == tid) return &sharing->members[i];
    return NULL;
}

static void unlink_sharing(struct sharing *sharing) { /* with lock held */
    struct sharing **at = &sharings;
    while (*at != sharing) at = &(*at)->next;
    *at = sharing->next;
    sched_setaffinity(sharing->server, MASK_SIZE, &sharing->own);
}

static void give_back(struct sharing *sharing, struct member *member) { /* with lock held */
    bound_end(&member->bound);
    if (atomic_fetch_sub(&sharing->count, 1) == 1) unlink_sharing(sharing);
}

static bool has_idled(const struct member *member, uint64_t now_ns, uint64_t idle_ns) {
    uint64_t last_ns = GET(member->last_ns); /* may be later than `now_ns`, which another thread read */
    return GET(member->bound.tid) && now_ns >= last_ns && now_ns - last_ns >= idle_ns;
}

static bool is_idle(const struct sharing *sharing, uint64_t now_ns, uint64_t idle_ns) {
    for (int i = 0; i < MEMBERS; i++)
        if (has_idled(&sharing->members[i], now_ns, idle_ns)) return true;
    return false;
}

/* With lock held: who has not called for `idle_ns` leaves. */
static void leave(struct sharing *sharing, uint64_t now_ns, uint64_t idle_ns) {
    for (int i = 0; i < MEMBERS; i++)
        if (has_idled(&sharing->members[i], now_ns, idle_ns)) give_back(sharing, &sharing->members[i]);
}

static bool taken(int processor) { /* with lock held: by another of ours */
    for (struct sharing *at = sharings; at; at = at->next)
        if (at->processor == processor && at != &mine) return true;
    return false;
}

static void share(pid_t tid, uint64_t now_ns) { /* with lock held */
    int processor = sched_getcpu();
    struct member *member = find(&mine, 0);
    bool first = GET(mine.count) == 0;
    if (chosen || processor < 0 || member == NULL || taken(processor) || (!first && processor != mine.processor)) return;
    if (first && sched_getaffinity(0, MASK_SIZE, &mine.own) < 0) return;
    SET(member->last_ns, now_ns);
    if (!bound_begin(&member->bound, tid, processor)) return;
    atomic_fetch_add(&mine.count, 1);
    window.calls = window.slow = 0;
    if (!first) return;
    const cpu_set_t one = bound_only(processor);
    sched_setaffinity(0, MASK_SIZE, &one);
    mine.server = gettid();
    mine.processor = processor;
    mine.next = sharings;
    sharings = &mine;
    loop_wake_main();
}

/* Of several that share: who has gone on to something else leaves, and all where they compute between their calls. */
static void look_together(uint64_t now_ns, uint64_t before_ns) {
    window.slow += now_ns - before_ns > SLOW_NS; /* each by itself: on a busy machine some are */
    if (++window.calls < WINDOW) return;
    bool apart = window.slow > WINDOW / 2;
    window.calls = window.slow = 0;
    if (apart) crowd_computed(now_ns);
    pthread_mutex_lock(&lock);
    leave(&mine, now_ns, apart ? 0 : GAP_NS);
    pthread_mutex_unlock(&lock);
}

/* Does `tid` share with whoever else does? It calls again and again, and is given descriptors. */
static bool joins(pid_t tid, uint64_t now_ns) {
    struct caller *caller = &callers[tid % MEMBERS];
    bool again = caller->tid == tid && now_ns - caller->seen_ns < GAP_NS;
    *caller = (struct caller){tid, again ? caller->calls + 1 : 0, again && caller->given, now_ns};
    return caller->calls >= BEGINS && caller->given && !crowd_computes(now_ns);
}

/* ---- from an exec to the program's first calls --------------------------------------------------------------------------- */

static struct start *find_start(pid_t tid) {
    for (int i = 0; i < STARTS; i++)
        if (GET(starts[i].member.bound.tid) == tid) return &starts[i];
    return NULL;
}

static void end_start(struct start *start) { /* with lock held */
    bound_end(&start->member.bound);
    atomic_fetch_sub(&start_count, 1);
}

static void end_starts(uint64_t now_ns, uint64_t idle_ns) { /* with lock held */
    for (int i = 0; i < STARTS; i++)
        if (has_idled(&starts[i].member, now_ns, idle_ns)) end_start(&starts[i]);
}

void burst_exec(pid_t tid) {
    uint64_t now_ns = answer_now();
    bool wakes = false;
    if (pthread_mutex_trylock(&lock) != 0) return; /* it is only faster so */
    if (GET(start_count) == STARTS) end_starts(now_ns, START_ENDS_NS);
    struct start *start = find_start(0);
    int processor = sched_getcpu();
    if (start && !chosen && processor >= 0) {
        SET(start->member.last_ns, now_ns);
        SET(start->calls, 0);
        if (bound_begin(&start->member.bound, tid, processor)) {
            atomic_fetch_add(&start_count, 1);
            started_ns = now_ns;
            wakes = !looked_after;
        }
    }
    pthread_mutex_unlock(&lock);
    if (wakes) loop_wake_main();
}

static void called(pid_t tid, uint64_t now_ns) {
    struct start *start = find_start(tid);
    if (start == NULL) return;
    SET(start->member.last_ns, now_ns);
    if (atomic_fetch_add(&start->calls, 1) + 1 < BEGINS || pthread_mutex_trylock(&lock) != 0) return;
    if (GET(start->member.bound.tid) == tid) end_start(start);
    pthread_mutex_unlock(&lock);
}

static void end_of(pid_t tid) { /* with lock held */
    struct start *start = find_start(tid);
    if (start) end_start(start);
    for (struct sharing *at = sharings, *next; at; at = next) {
        next = at->next;
        struct member *member = find(at, tid);
        if (member) give_back(at, member);
    }
}

void burst_became(pid_t tid, pid_t leader) {
    if (tid == leader) return;
    pthread_mutex_lock(&lock);
    end_of(leader); /* which has ended */
    struct start *start = find_start(tid);
    if (start) SET(start->member.bound.tid, leader);
    else end_of(tid);
    pthread_mutex_unlock(&lock);
}

/* ---- calls in a row ------------------------------------------------------------------------------------------------------- */

void burst_given(pid_t tid) {
    struct caller *caller = &callers[tid % MEMBERS];
    if (caller->tid == tid) caller->given = true;
}

void burst_received(pid_t tid, uint64_t now_ns) {
    uint64_t before_ns = seen_ns;
    if (GET(start_count)) called(tid, now_ns);
    streak = tid == candidate && now_ns - before_ns < GAP_NS ? streak + 1 : 0;
    candidate = tid;
    seen_ns = now_ns;
    int count = GET(mine.count);
    struct member *member = count ? find(&mine, tid) : NULL;
    if (member) SET(member->last_ns, now_ns);
    if (count > 1) look_together(now_ns, before_ns);
    if (member) return;
    bool joining = joins(tid, now_ns);
    bool gives_way = count && crowd_receivers() == 1 && is_idle(&mine, now_ns, ALONE_NS); /* of a crowd, ours is likely to come back */
    bool alone = streak >= BEGINS && (count == 0 || gives_way);
    if (!joining && !gives_way && !alone) return;
    pthread_mutex_lock(&lock);
    if (!joining) leave(&mine, now_ns, ALONE_NS);
    if (joining || (alone && GET(mine.count) == 0)) share(tid, now_ns);
    pthread_mutex_unlock(&lock);
}

int burst_look(uint64_t now_ns) {
    int pause = 0;
    pthread_mutex_lock(&lock);
    for (struct sharing *at = sharings, *next; at; at = next) {
        next = at->next;
        leave(at, now_ns, GET(at->count) > 1 ? ENDS_TOGETHER_NS : ENDS_NS);
        if (GET(at->count) > 1) pause = LOOK_TOGETHER_MS;
        else if (GET(at->count) && pause == 0) pause = BURST_LOOK_MS;
    }
    end_starts(now_ns, START_ENDS_NS);
    bool more = bound_look(now_ns) || GET(start_count) || now_ns - started_ns < STARTS_END_NS;
    if (more && pause == 0) pause = BURST_LOOK_MS;
    looked_after = pause > 0;
    pthread_mutex_unlock(&lock);
    return pause;
}

static void end_all(void) { /* with lock held */
    while (sharings) leave(sharings, UINT64_MAX, 0);
    end_starts(UINT64_MAX, 0);
    bound_settle();
}

void burst_end(void) {
    pthread_mutex_lock(&lock);
    end_all();
    pthread_mutex_unlock(&lock);
    streak = 0;
}

void burst_never(void) {
    pthread_mutex_lock(&lock);
    chosen = true;
    end_all();
    bound_forget();
    pthread_mutex_unlock(&lock);
}
