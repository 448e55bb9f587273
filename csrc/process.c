#include "process.h"
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "context.h"

static DIR *open_directory(const char *path) {
    int fd = openat(guest_proc(), path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *directory = fd < 0 ? NULL : fdopendir(fd);
    if (directory == NULL && fd >= 0) close(fd);
    return directory;
}

bool process_is_guest(pid_t tid) { return tid > 0 && guest_context(tid) > CONTEXT_LAUNCHER; }

void process_each(bool (*visit)(pid_t leader, void *data), void *data) {
    DIR *processes = open_directory(".");
    if (processes == NULL) return;
    for (struct dirent *entry; (entry = readdir(processes)) != NULL;) {
        pid_t pid = (pid_t)atoi(entry->d_name);
        if (process_is_guest(pid) && !visit(pid, data)) break;
    }
    closedir(processes);
}

bool process_holds(pid_t leader, dev_t device, ino_t inode, int ours) {
    char path[32];
    snprintf(path, sizeof path, "%d/fd", leader);
    DIR *descriptors = open_directory(path);
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
