#include "burst.h"
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "crowd.h"
#include "guest.h"
#include "loop.h"
#include "process.h"

#define BEGINS 8             /* calls in a row: small programs make fewer, from their exec to their end */
#define GAP_NS 300000        /* between two of them; of several that share, who has not called for so long leaves */
#define ALONE_NS 30000       /* who has not called for so long gives way to one that calls alone */
#define ENDS_NS 5000000      /* after the last */
#define ENDS_TOGETHER_NS 1000000
#define WINDOW 32            /* calls of several that share */
#define SLOW_NS 15000        /* where half of them take longer, they compute in between, and are better off apart */
#define MEMBERS 8
#define LOOK_TOGETHER_MS 2
#define MASK_SIZE sizeof(cpu_set_t)

/* A thread of the guest that shares the processor of one of ours. */
struct member {
    _Atomic pid_t tid; /* 0: none */
    _Atomic uint64_t last_ns;
    long newest;       /* newest_pid() when it came */
    cpu_set_t guest;   /* what it had before */
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
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Thread_local struct sharing mine;
static _Thread_local pid_t candidate;
static _Thread_local int streak;
static _Thread_local uint64_t seen_ns;
/* Whoever else calls meanwhile. */
static _Thread_local struct caller { pid_t tid; int calls; bool given; uint64_t seen_ns; } callers[MEMBERS];
static _Thread_local struct { int calls, slow; } window;
static bool chosen; /* the guest itself has chosen processors, which look like those that a burst has left behind: it has no more bursts */

/* The newest pid or tid of our pid namespace: while it stays, nothing was forked. -1: unknown. */
static long newest_pid(void) {
    static int loadavg = -1;
    char text[128];
    if (loadavg < 0) loadavg = openat(guest_proc(), "loadavg", O_RDONLY | O_CLOEXEC);
    ssize_t got = loadavg < 0 ? -1 : pread(loadavg, text, sizeof text - 1, 0);
    if (got <= 0) return -1;
    text[got] = 0;
    char *last = strrchr(text, ' ');
    return last ? atol(last + 1) : -1;
}

static struct member *find(struct sharing *sharing, pid_t tid) {
    for (int i = 0; i < MEMBERS; i++)
        if (GET(sharing->members[i].tid) == tid) return &sharing->members[i];
    return NULL;
}

/* A thread that has inherited the one processor gets back what the one that shared it had. */
static void restore(pid_t tid, int processor, const cpu_set_t *guest) {
    cpu_set_t mask;
    if (guest_context(tid) < 0) return; /* its number is a stranger's by now */
    for (struct sharing *at = sharings; at; at = at->next)
        if (find(at, tid)) return; /* it still shares */
    if (sched_getaffinity(tid, MASK_SIZE, &mask) < 0 || CPU_COUNT(&mask) != 1 || !CPU_ISSET(processor, &mask)) return;
    sched_setaffinity(tid, MASK_SIZE, guest);
}

static void restore_threads(pid_t pid, int processor, const cpu_set_t *guest) {
    char path[32];
    snprintf(path, sizeof path, "%d/task", pid);
    DIR *threads = process_list(guest_proc(), path);
    for (struct dirent *entry; threads && (entry = readdir(threads)) != NULL;) {
        pid_t tid = atoi(entry->d_name);
        if (tid > 0) restore(tid, processor, guest);
    }
    if (threads) closedir(threads);
}

/* Whatever was forked during the burst, by whom and how deep ever. */
static void restore_all(int processor, const cpu_set_t *guest) {
    DIR *processes = process_list(guest_proc(), ".");
    for (struct dirent *entry; processes && (entry = readdir(processes)) != NULL;) {
        pid_t pid = atoi(entry->d_name);
        if (pid > 0 && guest_context(pid) >= 0) restore_threads(pid, processor, guest);
    }
    if (processes) closedir(processes);
}

static void unlink_sharing(struct sharing *sharing) { /* with lock held */
    struct sharing **at = &sharings;
    while (*at != sharing) at = &(*at)->next;
    *at = sharing->next;
    sched_setaffinity(sharing->server, MASK_SIZE, &sharing->own);
}

static void give_back(struct sharing *sharing, struct member *member) { /* with lock held */
    pid_t tid = GET(member->tid);
    SET(member->tid, 0);
    if (atomic_fetch_sub(&sharing->count, 1) == 1) unlink_sharing(sharing);
    restore(tid, sharing->processor, &member->guest);
    long newest = newest_pid();
    if (newest < 0 || newest != member->newest) restore_all(sharing->processor, &member->guest);
}

static bool has_idled(const struct member *member, uint64_t now_ns, uint64_t idle_ns) {
    uint64_t last_ns = GET(member->last_ns); /* may be later than `now_ns`, which another thread read */
    return GET(member->tid) && now_ns >= last_ns && now_ns - last_ns >= idle_ns;
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
    if (guest_context(tid) < 0) return; /* its number is a stranger's by now */
    if (sched_getaffinity(tid, MASK_SIZE, &member->guest) < 0 || (first && sched_getaffinity(0, MASK_SIZE, &mine.own) < 0)) return;
    if (CPU_COUNT(&member->guest) < 2 || !CPU_ISSET(processor, &member->guest)) return;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(processor, &one);
    member->newest = newest_pid();
    if (sched_setaffinity(tid, MASK_SIZE, &one) < 0) return;
    SET(member->last_ns, now_ns);
    SET(member->tid, tid);
    atomic_fetch_add(&mine.count, 1);
    window.calls = window.slow = 0;
    if (!first) return;
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

void burst_given(pid_t tid) {
    struct caller *caller = &callers[tid % MEMBERS];
    if (caller->tid == tid) caller->given = true;
}

void burst_received(pid_t tid, uint64_t now_ns) {
    uint64_t before_ns = seen_ns;
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
    pthread_mutex_unlock(&lock);
    return pause;
}

void burst_end(pid_t tid) {
    pthread_mutex_lock(&lock);
    for (struct sharing *at = sharings, *next; at; at = next) {
        next = at->next;
        struct member *member = find(at, tid);
        if (member) give_back(at, member);
    }
    pthread_mutex_unlock(&lock);
    streak = 0;
}

void burst_never(void) {
    pthread_mutex_lock(&lock);
    chosen = true;
    while (sharings) leave(sharings, UINT64_MAX, 0);
    pthread_mutex_unlock(&lock);
}
