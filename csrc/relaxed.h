/* relaxed.h: atomics that order nothing else. */
#ifndef SBX_RELAXED_H
#define SBX_RELAXED_H
#include <stdatomic.h>
#define GET(value) atomic_load_explicit(&(value), memory_order_relaxed)
#define SET(value, to) atomic_store_explicit(&(value), to, memory_order_relaxed)
#endif
