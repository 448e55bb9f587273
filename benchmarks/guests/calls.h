/* calls.h: a call is a name, what must stand before, and a loop. */
#ifndef BENCHMARK_CALLS_H
#define BENCHMARK_CALLS_H
#include <stdbool.h>

struct call {
    const char *name;
    void (*prepare)(void);
    void (*run)(long count); /* may be called by several threads at once */
};
extern const struct call file_calls[], other_calls[], network_calls[];
extern const int file_call_count, other_call_count, network_call_count;
/* Call `number` of them all, in the order of --list; NULL past the end. */
const struct call *call_at(int number);
const struct call *call_named(const char *name);

#define LOOP(count) for (long turn = 0; turn < (count); turn++)
/* Every call must do what it is timed for: one that is refused is no figure. */
#define MUST(condition) do { if (!(condition)) fail(#condition); } while (0)
_Noreturn void fail(const char *what);
double now(void); /* CLOCK_MONOTONIC, nanoseconds */

/* modes.c: what a guest does other than timing loops. Each is the exit status of the program. */
int idle(void);                                     /* says "ready" and waits for the end of its input */
int noise(const struct call *call);                 /* the same, making the call meanwhile */
int probe(const struct call *call, double budget);  /* the latency of single calls, some time apart */
int spin(int core);                                 /* keeps that processor busy until its parent dies */
#endif
