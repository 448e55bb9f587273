#include "bound.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "answer.h"
#include "guest.h"
#include "process.h"

#define LOOK_NS 20000000  /* between two looks through all threads, or */
#define LOOK_SHARE 50     /* so many times what the last one took, and */
#define LOOK_MOST_NS 1000000000
#define SETTLES_NS 1000000000 /* a fork that is under way has a pid by then */
#define GIVES_UP_NS 10000000000

static struct bound *bounds; /* that stand */
/* Of bindings that have ended: what they have forked may be bound still. A fork that is under way shows by no pid yet, so what was left is
 * looked for a second long, and then until nothing is found. */
static struct { bool any; long newest; uint64_t since_ns; cpu_set_t processors, before; } left;
static uint64_t next_look_ns;

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

static bool is_bound(pid_t tid) {
    for (struct bound *at = bounds; at; at = at->next)
        if (GET(at->tid) == tid) return true;
    return false;
}

/* A thread that may use one processor only, of these: -1 where it is none of the guest's any more, 1 where it was given all back. */
static int restore(pid_t tid, const cpu_set_t *processors, const cpu_set_t *before) {
    cpu_set_t mask, common;
    if (guest_context(tid) < 0) return -1; /* its number is a stranger's by now */
    if (is_bound(tid) || sched_getaffinity(tid, sizeof mask, &mask) < 0 || CPU_COUNT(&mask) != 1) return 0;
    CPU_AND(&common, &mask, processors);
    return CPU_COUNT(&common) && sched_setaffinity(tid, sizeof *before, before) == 0;
}

/* How many threads were given all back; -1: not all could be looked at. */
static int restore_threads(pid_t pid) {
    char path[32];
    int count = 0;
    snprintf(path, sizeof path, "%d/task", pid);
    DIR *threads = process_list(guest_proc(), path);
    if (threads == NULL) return errno == ENOENT || errno == ESRCH ? 0 : -1;
    for (struct dirent *entry; (entry = readdir(threads)) != NULL;) {
        pid_t tid = atoi(entry->d_name);
        count += tid > 0 && restore(tid, &left.processors, &left.before) > 0;
    }
    closedir(threads);
    return count;
}

/* The same of the whole guest: whatever was forked, by whom and how deep ever. */
static int restore_all(void) {
    int count = 0;
    DIR *processes = process_list(guest_proc(), ".");
    if (processes == NULL) return -1;
    for (struct dirent *entry; count >= 0 && (entry = readdir(processes)) != NULL;) {
        pid_t pid = atoi(entry->d_name);
        int found = pid > 0 && guest_context(pid) >= 0 ? restore_threads(pid) : 0;
        count = found < 0 ? -1 : count + found;
    }
    closedir(processes);
    return count;
}

void bound_settle(void) {
    if (left.any) restore_all();
}

void bound_forget(void) { left.any = false; }

bool bound_look(uint64_t now_ns) {
    if (!left.any || now_ns < next_look_ns) return left.any;
    uint64_t pause = LOOK_NS, age = now_ns > left.since_ns ? now_ns - left.since_ns : 0;
    long newest = newest_pid();
    int found = 0;
    if (newest < 0 || newest != left.newest) {
        uint64_t began_ns = answer_now();
        found = restore_all();
        pause = (answer_now() - began_ns) * LOOK_SHARE;
        if (found == 0) left.newest = newest;
    }
    left.any = age < SETTLES_NS || (found != 0 && age < GIVES_UP_NS);
    next_look_ns = now_ns + (pause < LOOK_NS ? LOOK_NS : pause > LOOK_MOST_NS ? LOOK_MOST_NS : pause);
    return left.any;
}

/* What it might use is what others might, too: no thread of the guest has chosen processors. */
static void leave(const struct bound *bound, long newest) {
    if (!left.any) CPU_ZERO(&left.processors);
    CPU_SET(bound->processor, &left.processors);
    left.before = bound->before;
    left.newest = left.any && left.newest != newest ? -1 : newest;
    left.any = true;
    left.since_ns = answer_now();
}

bool bound_begin(struct bound *bound, pid_t tid, int processor) {
    const cpu_set_t one = bound_only(processor);
    if (guest_context(tid) < 0 || sched_getaffinity(tid, sizeof bound->before, &bound->before) < 0) return false;
    if (CPU_COUNT(&bound->before) < 2 || !CPU_ISSET(processor, &bound->before)) return false;
    bound->processor = processor;
    bound->newest = newest_pid();
    if (sched_setaffinity(tid, sizeof one, &one) < 0) return false;
    bound->next = bounds;
    bounds = bound;
    SET(bound->tid, tid);
    return true;
}

void bound_end(struct bound *bound) {
    struct bound **at = &bounds;
    while (*at != bound) at = &(*at)->next;
    *at = bound->next;
    pid_t tid = GET(bound->tid);
    SET(bound->tid, 0);
    const cpu_set_t one = bound_only(bound->processor);
    /* Gone: or it is being made its process's leader by an exec, and has another number. */
    bool gone = restore(tid, &one, &bound->before) < 0;
    leave(bound, gone ? -1 : bound->newest);
}
