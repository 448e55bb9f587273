#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "fs.h"
#include "fs_place.h"
#include "mounts.h"
#include "procfs.h"

#define LOOK_FLAGS (AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC_TYPE)

static enum walk_last last_of(const struct request *request) {
    return request->flags & AT_SYMLINK_NOFOLLOW ? WALK_NOFOLLOW : WALK_FOLLOW;
}

/* The guest's own descriptor, below guest_proc(): of any kind, without borrowing it. */
static int descriptor_link(const struct request *request, char link[48]) {
    int fd = request->paths ? request->dirfd[0] : request->fd;
    if (fd < 0) return -EBADF;
    snprintf(link, 48, "%d/fd/%d", request->tid, fd);
    return 0;
}
static int descriptor_error(void) { return errno == ENOENT ? -EBADF : -errno; }
static bool names_cwd(const struct request *request) { return request->paths && request->dirfd[0] == AT_FDCWD; }

static int stat_descriptor(const struct request *request, struct stat *status) {
    if (names_cwd(request)) {
        struct held held cleanup_held;
        int error = held_borrow(request, AT_FDCWD, &held);
        if (error < 0) return error;
        return fstat(held.fd, status) < 0 ? -errno : 0;
    }
    char link[48];
    int error = descriptor_link(request, link);
    if (error < 0) return error;
    return fstatat(guest_proc(), link, status, 0) < 0 ? descriptor_error() : 0;
}

static struct answer with_out(struct answer answer, uint64_t address, const void *data, size_t size) {
    if (!answer.error) answer.out[0] = (struct answer_out){address, data, size};
    return answer;
}

struct answer fs_stat(struct request *request) {
    if (request->flags & ~(unsigned)LOOK_FLAGS) return answer_error(EINVAL);
    struct stat *status = (struct stat *)(void *)request->buffer;
    if (held_by_descriptor(request)) return with_out(answer_result(stat_descriptor(request, status)), request->out, status, sizeof *status);
    PLACE(place);
    int error = place_walk(request, 0, last_of(request), WALK_EXISTING, &place);
    if (error < 0) return answer_error(-error);
    error = place_stat(request, &place, last_of(request), status);
    return with_out(place_answer(place.mount, error), request->out, status, sizeof *status);
}

static void statx_from(const struct stat *from, struct statx *to) {
    memset(to, 0, sizeof *to);
    to->stx_mask = STATX_BASIC_STATS;
    to->stx_blksize = (uint32_t)from->st_blksize;
    to->stx_nlink = (uint32_t)from->st_nlink;
    to->stx_uid = from->st_uid;
    to->stx_gid = from->st_gid;
    to->stx_mode = (uint16_t)from->st_mode;
    to->stx_ino = from->st_ino;
    to->stx_size = (uint64_t)from->st_size;
    to->stx_blocks = (uint64_t)from->st_blocks;
    to->stx_atime = (struct statx_timestamp){.tv_sec = from->st_atim.tv_sec, .tv_nsec = (uint32_t)from->st_atim.tv_nsec};
    to->stx_mtime = (struct statx_timestamp){.tv_sec = from->st_mtim.tv_sec, .tv_nsec = (uint32_t)from->st_mtim.tv_nsec};
    to->stx_ctime = (struct statx_timestamp){.tv_sec = from->st_ctim.tv_sec, .tv_nsec = (uint32_t)from->st_ctim.tv_nsec};
    to->stx_rdev_major = (uint32_t)(from->st_rdev >> 8 & 0xfff);
    to->stx_rdev_minor = (uint32_t)((from->st_rdev & 0xff) | (from->st_rdev >> 12 & 0xfff00));
    to->stx_dev_major = (uint32_t)(from->st_dev >> 8 & 0xfff);
    to->stx_dev_minor = (uint32_t)((from->st_dev & 0xff) | (from->st_dev >> 12 & 0xfff00));
}

#ifndef STATX_MNT_ID
#define STATX_MNT_ID 0x1000u
#endif
#define MNT_ID_UNIQUE 0x4000u
#ifndef STATX_ATTR_MOUNT_ROOT
#define STATX_ATTR_MOUNT_ROOT 0x2000
#endif

