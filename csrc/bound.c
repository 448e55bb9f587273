#include "bound.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "answer.h"
#include "guest.h"
#include "process.h"

#define LEFT 8            /* processors */
#define LOOK_NS 20000000  /* between two looks through all threads, or */
#define LOOK_SHARE 50     /* so many times what the last one took */

static struct bound *bounds; /* that stand */
/* Of bindings that have ended while something was forked. */
static struct { int processor; cpu_set_t before; } left[LEFT];
static int left_count;
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

static void restore(pid_t tid, int processor, const cpu_set_t *before) {
    cpu_set_t mask;
    if (guest_context(tid) < 0) return; /* its number is a stranger's by now */
    for (struct bound *at = bounds; at; at = at->next)
        if (GET(at->tid) == tid) return;
    if (sched_getaffinity(tid, sizeof mask, &mask) < 0 || CPU_COUNT(&mask) != 1 || !CPU_ISSET(processor, &mask)) return;
    sched_setaffinity(tid, sizeof *before, before);
}

static void restore_threads(pid_t pid) {
    char path[32];
    snprintf(path, sizeof path, "%d/task", pid);
    DIR *threads = process_list(guest_proc(), path);
    for (struct dirent *entry; threads && (entry = readdir(threads)) != NULL;) {
        pid_t tid = atoi(entry->d_name);
        for (int i = 0; tid > 0 && i < left_count; i++) restore(tid, left[i].processor, &left[i].before);
    }
    if (threads) closedir(threads);
}

void bound_settle(void) {
    DIR *processes = left_count ? process_list(guest_proc(), ".") : NULL;
    for (struct dirent *entry; processes && (entry = readdir(processes)) != NULL;) {
        pid_t pid = atoi(entry->d_name);
        if (pid > 0 && guest_context(pid) >= 0) restore_threads(pid);
    }
    if (processes) closedir(processes);
    left_count = 0;
}

bool bound_look(uint64_t now_ns) {
    if (left_count == 0 || now_ns < next_look_ns) return left_count > 0;
    bound_settle();
    uint64_t pause = (answer_now() - now_ns) * LOOK_SHARE;
    next_look_ns = now_ns + (pause > LOOK_NS ? pause : LOOK_NS);
    return false;
}

/* Whatever was forked meanwhile, by whom and how deep ever. */
static void leave(int processor, const cpu_set_t *before) {
    int i = 0;
    while (i < left_count && left[i].processor != processor) i++;
    if (i == LEFT) {
        bound_settle();
        i = 0;
    }
    left[i].processor = processor;
    left[i].before = *before;
    if (i == left_count) left_count++;
}

bool bound_begin(struct bound *bound, pid_t tid, int processor) {
    cpu_set_t one;
    if (guest_context(tid) < 0 || sched_getaffinity(tid, sizeof bound->before, &bound->before) < 0) return false;
    if (CPU_COUNT(&bound->before) < 2 || !CPU_ISSET(processor, &bound->before)) return false;
    CPU_ZERO(&one);
    CPU_SET(processor, &one);
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
    restore(tid, bound->processor, &bound->before);
    long newest = newest_pid();
    if (newest < 0 || newest != bound->newest) leave(bound->processor, &bound->before);
}
