#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "mounts.h"
#include "walk_inner.h"

/* INVARIANT below-root: the kernel resolves `name` under `dir` and refuses links and whatever would leave it. */
int walk_below(int dir, const char *name, int flags, mode_t mode) {
    if (flags & O_PATH) flags &= O_PATH | O_DIRECTORY | O_NOFOLLOW; /* openat2 takes nothing else beside it */
    struct open_how how = {.flags = (uint64_t)(unsigned)(flags | O_CLOEXEC), .mode = mode,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS};
    if (!(flags & (O_CREAT | 020000000))) how.mode = 0;
    int fd;
    int tries = 16; /* EAGAIN: a rename somewhere raced with the walk; the kernel asks to try again */
    do fd = (int)syscall(SYS_openat2, dir, name[0] ? name : ".", &how, sizeof how); while (fd < 0 && errno == EAGAIN && --tries);
    return fd < 0 ? -errno : fd;
}

/* A single file or an object already held is opened anew by its own descriptor: a link that only we can name. */
static int reopen(int fd, int flags, mode_t mode) {
    char link[32];
    snprintf(link, sizeof link, "self/fd/%d", fd);
    if ((flags & O_TMPFILE) != O_TMPFILE) flags &= ~(O_CREAT | O_EXCL);
    int opened = openat(mounts_proc(), link, (flags & ~O_NOFOLLOW) | O_CLOEXEC, mode);
    return opened < 0 ? -errno : opened;
}

int walk_open(const struct place *place, int flags, mode_t mode) {
    /* INVARIANT read-only-means-it: nothing opened from a read-only mount can be written. */
    int access = flags & O_ACCMODE;
    bool writes = !(flags & O_PATH) && (access == O_WRONLY || access == O_RDWR || access == 3 || (flags & O_TRUNC));
    bool read_only = !mounts_flag(place->mount, SBX_MOUNT_WRITABLE) && !mounts_flag(place->mount, SBX_MOUNT_DEVICE);
    flags |= O_CLOEXEC | O_NOCTTY;
    if (place->directory && !(flags & O_CREAT)) flags |= O_DIRECTORY;
    if (place->dir < 0) return -ENXIO;
    bool itself = place->name[0] == 0;
    if (itself && (flags & O_CREAT) && (flags & O_EXCL)) return -EEXIST;
    if (read_only && (writes || (flags & O_CREAT) || (flags & 020000000 && (flags & O_TMPFILE) == O_TMPFILE))) {
        if ((flags & O_TMPFILE) == O_TMPFILE) return -EROFS;
        /* Linux looks first: what is missing cannot be made, what is there cannot be written. */
        cleanup_close int there = itself ? -1 : walk_below(place->dir, place->name, O_PATH | O_NOFOLLOW, 0);
        if (!itself && there == -ENOENT) return flags & O_CREAT ? -EROFS : -ENOENT;
        if (!itself && there < 0) return there;
        struct stat status;
        if (fstat(itself ? place->dir : there, &status) < 0) return -errno;
        if ((flags & O_CREAT) && (flags & O_EXCL)) return -EEXIST;
        if (S_ISLNK(status.st_mode)) return -ELOOP;
        if (S_ISDIR(status.st_mode) && (writes || (flags & O_CREAT))) return -EISDIR;
        if (writes && (S_ISREG(status.st_mode))) return -EROFS;
        flags &= ~O_CREAT;
    }
    if (place->directory) flags &= ~O_NOFOLLOW;
    /* Without O_NOFOLLOW a link is ELOOP by RESOLVE_NO_SYMLINKS, whatever else is asked; with it the flag would stay. */
    if (!itself) return walk_below(place->dir, place->name, flags, mode);
    if (mounts_single_file(place->mount) || place->owned) {
        if (flags & O_PATH) {
            struct stat status;
            if (fstat(place->dir, &status) < 0) return -errno;
            if ((flags & O_DIRECTORY) && !S_ISDIR(status.st_mode)) return -ENOTDIR;
            int copy = fcntl(place->dir, F_DUPFD_CLOEXEC, 0);
            return copy < 0 ? -errno : copy;
        }
        return reopen(place->dir, flags, mode);
    }
    if (flags & O_CREAT) return -EISDIR;
    int fd = walk_below(place->dir, "", flags, mode);
    return fd == -EACCES && !(flags & O_TMPFILE & ~O_DIRECTORY) ? reopen(place->dir, flags, mode) : fd; /* "." asks for search, a mount's own path not */
}