/* The kernel's mount ids are the sentry's; the guest's are the places in its mount table, from 1. */
static void show_mount(struct statx *status, uint32_t asked, int mount, bool root) {
    status->stx_mask &= ~(STATX_MNT_ID | MNT_ID_UNIQUE);
    uint64_t id = (uint64_t)mount + 1;
    memset((char *)status + 0x90, 0, sizeof id); /* stx_mnt_id */
    if (mount < 0) return;
    memcpy((char *)status + 0x90, &id, sizeof id);
    status->stx_mask |= asked & MNT_ID_UNIQUE ? MNT_ID_UNIQUE : STATX_MNT_ID;
    status->stx_attributes_mask |= STATX_ATTR_MOUNT_ROOT;
    status->stx_attributes &= ~(uint64_t)STATX_ATTR_MOUNT_ROOT;
    if (root) status->stx_attributes |= STATX_ATTR_MOUNT_ROOT;
}

static int statx_descriptor(const struct request *request, uint32_t mask, struct statx *status) {
    int sync = (int)(request->flags & AT_STATX_SYNC_TYPE), error = 0, mount = -1;
    char link[48];
    if (names_cwd(request)) {
        struct held held cleanup_held;
        if ((error = held_borrow(request, AT_FDCWD, &held)) < 0) return error;
        if (statx(held.fd, "", AT_EMPTY_PATH | sync, mask, status) < 0) return -errno;
        mount = held.mount;
    } else {
        if ((error = descriptor_link(request, link)) < 0) return error;
        if (statx(guest_proc(), link, sync, mask, status) < 0) return descriptor_error();
        PLACE(place);
        if (mask & (STATX_MNT_ID | MNT_ID_UNIQUE) && walk_descriptor(request->tid, request->dirfd[0], &place) == 0) mount = place.mount;

    }
    show_mount(status, mask, mount, false);
    return 0;
}

struct answer fs_statx(struct request *request) {
    uint32_t mask = (uint32_t)request->value[0];
    struct statx *status = (struct statx *)(void *)request->buffer;
    if (mask & 0x80000000u) return answer_error(EINVAL);
    if ((request->flags & AT_STATX_SYNC_TYPE) == AT_STATX_SYNC_TYPE) return answer_error(EINVAL);
    if (request->flags & ~(unsigned)LOOK_FLAGS) return answer_error(EINVAL);
    if (held_by_descriptor(request))
        return with_out(answer_result(statx_descriptor(request, mask, status)), request->out, status, sizeof *status);
    PLACE(place);
    int error = place_walk(request, 0, last_of(request), WALK_EXISTING, &place);
    if (error < 0) return answer_error(-error);
    if (place.special) {
        struct stat plain;
        if ((error = place_stat(request, &place, last_of(request), &plain)) == 0) statx_from(&plain, status);
    } else {
        int flags;
        const char *name = place_at(&place, last_of(request), &flags);
        flags |= (int)(request->flags & AT_STATX_SYNC_TYPE);
        /* the type, to see links, even where the guest has not asked */
        if (statx(place.dir, name, flags, mask | STATX_TYPE, status) < 0) error = -errno;
        else if (S_ISLNK(status->stx_mode) && (last_of(request) == WALK_FOLLOW || place.directory)) error = -ELOOP;
        else if (place.directory && !S_ISDIR(status->stx_mode)) error = -ENOTDIR;
    }
    if (!error) show_mount(status, mask, place.mount, place_is_point(&place));
    return with_out(place_answer(place.mount, error), request->out, status, sizeof *status);
}

/* Where the kernel does not know it: a file made by a service has its mode bits. */
static int access_special(const struct stat *status, uint32_t mode) {
    unsigned bits = status->st_mode;
    unsigned granted = status->st_uid == geteuid() ? bits >> 6 : status->st_gid == getegid() ? bits >> 3 : bits;
    return (mode & 7 & ~granted) ? -EACCES : 0;
}

static int access_place(struct request *request, struct place *place) {
    struct stat status;
    int error = 0;
    bool looked = place->special || !mounts_whole();
    if (looked && (error = place_stat(request, place, last_of(request), &status)) < 0) return error;
    if (place->special) return access_special(&status, request->mode);
    int flags;
    const char *name = place_at(place, last_of(request), &flags);
    if (looked && S_ISREG(status.st_mode) && (request->mode & X_OK) && !mounts_flag(place->mount, SBX_MOUNT_EXEC)) return -EACCES;
    if (syscall(SYS_faccessat2, place->dir, name, request->mode, flags | (int)(request->flags & AT_EACCESS)) < 0) return -errno;
    bool plain = looked && (S_ISREG(status.st_mode) || S_ISDIR(status.st_mode) || S_ISLNK(status.st_mode));
    return plain && (request->mode & W_OK) && place_read_only(place) ? -EROFS : 0;
}

