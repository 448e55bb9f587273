/* modes.c: a guest that waits, one that disturbs, one that feels disturbance, one whose other threads are blocked. */
#include "calls.h"
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define APART_NS 500000 /* between two calls of a probe */
#define LATENCIES_MAX 100000
#define BLOCKED_MAX 1000
#define FIFO "calls.fifo"

static bool input_ended(int wait_ms) {
    struct pollfd input = {0, POLLIN, 0};
    char byte;
    return poll(&input, 1, wait_ms) > 0 && read(0, &byte, 1) <= 0;
}

static void say_ready(void) {
    puts("ready");
    fflush(stdout);
}

int idle(void) {
    say_ready();
    while (!input_ended(-1)) continue;
    return 0;
}

int noise(const struct call *call) {
    if (call->prepare) call->prepare();
    say_ready();
    while (!input_ended(0)) call->run(100);
    return 0;
}

static int ascending(const void *left, const void *right) {
    float difference = *(const float *)left - *(const float *)right;
    return (difference > 0) - (difference < 0);
}

int probe(const struct call *call, double budget) {
    static float latencies[LATENCIES_MAX];
    int count = 0;
    if (call->prepare) call->prepare();
    call->run(10);
    for (double end = now() + budget, began; (began = now()) < end && count < LATENCIES_MAX;) {
        call->run(1);
        latencies[count++] = (float)(now() - began);
        nanosleep(&(struct timespec){0, APART_NS}, NULL);
    }
    qsort(latencies, (size_t)count, sizeof *latencies, ascending);
    printf("{\"name\": \"%s\", \"p50\": %.1f, \"p99\": %.1f, \"max\": %.1f, \"count\": %d, \"saw\": \"%016llx\"}\n", call->name,
           latencies[count / 2], latencies[count * 99 / 100], latencies[count - 1], count, (unsigned long long)seen(call));
    return 0;
}

static pthread_t blocked[BLOCKED_MAX];
static int blocked_count;
static atomic_int begun;
static atomic_bool released;

static void *open_fifo(void *argument) {
    atomic_fetch_add(&begun, 1);
    MUST(open(FIFO, O_RDONLY | O_CLOEXEC) >= 0 && atomic_load(&released));
    return argument;
}

void block(int count) {
    MUST(count >= 0 && count <= BLOCKED_MAX);
    if (count == 0) return;
    unlink(FIFO);
    MUST(mkfifo(FIFO, 0600) == 0);
    for (; blocked_count < count; blocked_count++) MUST(pthread_create(&blocked[blocked_count], NULL, open_fifo, NULL) == 0);
    while (atomic_load(&begun) < count) sched_yield();
}

void unblock(void) {
    if (blocked_count == 0) return;
    atomic_store(&released, true);
    int fd = open(FIFO, O_WRONLY | O_CLOEXEC);
    MUST(fd >= 0);
    while (blocked_count > 0) MUST(pthread_join(blocked[--blocked_count], NULL) == 0);
    close(fd);
    unlink(FIFO);
}

int spin(int core) {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(core, &one);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (sched_setaffinity(0, sizeof one, &one)) fail("sched_setaffinity");
    if (getppid() == 1) return 1;
    for (volatile unsigned long turns = 0;; turns++) continue;
}
