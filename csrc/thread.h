/* thread.h: starting a thread of our own. While another one asks the kernel whether a file may be executed (image.c), the
 * kernel refuses with EAGAIN to share what both have (fs_struct.in_exec); that takes microseconds, so it is tried again. */
#ifndef SBX_THREAD_H
#define SBX_THREAD_H
#include <errno.h>
#include <pthread.h>
#include <sched.h>

#define THREAD_TRIES 10000

/* As pthread_create: 0 or an errno. */
static inline int thread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument) {
    int error = EAGAIN;
    for (int i = 0; i < THREAD_TRIES && error == EAGAIN; i++) {
        if (i > 0) sched_yield();
        error = pthread_create(thread, attributes, run, argument);
    }
    return error;
}
#endif