struct answer fs_access(struct request *request) {
    if (request->mode & ~7u) return answer_error(EINVAL);
    if (request->flags & ~(unsigned)(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)) return answer_error(EINVAL);
    if (held_by_descriptor(request)) {
        struct held held cleanup_held;
        int error = held_borrow(request, request->dirfd[0], &held);
        if (error < 0) return answer_error(-error);
        int flags = AT_EMPTY_PATH | (int)(request->flags & AT_EACCESS);
        if (syscall(SYS_faccessat2, held.fd, "", request->mode, flags) < 0) return answer_error(errno);
        bool plain = S_ISREG(held.status.st_mode) || S_ISDIR(held.status.st_mode);
        bool refused = plain && (request->mode & W_OK) && held.mount >= 0 && !mounts_flag(held.mount, SBX_MOUNT_WRITABLE);
        return place_answer(held.mount, refused ? -EROFS : 0);
    }
    PLACE(place);
    int error = place_walk(request, 0, last_of(request), WALK_EXISTING, &place);
    if (error < 0) return answer_error(-error);
    return place_answer(place.mount, access_place(request, &place));
}

static int link_text(struct request *request, struct place *place, char *text, size_t room) {
    if (place->special) {
        enum procfs_kind kind;
        if (place_kind(place->mount) != SBX_MOUNT_PROC) return -EINVAL;
        int error = procfs_look(request, place->name, &kind, text);
        if (error < 0) return error;
        if (kind != PROCFS_LINK && kind != PROCFS_MAGIC) return -EINVAL;
        return text[0] ? (int)strlen(text) : -ENOENT;
    }
    int flags;
    const char *name = place_at(place, WALK_NOFOLLOW, &flags);
    if (place->name[0] == 0) return -EINVAL; /* where a mount stands there is no link */
    ssize_t length = readlinkat(place->dir, name, text, room);
    return length < 0 ? -errno : (int)length;
}

/* Of a link that is held by a descriptor. One of /proc tells what the guest's view knows, not what the kernel does. */
static int text_of_held(struct request *request, int fd, char text[SBX_PATH_MAX]) {
    PLACE(place);
    if (walk_descriptor(gettid(), fd, &place) == 0 && place.special) {
        int told = link_text(request, &place, text, SBX_PATH_MAX);
        return told == -EINVAL ? -ENOENT : told; /* Linux says so of what is no link, where the path is empty */
    }
    ssize_t length = readlinkat(fd, "", text, SBX_PATH_MAX);
    return length < 0 ? -errno : (int)length;
}

struct answer fs_readlink(struct request *request) {
    char *text = (char *)request->buffer;
    if ((int)request->size <= 0) return answer_error(EINVAL);
    size_t size = (size_t)request->size < SBX_PATH_MAX ? (size_t)request->size : SBX_PATH_MAX;
    int length, mount = -1;
    if (request->path[0][0] == 0 && !request->path_null[0] && request->dirfd[0] != AT_FDCWD) { /* of an O_PATH descriptor of a link */
        cleanup_close int fd = guest_borrow_fd(request->tid, request->dirfd[0]);
        length = fd < 0 ? fd : text_of_held(request, fd, text);
    } else {
        PLACE(place);
        length = place_walk(request, 0, WALK_NOFOLLOW, WALK_EXISTING, &place);
        if (length < 0) return answer_error(-length);
        length = link_text(request, &place, text, SBX_PATH_MAX);
        mount = place.mount;
    }
    if (length < 0) return place_answer(mount, length);
    if ((size_t)length > size) length = (int)size;
    return with_out(place_answer(mount, length), request->out, text, (size_t)length);
}

struct answer fs_statfs(struct request *request) {
    PLACE(place);
    int error = place_walk(request, 0, WALK_FOLLOW, WALK_EXISTING, &place);
    if (error < 0) return answer_error(-error);
    struct statfs *status = (struct statfs *)(void *)request->buffer;
    if (place.special) error = fstatfs(guest_proc(), status) < 0 ? -errno : 0;
    else {
        struct stat seen;
        if ((error = place_stat(request, &place, WALK_FOLLOW, &seen)) < 0) return place_answer(place.mount, error);
        cleanup_close int fd = walk_open(&place, O_PATH | O_NOFOLLOW, 0);
        error = fd < 0 ? fd : fstatfs(fd, status) < 0 ? -errno : 0;
    }
    status->f_flags |= ST_NOSUID | (place_read_only(&place) ? ST_RDONLY : 0) | (mounts_flag(place.mount, SBX_MOUNT_EXEC) ? 0 : ST_NOEXEC) |
                       (mounts_flag(place.mount, SBX_MOUNT_DEVICE) ? 0 : ST_NODEV);
    return with_out(place_answer(place.mount, error), request->out, status, sizeof *status);
}
