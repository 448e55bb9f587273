/* filter.h: install a seccomp program; create the listener. Alone may call seccomp(2). */
#ifndef SBX_FILTER_H
#define SBX_FILTER_H
#include <stdint.h>

/* Install `count` instructions on this thread. 0 or -errno. */
int filter_install(const void *program, uint32_t count);
/* The same, as the listener's program: returns its descriptor, or -errno. WAIT_KILLABLE_RECV (Linux 5.19) is required: without it a
 * signal would interrupt a call that is being served. */
int filter_listen(const void *program, uint32_t count);
/* Ask the kernel to run the woken side on the waker's processor (SYNC_WAKE_UP, Linux 6.6). 0 or -errno. */
int filter_stay_on_processor(int listener);
#endif
