#include "burst.h"
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "crowd.h"
#include "guest.h"
#include "loop.h"

#define BEGINS 4              /* calls in a row */
#define GAP_NS 300000         /* between two of them */
#define ENDS_NS 5000000       /* after the last */
#define MASK_SIZE sizeof(cpu_set_t)

/* One sharing of a processor; each of our threads takes part in one at most. */
struct burst {
    struct burst *next;
    pid_t tid, server;
    int processor;
    long newest;          /* newest_pid() when it began */
    uint64_t last_ns;
    cpu_set_t guest, own; /* what both had before */
};
static struct burst *bursts;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Thread_local struct burst mine;
static _Thread_local bool shares;
static _Thread_local pid_t candidate;
static _Thread_local int streak;
static _Thread_local uint64_t seen_ns;

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

/* A thread that has inherited the one processor gets back what the one that shared it had. */
static void restore(pid_t tid, const struct burst *burst) {
    cpu_set_t mask;
    if (guest_context(tid) < 0) return; /* its number is a stranger's by now */
    if (sched_getaffinity(tid, MASK_SIZE, &mask) < 0 || CPU_COUNT(&mask) != 1 || !CPU_ISSET(burst->processor, &mask)) return;
    sched_setaffinity(tid, MASK_SIZE, &burst->guest);
}

static DIR *list(const char *name) {
    int fd = openat(guest_proc(), name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *entries = fd < 0 ? NULL : fdopendir(fd);
    if (entries == NULL && fd >= 0) close(fd);
    return entries;
}

static void restore_threads(pid_t pid, const struct burst *burst) {
    char path[32];
    snprintf(path, sizeof path, "%d/task", pid);
    DIR *threads = list(path);
    for (struct dirent *entry; threads && (entry = readdir(threads)) != NULL;) {
        pid_t tid = atoi(entry->d_name);
        if (tid > 0) restore(tid, burst);
    }
    if (threads) closedir(threads);
}

/* Whatever was forked during the burst, by whom and how deep ever. */
static void restore_all(const struct burst *burst) {
    DIR *processes = list(".");
    for (struct dirent *entry; processes && (entry = readdir(processes)) != NULL;) {
        pid_t pid = atoi(entry->d_name);
        if (pid > 0 && guest_context(pid) >= 0) restore_threads(pid, burst);
    }
    if (processes) closedir(processes);
}

static void give_back(struct burst *burst) { /* with lock held */
    struct burst **at = &bursts;
    while (*at != burst) at = &(*at)->next;
    *at = burst->next;
    sched_setaffinity(burst->server, MASK_SIZE, &burst->own);
    restore(burst->tid, burst);
    long newest = newest_pid();
    if (newest < 0 || newest != burst->newest) restore_all(burst);
    burst->tid = 0;
}

static bool taken(int processor) { /* with lock held */
    for (struct burst *at = bursts; at; at = at->next)
        if (at->processor == processor) return true;
    return false;
}

static void share(pid_t tid, uint64_t now_ns) { /* with lock held */
    int processor = sched_getcpu();
    if (processor < 0 || taken(processor)) return;
    if (sched_getaffinity(tid, MASK_SIZE, &mine.guest) < 0 || sched_getaffinity(0, MASK_SIZE, &mine.own) < 0) return;
    if (CPU_COUNT(&mine.guest) < 2 || !CPU_ISSET(processor, &mine.guest)) return;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(processor, &one);
    mine.newest = newest_pid();
    if (sched_setaffinity(tid, MASK_SIZE, &one) < 0) return;
    sched_setaffinity(0, MASK_SIZE, &one);
    mine.tid = tid;
    mine.server = gettid();
    mine.processor = processor;
    mine.last_ns = now_ns;
    mine.next = bursts;
    bursts = &mine;
    shares = true;
    loop_wake_main();
}

void burst_received(pid_t tid, uint64_t now_ns) {
    streak = tid == candidate && now_ns - seen_ns < GAP_NS ? streak + 1 : 0;
    candidate = tid;
    seen_ns = now_ns;
    if (shares && __atomic_load_n(&mine.tid, __ATOMIC_RELAXED) == tid) {
        __atomic_store_n(&mine.last_ns, now_ns, __ATOMIC_RELAXED);
        return;
    }
    if (streak < BEGINS && (!shares || crowd_receivers() > 1)) return; /* of a crowd, ours is likely to come back */
    pthread_mutex_lock(&lock);
    if (shares && mine.tid) give_back(&mine);
    shares = false;
    if (streak >= BEGINS) share(tid, now_ns);
    pthread_mutex_unlock(&lock);
}

bool burst_look(uint64_t now_ns) {
    pthread_mutex_lock(&lock);
    for (struct burst *at = bursts, *next; at; at = next) {
        next = at->next;
        if (now_ns - __atomic_load_n(&at->last_ns, __ATOMIC_RELAXED) > ENDS_NS) give_back(at);
    }
    bool any = bursts != NULL;
    pthread_mutex_unlock(&lock);
    return any;
}

void burst_end(pid_t tid) {
    pthread_mutex_lock(&lock);
    for (struct burst *at = bursts, *next; at; at = next) {
        next = at->next;
        if (at->tid == tid) give_back(at);
    }
    pthread_mutex_unlock(&lock);
    streak = 0;
}
