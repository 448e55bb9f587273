#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "fs.h"
#include "fs_place.h"
#include "loop.h"
#include "mounts.h"
#include "pts.h"
#include "special.h"

#define TMPFILE_BIT (O_TMPFILE & ~O_DIRECTORY)
/* What open(2) knows; it ignores the rest, openat2 would not. O_ASYNC is left out: SIGIO is not for guests. */
#define KNOWN (O_ACCMODE | O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_APPEND | O_NONBLOCK | O_SYNC | O_DSYNC | O_DIRECT | \
               O_DIRECTORY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC | O_PATH | TMPFILE_BIT)

static int open_flags(const struct request *request) {
    unsigned flags = request->flags & (unsigned)KNOWN;
    if (flags & O_PATH) flags &= O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    return (int)flags;
}

/* Flags that Linux refuses before it looks at the path. */
static bool flags_valid(int flags) {
    if ((flags & O_CREAT) && (flags & O_DIRECTORY)) return false;
    if (!(flags & TMPFILE_BIT)) return true;
    return (flags & O_DIRECTORY) && (flags & O_ACCMODE) != O_RDONLY;
}

/* A path to create that ends in a slash, "." or "..": it may only be there already, or be a directory. */
static int refuse_create(struct request *request, int flags, bool *refused) {
    const char *path = request->path[0];
    size_t length = strlen(path);
    const char *slash = strrchr(path, '/');
    const char *last = slash ? slash + 1 : path;
    *refused = length > 0 && (last[0] == 0 || strcmp(last, ".") == 0 || strcmp(last, "..") == 0);
    if (!*refused) return 0;
    PLACE(place);
    enum place_last kind;
    int error = place_parent(request, 0, &place, &kind);
    if (error == 0 && kind == PLACE_NAME) error = place_parent_stands(&place);
    if (error < 0) return error;
    return kind != PLACE_NAME && (flags & O_EXCL) ? -EEXIST : -EISDIR;
}

/* The rights of a new file. Set-id files cannot be made where the host would honour them. */
static mode_t new_mode(const struct request *request, int mount) {
    mode_t mode = place_mode(request, request->mode & 07777);
    return place_kind(mount) == SBX_MOUNT_HOST ? mode & (mode_t)~(S_ISUID | S_ISGID) : mode;
}

static bool is_device(mode_t mode) { return S_ISCHR(mode) || S_ISBLK(mode); }

/* Only granted devices may be opened; elsewhere nodev is ours to keep. */
static bool devices_allowed(int mount) {
    return mounts_flag(mount, SBX_MOUNT_DEVICE) || place_kind(mount) == SBX_MOUNT_PTS;
}

/* A name may have been moved since it was looked at: a device must not come out. */
static int checked(const struct place *place, int opened) {
    cleanup_close int fd = opened;
    struct stat status;
    if (fd < 0 || mounts_whole() || devices_allowed(place->mount)) return take(&fd);
    return fstat(fd, &status) < 0 || is_device(status.st_mode) ? -EACCES : take(&fd);
}

struct opening { const struct place *place; int flags; };
static int open_now(const void *what) {
    const struct opening *opening = what;
    return walk_open(opening->place, opening->flags, 0);
}

/* Opening one end of a FIFO waits for the other. */
static int open_waiting(const struct place *place, int flags) {
    struct opening opening = {place, flags};
    return checked(place, loop_block_open(open_now, &opening));
}

static int open_place(struct request *request, struct place *place, enum walk_last last, int flags) {
    if (place_kind(place->mount) == SBX_MOUNT_PTS && !mounts_whole() && !(flags & O_PATH)) return pts_open(place, flags);
    mode_t mode = flags & (O_CREAT | TMPFILE_BIT) ? new_mode(request, place->mount) : 0;
    if (flags & O_PATH || (flags & TMPFILE_BIT && !place_read_only(place))) return walk_open(place, flags, mode);
    struct stat status;
    int error = place_stat(request, place, last, &status);
    if (flags & TMPFILE_BIT) return error < 0 ? error : S_ISDIR(status.st_mode) ? -EROFS : -ENOTDIR;
    if (error < 0 && error != -ENOENT) return error;
    if (error == -ENOENT && (flags & O_CREAT) && place_read_only(place)) {
        error = place_parent_stands(place);
        return error < 0 ? error : -EROFS;
    }
    if (error == 0) {
        if ((flags & O_CREAT) && (flags & O_EXCL)) return -EEXIST;
        if ((flags & O_DIRECTORY) && !S_ISDIR(status.st_mode)) return -ENOTDIR;
        int access = flags & O_ACCMODE;
        bool regular = S_ISREG(status.st_mode), writes = access != O_RDONLY || (flags & O_TRUNC);
        if (is_device(status.st_mode) && !devices_allowed(place->mount)) return -EACCES;
        if (place_read_only(place) && regular && writes) {
            int at; /* rights are asked before the mount, but truncation is not */
            const char *name = place_at(place, WALK_NOFOLLOW, &at);
            int wants = access == O_RDONLY ? R_OK : access == O_WRONLY ? W_OK : R_OK | W_OK;
            if (!(flags & O_TRUNC) && syscall(SYS_faccessat2, place->dir, name, wants, at | AT_EACCESS) < 0 && errno == EACCES) return -EACCES;
            return -EROFS;
        }
        /* A FIFO of the host is not written through a read-only grant. */
        if (S_ISFIFO(status.st_mode) && place_read_only(place) && access != O_RDONLY) return -EROFS;
        if (S_ISFIFO(status.st_mode) && !(flags & O_NONBLOCK) && access != O_RDWR) return open_waiting(place, flags);
    }
    return checked(place, walk_open(place, flags, mode));
}

struct answer fs_open(struct request *request) {
    int flags = open_flags(request);
    bool creates = flags & O_CREAT, refused = false;
    if (!flags_valid(flags)) return answer_error(EINVAL);
    int error = creates ? refuse_create(request, flags, &refused) : 0;
    if (error < 0) return answer_error(-error);
    enum walk_last last = (flags & O_NOFOLLOW) || (creates && (flags & O_EXCL)) ? WALK_NOFOLLOW : WALK_FOLLOW;
    PLACE(place);
    error = place_walk(request, 0, last, creates ? WALK_MAY_CREATE : WALK_EXISTING, &place);
    if (error < 0) return answer_error(-error);
    if (creates && place.directory) return place_answer(place.mount, -EISDIR); /* by a link whose text ends in a slash */
    if (place.directory) flags &= ~O_NOFOLLOW; /* a slash after a link follows it */
    if (place.special && creates && (flags & O_EXCL)) return place_answer(place.mount, -EEXIST);
    int fd = place.special ? special_open(request, &place, flags) : open_place(request, &place, last, flags);
    if (fd < 0) return place_answer(place.mount, fd);
    struct answer answer = answer_fd(fd, (uint32_t)flags & O_CLOEXEC);
    answer.mount = place.mount;
    /* Written, closed and executed or locked at once: our copy must not stand in the way. */
    answer.alone = !(flags & O_PATH) && (flags & O_ACCMODE) != O_RDONLY;
    return answer;
}
