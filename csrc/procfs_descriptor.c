#include "procfs_descriptor.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "handed.h"
#include "loop.h"
#include "mounts.h"
#include "process.h"
#include "walk_inner.h"

/* Opened under a name that is gone, though the file has others (one of O_TMPFILE that was linked): the kernel's text does
 * not lead to it. */
static bool renamed_away(const char *guest, const struct stat *held) {
    size_t length = strlen(guest);
    uint32_t rest = 0;
    if (length < 11 || strcmp(guest + length - 10, " (deleted)") != 0) return false;
    int mount = mounts_find(guest, &rest);
    struct stat there;
    cleanup_close int fd = mount < 0 || mounts_fd(mount) < 0 ? -1 : walk_below(mounts_fd(mount), guest + rest, O_PATH | O_NOFOLLOW, 0);
    if (fd < 0 || fstat(fd, &there) < 0) return true;
    return there.st_ino != held->st_ino || there.st_dev != held->st_dev;
}

/* What the kernel calls a descriptor that no mount holds. A file that the caller handed in: its host path is not the guest's
 * to know. A terminal's name is needed. */
static int name_foreign(pid_t pid, long fd, char target[SBX_PATH_MAX]) {
    char link[48];
    struct stat status;
    snprintf(link, sizeof link, "%d/fd/%ld", pid, fd);
    cleanup_close int held = openat(guest_proc(), link, O_PATH | O_CLOEXEC); /* the guest may replace it between two looks */
    if (held < 0) return -errno;
    snprintf(link, sizeof link, "self/fd/%d", held);
    ssize_t length = readlinkat(guest_proc(), link, target, SBX_PATH_MAX - 1);
    if (length < 0 || fstat(held, &status) < 0) return -errno;
    target[length] = 0;
    bool device = strncmp(target, "/dev/", 5) == 0 && S_ISCHR(status.st_mode);
    if (target[0] == '/' && strncmp(target, "/memfd:", 7) != 0 && !device) strcpy(target, "host:[file]");
    return 0;
}

int procfs_descriptor_look(pid_t pid, long fd, enum procfs_kind *kind, char target[SBX_PATH_MAX]) {
    PLACE(place);
    int error = walk_descriptor(pid, (int)fd, &place);
    if (error == -EBADF) return -ENOENT;
    if (error < 0 && error != -EXDEV) return error;
    struct stat status;
    bool held = error == 0 && !place.special && fstat(place.dir, &status) == 0;
    if (held && S_ISLNK(status.st_mode)) { /* of a link itself: what it leads to is not what is held */
        *kind = PROCFS_MAGIC;
        strcpy(target, place.guest);
        return 0;
    }
    if (held && status.st_nlink == 0) {
        *kind = PROCFS_MAGIC;
        return snprintf(target, SBX_PATH_MAX, "%.4080s (deleted)", place.guest) > 0 ? 0 : -EIO;
    }
    *kind = error || (held && renamed_away(place.guest, &status)) ? PROCFS_MAGIC : PROCFS_LINK;
    if (!error) {
        strcpy(target, place.guest);
        return 0;
    }
    return name_foreign(pid, fd, target);
}

/* What /proc tells of a descriptor, at once: how it was opened, and of which file it is. */
struct told { unsigned flags; long mount; unsigned long long inode; };

static int tell(int directory, const char *info, struct told *told) {
    char text[256];
    if (guest_text(directory, info, text, sizeof text) == 0) return -ENOENT;
    return sscanf(text, "pos: %*d flags: %o mnt_id: %ld ino: %llu", &told->flags, &told->mount, &told->inode) == 3 ? 0 : -ENOENT;
}

static bool is_pipe(int held, const struct stat *status) {
    char link[32], text[5];
    snprintf(link, sizeof link, "self/fd/%d", held);
    return S_ISFIFO(status->st_mode) && readlinkat(guest_proc(), link, text, sizeof text) == sizeof text && memcmp(text, "pipe:", sizeof text) == 0;
}

struct opening { int held, flags; };
static int open_now(const void *what) {
    const struct opening *opening = what;
    char link[32];
    snprintf(link, sizeof link, "self/fd/%d", opening->held);
    int opened = openat(guest_proc(), link, (opening->flags & ~(O_CREAT | O_EXCL | O_NOFOLLOW)) | O_CLOEXEC | O_NOCTTY, 0); /* O_TMPFILE wants a mode */
    return opened < 0 ? -errno : opened;
}

