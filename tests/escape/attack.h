/* What every attack program starts with. An attack prints what it did and ends with WON or LOST. */
#ifndef ATTACK_H
#define ATTACK_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WON 42   /* the attack worked */
#define LOST 43  /* it was tried to the end and did not */
#define UNFIT 44 /* it could not be tried */

__attribute__((unused)) static long call(long nr, ...) {
    va_list list;
    long a[6];
    va_start(list, nr);
    for (int i = 0; i < 6; i++) a[i] = va_arg(list, long);
    va_end(list);
    return syscall(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
}
#define CALL(nr, ...) call(nr, ##__VA_ARGS__, 0L, 0L, 0L, 0L, 0L, 0L)

/* One line: a name and 0 or the errno. */
__attribute__((unused)) static int told(const char *name, long result) {
    int error = result < 0 ? errno : 0;
    printf("%s=%d\n", name, error);
    fflush(stdout);
    return error;
}

__attribute__((unused)) static int unfit(const char *what) {
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    return UNFIT;
}

/* Between two writes that another thread is to see. */
#define BARRIER __asm__ volatile("" ::: "memory")

/* A second thread that runs until `race_over` is set. */
static volatile int race_over;
__attribute__((unused)) static pthread_t race(void *(*run)(void *)) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, run, NULL)) exit(UNFIT);
    return thread;
}
#endif
