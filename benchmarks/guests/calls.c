/* calls.c: how long single system calls take, from inside.
 *
 *   calls [--dir DIR] [--ms MS] [--count N] [--threads T] [name...]
 *                             one JSON line for each: {"name": ..., "ns": ..., "count": ..., "saw": ...}
 *   calls --list              the names
 *   calls --probe MS name     latencies of single calls: {"name": ..., "p50": ..., "p99": ..., "max": ..., "count": ..., "saw": ...}
 *   calls --blocked N --probe MS name               the same, while N threads wait in open of a FIFO
 *   calls [--count N] --idle [name...]              makes each call N times, says "ready", and waits
 *   calls --noise name | --spin CORE                see calls.h
 *
 * Each call is made in a loop of at least MS milliseconds (default 40), five times; the median loop counts. With --count
 * every call is made N times, once. "saw" is a number of what the call gives: the same wherever that is the same. With --threads that many threads share the calls of a loop, and "ns" is the
 * loop's time divided by them all. Files are made in DIR (default "."), which must be writable. Static, so that it runs alike anywhere. */
#include "calls.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define THREADS_MAX 64

static struct { double budget; long count; int threads, blocked; } options = {40e6, 0, 1, 0};

void fail(const char *what) {
    perror(what);
    exit(1);
}

double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

uint64_t hashed(const void *data, size_t size) { /* FNV-1a */
    uint64_t hash = 0xcbf29ce484222325;
    for (size_t i = 0; i < size; i++) hash = (hash ^ ((const unsigned char *)data)[i]) * 0x100000001b3;
    return hash;
}

uint64_t seen(const struct call *call) { return call->saw ? call->saw() : 0; }

const struct call *call_at(int number) {
    if (number < file_call_count) return &file_calls[number];
    number -= file_call_count;
    if (number < other_call_count) return &other_calls[number];
    number -= other_call_count;
    return number < network_call_count ? &network_calls[number] : NULL;
}

const struct call *call_named(const char *name) {
    for (int i = 0; call_at(i); i++)
        if (name && strcmp(call_at(i)->name, name) == 0) return call_at(i);
    fprintf(stderr, "%s: no such call\n", name ? name : "?");
    exit(2);
}

struct share { const struct call *call; long count; };

static void *run_share(void *argument) {
    const struct share *share = argument;
    share->call->run(share->count);
    return NULL;
}

static double timed(const struct call *call, long count) {
    struct share shares[THREADS_MAX];
    pthread_t threads[THREADS_MAX];
    for (int i = 0; i < options.threads; i++) shares[i] = (struct share){call, count / options.threads + (i < count % options.threads)};
    double began = now();
    for (int i = 1; i < options.threads; i++) MUST(pthread_create(&threads[i], NULL, run_share, &shares[i]) == 0);
    run_share(&shares[0]);
    for (int i = 1; i < options.threads; i++) MUST(pthread_join(threads[i], NULL) == 0);
    return now() - began;
}

static int ascending(const void *left, const void *right) {
    double difference = *(const double *)left - *(const double *)right;
    return (difference > 0) - (difference < 0);
}

static void measure(const struct call *call) {
    double loops[5] = {0};
    long count = options.count;
    if (call->prepare) call->prepare();
    if (count > 0) {
        loops[2] = timed(call, count);
    } else {
        for (count = 1; (loops[0] = timed(call, count)) < options.budget; count *= 2) {
            double share = options.budget / (loops[0] + 1);
            if (share < 1.8) count = (long)((double)count * share / 2) + 1;
        }
        for (int i = 1; i < 5; i++) loops[i] = timed(call, count);
        qsort(loops, 5, sizeof *loops, ascending);
    }
    printf("{\"name\": \"%s\", \"ns\": %.1f, \"count\": %ld, \"saw\": \"%016llx\"}\n", call->name, loops[2] / (double)count, count,
           (unsigned long long)seen(call));
    fflush(stdout);
}

static int list(void) {
    for (int i = 0; call_at(i); i++) puts(call_at(i)->name);
    return 0;
}

static int idle_after(char **names) {
    for (; options.count > 0 && *names; names++) {
        const struct call *call = call_named(*names);
        if (call->prepare) call->prepare();
        timed(call, options.count);
    }
    return idle();
}

static void set(const char *option, const char *value) {
    if (strcmp(option, "--dir") == 0) MUST(chdir(value) == 0);
    else if (strcmp(option, "--ms") == 0) options.budget = atof(value) * 1e6;
    else if (strcmp(option, "--count") == 0) options.count = atol(value);
    else if (strcmp(option, "--threads") == 0) options.threads = atoi(value);
    else if (strcmp(option, "--blocked") == 0) options.blocked = atoi(value);
    else fail(option);
    if (options.threads < 1 || options.threads > THREADS_MAX) fail("--threads");
}

int main(int argc, char **argv) {
    int first = 1;
    for (; first + 1 < argc + 1 && argv[first] && strncmp(argv[first], "--", 2) == 0; first += 2) {
        const char *option = argv[first], *value = argv[first + 1];
        const char *name = value ? argv[first + 2] : NULL;
        if (strcmp(option, "--list") == 0) return list();
        if (strcmp(option, "--idle") == 0) return idle_after(argv + first + 1);
        if (strcmp(option, "--noise") == 0) return noise(call_named(value));
        if (value == NULL) fail(option);
        if (strcmp(option, "--spin") == 0) return spin(atoi(value));
        if (strcmp(option, "--probe") == 0) {
            block(options.blocked);
            int status = probe(call_named(name), atof(value) * 1e6);
            unblock();
            return status;
        }
        set(option, value);
    }
    for (int i = first; i < argc; i++) measure(call_named(argv[i]));
    for (int i = 0; first >= argc && call_at(i); i++) measure(call_at(i));
    return 0;
}