/* A FIFO waits for its other end, a device for what it likes; a pipe, though it has the same type, for nothing. */
static bool may_wait(int held, int flags) {
    struct stat status;
    if (flags & (O_PATH | O_NONBLOCK) || fstat(held, &status) < 0) return false;
    return S_ISCHR(status.st_mode) || (S_ISFIFO(status.st_mode) && !is_pipe(held, &status));
}

int procfs_descriptor_reopen(int held, int flags) {
    struct opening opening = {held, flags};
    return may_wait(held, flags) ? loop_block_open(open_now, &opening) : open_now(&opening);
}

static bool same_file(const struct told *a, const struct told *b) { return a->inode == b->inode && a->mount == b->mount; }

/* What the guest may do with a file, by whatever descriptor of whatever process. */
struct search { const struct told *file; unsigned wanted, found; };

static bool look_for(pid_t leader, int process, void *data) {
    (void)leader;
    struct search *search = data;
    DIR *descriptors = process_list(process, "fdinfo");
    if (descriptors == NULL) return true;
    struct told told; /* at once of one descriptor: whatever the guest puts there, its rights are those of its file */
    for (struct dirent *entry; (search->wanted & ~search->found) && (entry = readdir(descriptors)) != NULL;)
        if (entry->d_name[0] != '.' && tell(dirfd(descriptors), entry->d_name, &told) == 0 && same_file(&told, search->file)) search->found |= procfs_descriptor_rights(told.flags);
    closedir(descriptors);
    return search->wanted & ~search->found;
}

/* Each end of a pipe leads to the other, as on Linux, if the guest has it: it has made the pipe, or was given both. Of the caller's pipes
 * what was given counts, though the guest has one of its own by the same number. Others are served meanwhile: it may have many
 * descriptors. 0 or -errno. */
static int find_ends(const struct told *pipe, unsigned wanted) {
    struct search search = {pipe, wanted, 0};
    if (wanted == 0 || wanted & ~handed_rights(pipe->inode)) return -EACCES;
    if (!loop_leave()) return -ENOMEM;
    process_each(look_for, &search);
    return wanted & ~search.found ? -EACCES : 0;
}

static int hold(int process, const char *name, struct told *told) {
    const char *number = strrchr(name, '/');
    if (number == NULL || number - name < 2 || memcmp(number - 2, "fd", 2) != 0) return -ENOENT;
    char info[SBX_PATH_MAX + 8], own[32];
    snprintf(info, sizeof info, "%.*sinfo%s", (int)(number - name), name, number);
    cleanup_close int held = openat(process, name, O_PATH | O_CLOEXEC);
    if (held < 0) return -errno;
    struct told ours;
    snprintf(own, sizeof own, "self/fdinfo/%d", held);
    if (tell(process, info, told) < 0 || tell(guest_proc(), own, &ours) < 0 || !same_file(told, &ours)) return -ENOENT;
    return take(&held);
}

int procfs_descriptor_hold(int process, const char *name, unsigned *flags) {
    struct told told;
    int held = hold(process, name, &told);
    *flags = held < 0 ? O_PATH : told.flags;
    return held;
}

/* INVARIANT own-rights: what is opened anew may do what the descriptor may, and no more. */
int procfs_descriptor_open(int process, const char *name, int flags) {
    struct told has;
    struct stat status;
    cleanup_close int held = hold(process, name, &has);
    if (held < 0) return take(&held);
    if (fstat(held, &status) < 0) return -errno;
    if (S_ISLNK(status.st_mode) && !(flags & O_PATH && !(flags & O_DIRECTORY))) return flags & O_DIRECTORY ? -ENOTDIR : -ELOOP;
    if (flags & O_PATH) return procfs_descriptor_reopen(held, flags); /* gives no right: whoever opens that anew is asked again */
    int error = procfs_descriptor_may(has.flags, flags) ? 0 : -EACCES;
    if (error && is_pipe(held, &status)) error = find_ends(&has, procfs_descriptor_rights((unsigned)flags));
    if (error) return error;
    if ((flags & O_TRUNC) && !procfs_descriptor_may(has.flags, O_WRONLY) && !S_ISFIFO(status.st_mode)) return -EACCES;
    return procfs_descriptor_reopen(held, flags);
}
