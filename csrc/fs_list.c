#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "fs.h"
#include "fs_place.h"
#include "mounts.h"
#include "procfs.h"

/* The kernel's record; glibc's struct dirent64 is the same, but for the size of the name. */
struct entry {
    uint64_t inode;
    int64_t next;      /* where the directory's offset goes on after this entry */
    uint16_t size;
    uint8_t type;
    char name[];
};
#define NAME_AT offsetof(struct entry, name)
static size_t entry_size(const char *name) { return (NAME_AT + strlen(name) + 1 + 7) & ~(size_t)7; }

/* A directory of the guest's: where it is, and what our table has to say about it. */
struct listing {
    int fd;
    char guest[SBX_PATH_MAX];
    const char *rest;         /* of `guest`, in its mount */
    const struct sbx_mount *mount;
};

static bool hidden(const struct listing *listing, const char *name) {
    if (listing->mount->kind == SBX_MOUNT_PROC) return !procfs_listed(listing->rest, name);
    if (listing->mount->hide_count == 0 || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) return false;
    char path[SBX_PATH_MAX + 256];
    size_t length = strlen(listing->rest), more = strlen(name);
    if (length + more + 2 > sizeof path) return true;
    memcpy(path, listing->rest, length);
    if (length) path[length++] = '/';
    memcpy(path + length, name, more + 1);
    return plan_hidden(mounts_plan(), listing->mount, path);
}

/* Name of a mount point directly in the listed directory, or NULL. */
static const char *point_name(const struct listing *listing, int mount) {
    const char *point = plan_text(mounts_plan(), plan_mount(mounts_plan(), (uint32_t)mount)->guest);
    const char *name = point + (listing->guest[1] ? strlen(listing->guest) + 1 : 1);
    return strchr(name, '/') ? NULL : name;
}

static int next_point(const struct listing *listing, int from, const char **name) {
    for (int at = from; (at = plan_next_below(mounts_plan(), listing->guest, at)) >= 0; at++)
        if ((*name = point_name(listing, at)) != NULL) return at;
    return -1;
}

static uint8_t point_type(int mount) {
    switch (place_kind(mount)) {
    case SBX_MOUNT_LINK: return DT_LNK;
    case SBX_MOUNT_TTY: return DT_CHR;
    case SBX_MOUNT_PROC: case SBX_MOUNT_PTS: case SBX_MOUNT_SCRATCH: return DT_DIR;
    case SBX_MOUNT_BYTES: case SBX_MOUNT_SERVICE: return DT_REG;
    default: break;
    }
    if (!mounts_single_file(mount)) return DT_DIR;
    return mounts_flag(mount, SBX_MOUNT_DEVICE) ? DT_CHR : DT_REG;
}

static bool in_host_directory(const struct listing *listing, const char *name) {
    struct stat status;
    return fstatat(listing->fd, name, &status, AT_SYMLINK_NOFOLLOW) == 0;
}

/* Leave out what is hidden; give mount points their type. Bytes that stay. */
static size_t filter(const struct listing *listing, uint8_t *buffer, size_t size) {
    size_t kept = 0;
    for (size_t at = 0; at < size;) {
        struct entry *entry = (struct entry *)(void *)(buffer + at);
        size_t length = entry->size;
        if (length < NAME_AT || length > size - at) break;
        const char *name;
        for (int point = 0; (point = next_point(listing, point, &name)) >= 0; point++)
            if (strcmp(name, entry->name) == 0) entry->type = point_type(point);
        if (!hidden(listing, entry->name)) {
            memmove(buffer + kept, entry, length);
            kept += length;
        }
        at += length;
    }
    return kept;
}

/* Mount points that the host's directory does not have: into `to`, or only their size where it is NULL. They come after
 * the first entry, whose offset they take: a reader that seeks to one of them goes on behind them all. */
static size_t merge(const struct listing *listing, uint8_t *to, int64_t next) {
    size_t size = 0;
    const char *name;
    for (int point = 0; (point = next_point(listing, point, &name)) >= 0; point++) {
        if (in_host_directory(listing, name)) continue;
        if (to) {
            struct entry *entry = (struct entry *)(void *)(to + size);
            memset(entry, 0, entry_size(name));
            *entry = (struct entry){.inode = (uint64_t)point + 1, .next = next, .size = (uint16_t)entry_size(name), .type = point_type(point)};
            memcpy(entry->name, name, strlen(name));
        }
        size += entry_size(name);
        if (size > 32768) return size;
    }
    return size;
}

static int read_entries(const struct listing *listing, uint8_t *buffer, size_t size) {
    bool start = listing->mount && lseek(listing->fd, 0, SEEK_CUR) == 0;
    size_t extra = start ? merge(listing, NULL, 0) : 0;
    if (extra > 32768 || extra >= size) return -EINVAL; /* as for a buffer that is too small for one entry */
    for (;;) {
        long got = syscall(SYS_getdents64, listing->fd, buffer, size - extra);
        if (got < 0) return -errno;
        if (got == 0 || listing->mount == NULL) return (int)got;
        size_t kept = filter(listing, buffer, (size_t)got);
        if (kept && extra) {
            const struct entry *first = (const struct entry *)(const void *)buffer;
            size_t after = first->size;
            memmove(buffer + after + extra, buffer + after, kept - after);
            merge(listing, buffer + after, first->next);
            kept += extra;
        }
        if (kept) return (int)kept; /* 0 would mean the end: read on where all was hidden */
    }
}

static struct answer list(struct request *request, struct listing *listing, bool placed) {
    size_t size = request->size < sizeof request->buffer ? (size_t)request->size : sizeof request->buffer;
    int mount = -1;
    if (placed) { /* else a foreign or a removed directory: listed as it is */
        uint32_t rest = 0;
        mount = sbx_plan_find(mounts_plan(), listing->guest, &rest);
        if (mount < 0) return answer_error(ENOENT);
        listing->rest = listing->guest + rest;
        const struct sbx_mount *holds = plan_mount(mounts_plan(), (uint32_t)mount);
        if (holds->kind == SBX_MOUNT_PROC || holds->hide_count || plan_has_below(mounts_plan(), listing->guest)) listing->mount = holds;
    }
    int got = read_entries(listing, request->buffer, size);
    struct answer answer = place_answer(mount, got);
    if (got > 0) answer.out[0] = (struct answer_out){request->out, request->buffer, (size_t)got};
    return answer;
}

struct answer fs_getdents(struct request *request) {
    struct listing listing = {.fd = -1};
    struct directory *kept = walk_kept(request->tid, request->fd);
    cleanup_close int fd = kept ? -1 : guest_borrow_fd(request->tid, request->fd);
    if (kept == NULL && fd < 0) return answer_error(-fd);
    listing.fd = kept ? kept->fd : fd; /* either way the guest's own position in it */
    if (kept) strcpy(listing.guest, kept->guest);
    struct answer answer = list(request, &listing, kept || walk_own(fd, listing.guest) == 0);
    if (kept) directory_put(kept);
    return answer;
}
