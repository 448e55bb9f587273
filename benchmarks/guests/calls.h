/* calls.h: a call is a name, what must stand before, a loop, and what is seen by it. */
#ifndef BENCHMARK_CALLS_H
#define BENCHMARK_CALLS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct call {
    const char *name;
    void (*prepare)(void);
    void (*run)(long count); /* may be called by several threads at once */
    uint64_t (*saw)(void);   /* a number that is the same wherever the call gives the same; NULL: that it succeeds is all */
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
uint64_t hashed(const void *data, size_t size);
uint64_t seen(const struct call *call); /* 0 without `saw` */

/* modes.c: what a guest does other than timing loops. Each is the exit status of the program. */
int idle(void);                                     /* says "ready" and waits for the end of its input */
int noise(const struct call *call);                 /* the same, making the call meanwhile */
void block(int count);                              /* so many threads wait in open of a FIFO that nobody writes to */
void unblock(void);                                 /* all of them come back; one that does before is no figure */
int probe(const struct call *call, double budget);  /* the latency of single calls, some time apart */
int spin(int core);                                 /* keeps that processor busy until its parent dies */
#endif
