#include "process.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "context.h"

DIR *process_list(int process, const char *name) {
    int fd = openat(process, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *directory = fd < 0 ? NULL : fdopendir(fd);
    if (directory == NULL && fd >= 0) close(fd);
    return directory;
}

bool process_is_guest(pid_t tid) { return tid > 0 && guest_context(tid) > CONTEXT_LAUNCHER; }

/* INVARIANT own-processes */
int process_hold(pid_t pid) {
    char name[16];
    snprintf(name, sizeof name, "%d", pid);
    cleanup_close int process = openat(guest_proc(), name, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (process < 0) return -errno;
    return process_is_guest(pid) ? take(&process) : -ENOENT;
}

void process_each(bool (*visit)(pid_t leader, int process, void *data), void *data) {
    DIR *processes = process_list(guest_proc(), ".");
    if (processes == NULL) return;
    for (struct dirent *entry; (entry = readdir(processes)) != NULL;) {
        pid_t pid = (pid_t)atoi(entry->d_name);
        cleanup_close int process = process_is_guest(pid) ? process_hold(pid) : -1; /* asked first: there may be many others */
        if (process >= 0 && !visit(pid, process, data)) break;
    }
    closedir(processes);
}

bool process_holds(pid_t leader, int process, dev_t device, ino_t inode, int ours) {
    DIR *descriptors = process_list(process, "fd");
    if (descriptors == NULL) return false;
    bool holds = false;
    for (struct dirent *entry; !holds && (entry = readdir(descriptors)) != NULL;) {
        struct stat status;
        if (entry->d_name[0] == '.' || fstatat(dirfd(descriptors), entry->d_name, &status, 0) < 0) continue;
        holds = status.st_dev == device && status.st_ino == inode && (ours < 0 || guest_same_file(leader, atoi(entry->d_name), ours) != 0);
    }
    closedir(descriptors);
    return holds;
}

int process_signal(pid_t pid, int signal, siginfo_t *info) {
    pid_t leader = process_is_guest(pid) ? guest_leader(pid) : -ESRCH;
    if (leader < 0) return -ESRCH;
    cleanup_close int pidfd = (int)syscall(SYS_pidfd_open, leader, 0);
    if (pidfd < 0 || !process_is_guest(leader)) return -ESRCH;
    return syscall(SYS_pidfd_send_signal, pidfd, signal, info, 0) < 0 ? -errno : 0;
}

struct volley { int signal; pid_t group, but; int done, error; };
static bool fire(pid_t leader, int process, void *data) {
    (void)process;
    struct volley *volley = data;
    if (leader == volley->but || (volley->group && getpgid(leader) != volley->group)) return true;
    int error = process_signal(leader, volley->signal, NULL);
    if (error == 0) volley->done++;
    else volley->error = error;
    return true;
}

static int signal_many(struct volley volley) {
    volley.error = -ESRCH;
    process_each(fire, &volley);
    return volley.done ? 0 : volley.error;
}

int process_signal_group(pid_t group, int signal) { return signal_many((struct volley){.signal = signal, .group = group}); }
int process_signal_all(pid_t but, int signal) { return signal_many((struct volley){.signal = signal, .but = but}); }
