/* calls.h: a call is a name, what must stand before, and a loop. */
#ifndef BENCHMARK_CALLS_H
#define BENCHMARK_CALLS_H
#include <stdbool.h>

struct call {
    const char *name;
    void (*prepare)(void);
    void (*run)(long count);
};
extern const struct call calls[];
extern const int call_count;

void fail(const char *what);
#endif
