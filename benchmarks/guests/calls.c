/* calls.c: how long single system calls take, from inside.
 *
 *   calls [--dir DIR] [--ms MS] [--count N] [name...]     one JSON line for each: {"name": ..., "ns": ..., "count": ...}
 *   calls --list                                          the names
 *   calls --spin CORE                                     keeps that processor busy until its parent dies
 *
 * Each call is made in a loop of at least MS milliseconds (default 40), five times; the median loop counts. With --count every
 * call is made N times, once. Files are made in DIR (default "."), which must be writable. Static, so that it runs alike anywhere. */
#include "calls.h"
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

void fail(const char *what) {
    perror(what);
    exit(1);
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static double timed(const struct call *call, long count) {
    double began = now();
    call->run(count);
    return now() - began;
}

static int ascending(const void *left, const void *right) {
    double difference = *(const double *)left - *(const double *)right;
    return (difference > 0) - (difference < 0);
}

static void measure(const struct call *call, double budget, long count) {
    if (call->prepare) call->prepare();
    double loops[5] = {0};
    if (count > 0) {
        loops[2] = timed(call, count);
    } else {
        for (count = 1; (loops[0] = timed(call, count)) < budget; count *= 2) {
            double share = budget / (loops[0] + 1);
            if (share < 1.8) count = (long)((double)count * share / 2) + 1;
        }
        for (int i = 1; i < 5; i++) loops[i] = timed(call, count);
        qsort(loops, 5, sizeof *loops, ascending);
    }
    printf("{\"name\": \"%s\", \"ns\": %.1f, \"count\": %ld}\n", call->name, loops[2] / (double)count, count);
    fflush(stdout);
}

static int spin(int core) {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(core, &one);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (sched_setaffinity(0, sizeof one, &one)) fail("sched_setaffinity");
    if (getppid() == 1) return 1;
    for (volatile unsigned long turns = 0;; turns++) continue;
}

int main(int argc, char **argv) {
    double budget = 40e6;
    long count = 0;
    int first = 1;
    for (; first < argc && strncmp(argv[first], "--", 2) == 0; first++) {
        const char *value = first + 1 < argc ? argv[first + 1] : "0";
        if (strcmp(argv[first], "--list") == 0) {
            for (int i = 0; i < call_count; i++) puts(calls[i].name);
            return 0;
        }
        first++;
        if (strcmp(argv[first - 1], "--spin") == 0) return spin(atoi(value));
        if (strcmp(argv[first - 1], "--dir") == 0 && chdir(value)) fail(value);
        if (strcmp(argv[first - 1], "--ms") == 0) budget = atof(value) * 1e6;
        if (strcmp(argv[first - 1], "--count") == 0) count = atol(value);
    }
    for (int i = 0; i < call_count; i++) {
        bool wanted = first >= argc;
        for (int name = first; name < argc; name++) wanted |= strcmp(argv[name], calls[i].name) == 0;
        if (wanted) measure(&calls[i], budget, count);
    }
    return 0;
}
