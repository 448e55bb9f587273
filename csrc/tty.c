#include "tty.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include "guest.h"
#include "procfs_descriptor.h"

#define LOOKED_AT 256 /* descriptors of the process */

/* A terminal's number as /proc/PID/stat has it; 0 for what is no character device. */
static int device_of(const struct stat *status) {
    unsigned low = minor(status->st_rdev), high = major(status->st_rdev);
    return S_ISCHR(status->st_mode) ? (int)((low & 0xff) | (high << 8) | ((low & ~0xffu) << 12)) : 0;
}

/* The same of a thread's controlling terminal; 0 where it has none. */
static int controlling(pid_t tid) {
    char path[64], text[512];
    int terminal = 0;
    snprintf(path, sizeof path, "%d/stat", tid);
    guest_text(guest_proc(), path, text, sizeof text);
    const char *after = strrchr(text, ')'); /* the name before it may hold anything */
    return after && sscanf(after + 1, " %*c %*d %*d %*d %d", &terminal) == 1 ? terminal : 0;
}

/* Descriptor `number` of the thread, held; -1 where it is not the terminal. INVARIANT own-rights: what it may do comes with it. */
static int hold(pid_t tid, int number, int terminal, bool *may, int access) {
    char path[64];
    struct stat status;
    unsigned flags;
    snprintf(path, sizeof path, "%d/fd/%d", tid, number);
    if (fstatat(guest_proc(), path, &status, 0) < 0 || device_of(&status) != terminal) return -1;
    cleanup_close int held = procfs_descriptor_hold(guest_proc(), path, &flags);
    if (held < 0 || fstat(held, &status) < 0 || device_of(&status) != terminal) return -1; /* replaced meanwhile */
    *may = procfs_descriptor_may(flags, access);
    return take(&held);
}

/* A terminal of the caller's lies below none of our mounts, so Landlock keeps it shut: share what the guest has. */
static int share(pid_t tid, int number, int terminal, int access) {
    struct stat status;
    cleanup_close int shared = guest_borrow_fd(tid, number);
    if (shared < 0 || fstat(shared, &status) < 0 || device_of(&status) != terminal) return -EACCES;
    return procfs_descriptor_may((unsigned)fcntl(shared, F_GETFL), access) ? take(&shared) : -EACCES;
}

int tty_open(pid_t tid, int flags) {
    int terminal = controlling(tid), access = flags & O_ACCMODE;
    bool has = false, may = false;
    for (int number = 0; terminal && number < LOOKED_AT; number++) {
        cleanup_close int held = hold(tid, number, terminal, &may, access);
        has |= held >= 0;
        if (held < 0 || !may) continue;
        int opened = procfs_descriptor_reopen(held, flags & (O_ACCMODE | O_NONBLOCK | O_APPEND));
        return opened == -EACCES ? share(tid, number, terminal, access) : opened;
    }
    return has ? -EACCES : -ENXIO;
}
