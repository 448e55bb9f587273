
#include "quota.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "context.h"
#include "guest.h"
#include "process.h"

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452 /* Linux 6.6 */
#endif
#define DEPTH_MAX 900 /* directories in each other: each costs a descriptor while it is looked at */

#define FILES_SEEN_MAX 4096 /* files without a name that are told apart; what is beyond is counted for each descriptor */

static struct sbx_limits limits;
static int scratch_directory = -1;
static dev_t scratch_device, memory_device; /* of scratch in place, and of memfds */
static uint64_t shared_at_look;             /* shared memory of the machine when memfds were last counted */
static uint64_t memory_files;               /* bytes in memfds then */

void quota_setup(const struct sbx_plan *plan, int scratch, int cgroup, int tmpfs) {
    limits = plan->limits;
    scratch_directory = tmpfs ? -1 : scratch;
    if (cgroup) limits.memory = limits.processes = 0;
    if (scratch_directory < 0) limits.scratch_bytes = limits.scratch_files = 0;
    struct stat status;
    cleanup_close int memory = memfd_create("sandbox-quota", MFD_CLOEXEC);
    if (memory >= 0 && fstat(memory, &status) == 0) memory_device = status.st_dev;
    if (scratch_directory >= 0 && fstat(scratch_directory, &status) == 0) scratch_device = status.st_dev;
}

int quota_needed(void) { return limits.memory || limits.processes || limits.cpu_seconds || limits.scratch_bytes || limits.scratch_files; }

static uint64_t kib_after(const char *text, const char *name) {
    const char *at = strstr(text, name);
    return at ? strtoull(at + strlen(name), NULL, 10) * 1024 : 0;
}

/* Resident memory of a process with what it shares: quick, and never too little but for files that are not mapped. */
static uint64_t resident_of(pid_t pid) {
    char path[32], text[256];
    snprintf(path, sizeof path, "%d/statm", pid);
    unsigned long size, resident;
    if (guest_text(guest_proc(), path, text, sizeof text) == 0 || sscanf(text, "%lu %lu", &size, &resident) != 2) return 0;
    return (uint64_t)resident * 4096;
}

/* Processor time of a process and of those that it has waited for, in clock ticks. */
static uint64_t ticks_of(pid_t pid, bool own) {
    char path[32], text[1024];
    snprintf(path, sizeof path, "%d/stat", pid);
    guest_text(guest_proc(), path, text, sizeof text);
    const char *after = strrchr(text, ')'); /* the name before it may hold anything */
    unsigned long long user, system, children_user, children_system;
    if (after == NULL || sscanf(after + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %llu %llu", &user, &system,
                                &children_user, &children_system) != 4) return 0;
    return (own ? user + system : 0) + children_user + children_system;
}

static void each_process(void (*visit)(pid_t pid, void *with), void *with) {
    DIR *processes = process_list(guest_proc(), ".");
    if (processes == NULL) return;
    for (struct dirent *entry; (entry = readdir(processes)) != NULL;) {
        pid_t pid = atoi(entry->d_name);
        if (pid > 0 && guest_context(pid) > CONTEXT_LAUNCHER) visit(pid, with);
    }
    closedir(processes);
}

struct sums { uint64_t processes, resident, ticks, bytes, files; };

static void add_process(pid_t pid, void *with) {
    struct sums *sums = with;
    sums->processes++;
    if (limits.memory) sums->resident += resident_of(pid);
    if (limits.cpu_seconds) sums->ticks += ticks_of(pid, true);
}

/* ---- files without a name: only descriptors lead to them ------------------------------------------------------------------------ */

struct nameless {
    uint64_t memory, bytes, files;
    size_t seen;
    struct { dev_t device; ino_t inode; } file[FILES_SEEN_MAX];
};

static bool seen_before(struct nameless *found, const struct stat *status) {
    for (size_t i = 0; i < found->seen; i++)
        if (found->file[i].inode == status->st_ino && found->file[i].device == status->st_dev) return true;
    if (found->seen == FILES_SEEN_MAX) return false;
    found->file[found->seen].device = status->st_dev;
    found->file[found->seen++].inode = status->st_ino;
    return false;
}

static void add_descriptors(pid_t pid, void *with) {
    struct nameless *found = with;
    char path[32];
    snprintf(path, sizeof path, "%d/fd", pid);
    DIR *entries = process_list(guest_proc(), path);
    if (entries == NULL) return;
    for (struct dirent *entry; (entry = readdir(entries)) != NULL;) {
        struct stat status;
        if (entry->d_name[0] == '.' || fstatat(dirfd(entries), entry->d_name, &status, 0) < 0) continue;
        bool memory = status.st_dev == memory_device, scratch = scratch_directory >= 0 && status.st_dev == scratch_device;
        if (!S_ISREG(status.st_mode) || !(memory || (scratch && status.st_nlink == 0)) || seen_before(found, &status)) continue;
        if (memory) found->memory += (uint64_t)status.st_blocks * 512;
        else {
            found->bytes += (uint64_t)status.st_blocks * 512;
            found->files++;
        }
    }
    closedir(entries);
}

