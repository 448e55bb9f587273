/* thread.h: starting a thread of our own. While another one asks the kernel whether a file may be executed (image.c), the
 * kernel refuses with EAGAIN to share what both have (fs_struct.in_exec); that takes microseconds, so it is tried again. */
#ifndef SBX_THREAD_H
#define SBX_THREAD_H
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#define THREAD_TRIES 10000

/* As pthread_create: 0 or an errno. It may use what our main thread may, which never shares a processor (burst.c): who calls may. */
static inline int thread_create(pthread_t *thread, pthread_attr_t *attributes, void *(*run)(void *), void *argument) {
    int error = EAGAIN;
    cpu_set_t own;
    if (gettid() != getpid() && sched_getaffinity(getpid(), sizeof own, &own) == 0) pthread_attr_setaffinity_np(attributes, sizeof own, &own);
    for (int i = 0; i < THREAD_TRIES && error == EAGAIN; i++) {
        if (i > 0) sched_yield();
        error = pthread_create(thread, attributes, run, argument);
    }
    return error;
}
#endif
