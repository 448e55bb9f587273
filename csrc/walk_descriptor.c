/* Where a descriptor is in the guest's view: by the name that the kernel has for it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "mounts.h"
#include "walk_inner.h"

bool walk_is_service(int mount) {
    enum sbx_mount_kind kind = (enum sbx_mount_kind)plan_mount(mounts_plan(), (uint32_t)mount)->kind;
    return kind == SBX_MOUNT_PROC || kind == SBX_MOUNT_TTY || kind == SBX_MOUNT_SERVICE;
}

/* The kernel's name of a descriptor -> mount and guest path. */
static int name_to_guest(const char *name, ssize_t length, int *mount, char guest[SBX_PATH_MAX]) {
    if (length < 0) return -errno;
    if (length >= SBX_PATH_MAX) return -ENAMETOOLONG;
    if (name[0] != '/') return -EXDEV;
    size_t rest;
    *mount = mounts_locate(name, &rest);
    if (*mount < 0) return -EXDEV;
    const char *point = plan_text(mounts_plan(), plan_mount(mounts_plan(), (uint32_t)*mount)->guest);
    int made = snprintf(guest, SBX_PATH_MAX, "%s%s%s", strcmp(point, "/") == 0 ? "" : point, name[rest] ? "/" : "", name + rest);
    if (made >= SBX_PATH_MAX) return -ENAMETOOLONG;
    if (guest[0] == 0) strcpy(guest, "/");
    return 0;
}

static bool deleted(const char *name, ssize_t length) {
    return length > 10 && memcmp(name + length - 10, " (deleted)", 10) == 0;
}

int walk_locate(int fd, int *mount, char guest[SBX_PATH_MAX]) {
    char link[32], name[SBX_PATH_MAX];
    snprintf(link, sizeof link, "self/fd/%d", fd);
    ssize_t length = readlinkat(mounts_proc(), link, name, sizeof name - 1);
    if (length > 0) name[length] = 0;
    struct stat status;
    if (deleted(name, length) && fstat(fd, &status) == 0 && status.st_nlink == 0) return -ENOENT;
    return name_to_guest(name, length, mount, guest);
}

int walk_locate_removed(int fd, int *mount, char guest[SBX_PATH_MAX]) {
    char link[32], name[SBX_PATH_MAX];
    snprintf(link, sizeof link, "self/fd/%d", fd);
    ssize_t length = readlinkat(mounts_proc(), link, name, sizeof name - 1);
    if (length > 10) length -= 10; /* " (deleted)" */
    if (length > 0) name[length] = 0;
    return name_to_guest(name, length, mount, guest);
}

/* An empty file in memory, by whose name the place is found again: nothing is in it to be read. A guest that makes one of that
 * name names what it can open anyway. */
#define NAME "sandbox:"
#define NAMED "/memfd:" NAME

static int named_by(const char *name) {
    char *end = NULL;
    unsigned long mount = strncmp(name, NAMED, sizeof NAMED - 1) == 0 ? strtoul(name + sizeof NAMED - 1, &end, 10) : 0;
    return end && *end == 0 && mount > 0 && mount < mounts_plan()->mount_count && walk_is_service((int)mount) ? (int)mount : -1;
}

int walk_open_name(int mount, mode_t mode) {
    char name[32], link[32];
    snprintf(name, sizeof name, NAME "%d", mount);
    cleanup_close int memory = memfd_create(name, MFD_CLOEXEC);
    if (memory < 0 || fchmod(memory, mode) < 0) return -errno;
    snprintf(link, sizeof link, "self/fd/%d", memory);
    int fd = openat(mounts_proc(), link, O_PATH | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int walk_own(int fd, char guest[SBX_PATH_MAX]) {
    int mount;
    return walk_locate(fd, &mount, guest);
}

int walk_descriptor(pid_t tid, int fd, struct place *place) {
    walk_none(place);
    if (fd < 0) return -EBADF;
    char link[48], name[SBX_PATH_MAX];
    snprintf(link, sizeof link, "%d/fd/%d", tid, fd);
    /* Held before it is named: the guest can put another file behind the number at any time. */
    cleanup_close int held = openat(mounts_proc(), link, O_PATH | O_CLOEXEC);
    if (held < 0) return errno == ENOENT ? -EBADF : -errno;
    snprintf(link, sizeof link, "self/fd/%d", held);
    ssize_t length = readlinkat(mounts_proc(), link, name, sizeof name - 1);
    if (length < 0) return -errno;
    name[length] = 0;
    struct stat status;
    bool cut = deleted(name, length);
    if (cut && fstat(held, &status) == 0 && status.st_nlink == 0) name[length -= 10] = 0;
    int named = cut ? named_by(name) : -1;
    int error = named < 0 ? name_to_guest(name, length, &place->mount, place->guest) : 0;
    if (error < 0) return error;
    if (named >= 0) strcpy(place->guest, plan_text(mounts_plan(), plan_mount(mounts_plan(), (uint32_t)(place->mount = named))->guest));
    place->special = named >= 0 || (!cut && walk_is_service(place->mount));
    place->directory = false;
    const char *below = place->guest + plan_mount(mounts_plan(), (uint32_t)place->mount)->guest_length;
    strcpy(place->name, place->special ? below + strspn(below, "/") : "");
    place->dir = take(&held);
    place->owned = true;
    return 0;
}

int walk_cwd(const struct context *context, char guest[SBX_PATH_MAX]) {
    if (context->cwd < 0) {
        strcpy(guest, context->cwd_path);
        return 0;
    }
    return walk_own(context->cwd, guest);
}

struct directory *walk_kept(pid_t tid, int fd) { return directory_of(tid, fd, walk_locate); }
