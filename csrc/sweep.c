/* Find and kill the processes of a guest by the tag that the kernel keeps for each. Used by the sentry at its end and by the
 * Supervisor when a sentry is gone. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "core.h"

#define LOOKS 3000     /* at the newest pid, in one chase: some milliseconds */

/* Kill one process if it is the guest's and runs. */
static bool kill_tagged(uint64_t tag, int pid) {
    struct rlimit64 limit;
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0); /* before the tag is read: no recycled pid is killed */
    if (pidfd < 0) return false;
    struct pollfd ended = {.fd = pidfd, .events = POLLIN}; /* what waits for its parent's wait needs no killing */
    bool killed = poll(&ended, 1, 0) <= 0 && syscall(SYS_prlimit64, pid, RLIMIT_LOCKS, NULL, &limit) == 0 &&
                  limit.rlim_max == (tag | 0xffffffffu) && syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) == 0;
    close(pidfd);
    return killed;
}

/* A chain of processes, each of which forks and ends, is never there when a listing has come to it. But the newest pid of the
 * system is its pid, and a process with a signal to die from cannot fork. */
static int chase(uint64_t tag) {
    char text[128];
    int found = 0, seen = 0, loadavg = open("/proc/loadavg", O_RDONLY | O_CLOEXEC);
    for (int look = 0; look < LOOKS && loadavg >= 0; look++) {
        ssize_t got = pread(loadavg, text, sizeof text - 1, 0);
        text[got > 0 ? got : 0] = 0;
        const char *last = strrchr(text, ' ');
        int newest = last ? atoi(last + 1) : 0;
        if (newest <= 0 || newest == seen) continue;
        seen = newest;
        found += kill_tagged(tag, newest);
    }
    if (loadavg >= 0) close(loadavg);
    return found;
}

static int sweep_once(uint64_t tag) {
    DIR *processes = opendir("/proc");
    if (processes == NULL) return -errno;
    int found = 0;
    for (struct dirent *entry; (entry = readdir(processes)) != NULL;) {
        int pid = atoi(entry->d_name);
        if (pid > 0) found += kill_tagged(tag, pid);
    }
    closedir(processes);
    return found + chase(tag);
}

int sbx_sweep(uint64_t tag) {
    int found = 0, quiet = 0;
    for (int pass = 0; pass < 1000 && quiet < 2; pass++) {
        int now = sweep_once(tag);
        if (now < 0) return now;
        quiet = now == 0 ? quiet + 1 : 0;
        found += now;
        if (now) sched_yield();
    }
    return found;
}
