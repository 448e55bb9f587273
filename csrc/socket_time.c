#include "socket_time.h"
#include <errno.h>
#include <sys/syscall.h>

#define SECOND 1000000000

static struct timespec now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time;
}

int socket_time_read(const struct request *request, struct socket_time *limit) {
    limit->given = request->nr == SYS_recvmmsg && request->value[0];
    if (!limit->given) return 0;
    struct timespec *left = &limit->left, begun = now();
    if (guest_read(request->tid, request->value[0], left, sizeof *left) < 0) return -EFAULT;
    if (left->tv_sec < 0 || left->tv_nsec < 0 || left->tv_nsec >= SECOND) return -EINVAL;
    limit->end = (struct timespec){.tv_nsec = (left->tv_nsec + begun.tv_nsec) % SECOND};
    time_t carried = left->tv_nsec + begun.tv_nsec >= SECOND;
    if (__builtin_add_overflow(left->tv_sec, begun.tv_sec + carried, &limit->end.tv_sec)) limit->end.tv_sec = INT64_MAX;
    return 0;
}

bool socket_time_is_over(struct socket_time *limit) {
    if (!limit->given) return false;
    struct timespec *left = &limit->left, time = now();
    bool borrows = limit->end.tv_nsec < time.tv_nsec;
    *left = (struct timespec){limit->end.tv_sec - time.tv_sec - borrows, limit->end.tv_nsec - time.tv_nsec + (borrows ? SECOND : 0)};
    if (left->tv_sec < 0) *left = (struct timespec){0};
    return left->tv_sec == 0 && left->tv_nsec == 0;
}

int socket_time_tell(const struct request *request, const struct socket_time *limit) {
    return limit->given ? guest_write(request->tid, request->value[0], &limit->left, sizeof limit->left) : 0;
}
