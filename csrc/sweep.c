/* Find and kill the processes of a guest by the tag that the kernel keeps for each. Used by the sentry at its end and by the
 * Supervisor when a sentry is gone. */
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "core.h"

static int sweep_once(uint64_t tag) {
    DIR *processes = opendir("/proc");
    if (processes == NULL) return -errno;
    int found = 0;
    for (struct dirent *entry; (entry = readdir(processes)) != NULL;) {
        int pid = atoi(entry->d_name);
        struct rlimit64 limit;
        if (pid <= 0) continue;
        int pidfd = (int)syscall(SYS_pidfd_open, pid, 0); /* before the tag is read: no recycled pid is killed */
        if (pidfd < 0) continue;
        struct pollfd ended = {.fd = pidfd, .events = POLLIN}; /* what waits for its parent's wait needs no killing */
        if (poll(&ended, 1, 0) > 0) {
            close(pidfd);
            continue;
        }
        if (syscall(SYS_prlimit64, pid, RLIMIT_LOCKS, NULL, &limit) == 0 && limit.rlim_max == (tag | 0xffffffffu)) {
            if (syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) == 0) found++;
        }
        close(pidfd);
    }
    closedir(processes);
    return found;
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
