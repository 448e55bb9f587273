
#include "quota.h"
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "context.h"
#include "guest.h"

#define DEPTH_MAX 64

static struct sbx_limits limits;
static int scratch_directory = -1;

void quota_setup(const struct sbx_plan *plan, int scratch, int cgroup, int tmpfs) {
    limits = plan->limits;
    scratch_directory = tmpfs ? -1 : scratch;
    if (cgroup) limits.memory = limits.processes = 0;
    if (scratch_directory < 0) limits.scratch_bytes = limits.scratch_files = 0;
}

int quota_needed(void) { return limits.memory || limits.processes || limits.cpu_seconds || limits.scratch_bytes || limits.scratch_files; }

static DIR *list(int directory, const char *name) {
    int fd = openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *entries = fd < 0 ? NULL : fdopendir(fd);
    if (entries == NULL && fd >= 0) close(fd);
    return entries;
}

/* Private resident memory of a process: what is shared with files or other processes is not its own. */
static uint64_t memory_of(pid_t pid) {
    char path[32], text[256];
    snprintf(path, sizeof path, "%d/statm", pid);
    cleanup_close int fd = openat(guest_proc(), path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (got <= 0) return 0;
    text[got] = 0;
    unsigned long size, resident, shared;
    if (sscanf(text, "%lu %lu %lu", &size, &resident, &shared) != 3 || shared > resident) return 0;
    return (uint64_t)(resident - shared) * 4096;
}

/* Processor time of a process and of those that it has waited for, in clock ticks. */
static uint64_t ticks_of(pid_t pid, bool own) {
    char path[32], text[1024];
    snprintf(path, sizeof path, "%d/stat", pid);
    cleanup_close int fd = openat(guest_proc(), path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (got <= 0) return 0;
    text[got] = 0;
    const char *after = strrchr(text, ')'); /* the name before it may hold anything */
    unsigned long long user, system, children_user, children_system;
    if (after == NULL || sscanf(after + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %llu %llu", &user, &system,
                                &children_user, &children_system) != 4) return 0;
    return (own ? user + system : 0) + children_user + children_system;
}

static void each_process(void (*visit)(pid_t pid, void *with), void *with) {
    DIR *processes = list(guest_proc(), ".");
    if (processes == NULL) return;
    for (struct dirent *entry; (entry = readdir(processes)) != NULL;) {
        pid_t pid = atoi(entry->d_name);
        if (pid > 0 && guest_context(pid) > CONTEXT_LAUNCHER) visit(pid, with);
    }
    closedir(processes);
}

struct sums { uint64_t processes, memory, ticks, bytes, files; };

static void add_process(pid_t pid, void *with) {
    struct sums *sums = with;
    sums->processes++;
    if (limits.memory) sums->memory += memory_of(pid);
    if (limits.cpu_seconds) sums->ticks += ticks_of(pid, true);
}

static void add_files(int directory, const char *name, int depth, struct sums *sums) {
    DIR *entries = depth < DEPTH_MAX ? list(directory, name) : NULL;
    if (entries == NULL) return;
    for (struct dirent *entry; (entry = readdir(entries)) != NULL;) {
        struct stat status;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        if (fstatat(dirfd(entries), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) < 0) continue;
        sums->files++;
        sums->bytes += (uint64_t)status.st_blocks * 512;
        if (S_ISDIR(status.st_mode)) add_files(dirfd(entries), entry->d_name, depth + 1, sums);
    }
    closedir(entries);
}

enum sbx_exceeded quota_look(void) {
    struct sums sums = {0};
    if (limits.memory || limits.processes || limits.cpu_seconds) each_process(add_process, &sums);
    if (limits.cpu_seconds) sums.ticks += ticks_of(getpid(), false); /* the commands that have ended */
    if (scratch_directory >= 0) add_files(scratch_directory, ".", 0, &sums);
    if (limits.memory && sums.memory > limits.memory) return SBX_EXCEEDED_MEMORY;
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