static void add_nameless(struct sums *sums) {
    char text[4096];
    static struct nameless found; /* of the main thread */
    uint64_t shared = limits.memory && guest_text(guest_proc(), "meminfo", text, sizeof text) ? kib_after(text, "Shmem:") : 0;
    bool grown = shared > shared_at_look + limits.memory / 16 || memory_files > limits.memory / 2;
    if (scratch_directory < 0 && !(limits.memory && grown)) return;
    found.memory = found.bytes = found.files = found.seen = 0;
    each_process(add_descriptors, &found);
    shared_at_look = shared;
    memory_files = found.memory;
    sums->bytes += found.bytes;
    sums->files += found.files;
}

/* ---- memory: looked at closely only where the quick sum is past the limit -------------------------------------------------------- */

struct shares { uint64_t own, shared; };

static void add_shares(pid_t pid, void *with) {
    struct shares *shares = with;
    char path[32], text[2048];
    snprintf(path, sizeof path, "%d/smaps_rollup", pid);
    if (guest_text(guest_proc(), path, text, sizeof text) == 0) return;
    shares->own += kib_after(text, "Pss_Anon:");
    shares->shared += kib_after(text, "Pss_Shmem:");
}

static bool memory_past(const struct sums *sums) {
    if (!limits.memory || sums->resident + memory_files <= limits.memory) return false;
    struct shares shares = {0, 0};
    each_process(add_shares, &shares);
    /* A memfd may be mapped, too: the larger of both sums is surely there. */
    return shares.own + (shares.shared > memory_files ? shares.shared : memory_files) > limits.memory;
}

/* A directory that the guest has closed is opened for the look, and closed again unless its rights have changed meanwhile. */
struct closed { int fd; mode_t mode; };

static void change_rights(int fd, mode_t mode) { syscall(SYS_fchmodat2, fd, "", mode & 07777, AT_EMPTY_PATH); }

static struct closed open_up(int directory, const char *name) {
    struct stat status;
    struct closed closed = {openat(directory, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), 0};
    if (closed.fd >= 0 && fstat(closed.fd, &status) == 0 && status.st_uid == geteuid() && (status.st_mode & 0500) != 0500) {
        closed.mode = status.st_mode;
        change_rights(closed.fd, closed.mode | 0500);
    } else guest_close(&closed.fd);
    return closed;
}

static void close_again(struct closed *closed) {
    struct stat status;
    if (closed->fd >= 0 && fstat(closed->fd, &status) == 0 && status.st_mode == (closed->mode | 0500)) change_rights(closed->fd, closed->mode);
    guest_close(&closed->fd);
}

/* What cannot be looked at for want of descriptors counts as too much. */
static void add_files(int directory, const char *name, int depth, struct sums *sums) {
    struct closed closed = open_up(directory, name);
    DIR *entries = depth < DEPTH_MAX ? process_list(directory, name) : NULL;
    if (entries == NULL && (depth >= DEPTH_MAX || errno == EMFILE || errno == ENFILE || errno == ENOMEM)) sums->bytes = UINT64_MAX / 2;
    if (entries == NULL) {
        close_again(&closed);
        return;
    }
    for (struct dirent *entry; (entry = readdir(entries)) != NULL;) {
        struct stat status;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        if (fstatat(dirfd(entries), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) < 0) continue;
        sums->files++;
        sums->bytes += (uint64_t)status.st_blocks * 512;
        if (S_ISDIR(status.st_mode)) add_files(dirfd(entries), entry->d_name, depth + 1, sums);
    }
    closedir(entries);
    close_again(&closed);
}

enum sbx_exceeded quota_look(void) {
    struct sums sums = {0};
    if (limits.memory || limits.processes || limits.cpu_seconds) each_process(add_process, &sums);
    if (limits.cpu_seconds) sums.ticks += ticks_of(getpid(), false); /* the commands that have ended */
    if (scratch_directory >= 0) add_files(scratch_directory, ".", 0, &sums);
    if (limits.memory || scratch_directory >= 0) add_nameless(&sums);
    if (memory_past(&sums)) return SBX_EXCEEDED_MEMORY;
    if (limits.processes && sums.processes > limits.processes) return SBX_EXCEEDED_PROCESSES;
    if (limits.cpu_seconds && sums.ticks > limits.cpu_seconds * (uint64_t)sysconf(_SC_CLK_TCK)) return SBX_EXCEEDED_CPU;
    if (limits.scratch_bytes && sums.bytes > limits.scratch_bytes) return SBX_EXCEEDED_SCRATCH;
    if (limits.scratch_files && sums.files > limits.scratch_files) return SBX_EXCEEDED_SCRATCH;
    return SBX_EXCEEDED_NONE;
}

struct killing { pid_t launcher; int found; };

static void kill_one(pid_t pid, void *with) {
    struct killing *killing = with;
    if (pid == killing->launcher) return;
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (pidfd < 0) return;
    struct pollfd ended = {.fd = pidfd, .events = POLLIN};
    if (poll(&ended, 1, 0) == 0 && guest_context(pid) > CONTEXT_LAUNCHER && syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) == 0) killing->found++;
    close(pidfd);
}

void quota_kill(pid_t launcher) {
    /* Until a pass finds nothing: a fork during a pass is met by the next. Zombies do not count. */
    for (int pass = 0; pass < 64; pass++) {
        struct killing killing = {launcher, 0};
        each_process(kill_one, &killing);
        if (killing.found == 0) return;
    }
}
