/* Names made, moved and removed. Errors come in Linux's order: the parent, what the last component is, the mount, the
 * object. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "fs_change.h"
#include "fs_place.h"
#include "mounts.h"
#include "special.h"

#define WHITEOUT (1 << 2)
#define NOREPLACE (1 << 0)
#define EXCHANGE (1 << 1)

static struct answer busy(int mount) {
    struct answer answer = answer_denied(EBUSY);
    answer.mount = mount;
    return answer;
}

struct answer fs_mkdir(struct request *request) {
    PLACE(place);
    int error = place_make(request, 0, true, &place);
    if (error < 0) return place.dir < 0 ? answer_error(-error) : place_answer(place.mount, error);
    mode_t mode = place_mode(request, request->mode & 01777);
    return place_answer(place.mount, mkdirat(place.dir, place_slashed(&place), mode) < 0 ? -errno : 0);
}

struct answer fs_mknod(struct request *request) {
    mode_t type = request->mode & S_IFMT;
    if (type == S_IFDIR) return answer_error(EPERM);
    bool device = (S_ISCHR(type) && request->value[0]) || S_ISBLK(type); /* 0:0 is a whiteout: it opens nothing */
    if (!device && type != 0 && !S_ISCHR(type) && !S_ISREG(type) && !S_ISFIFO(type) && !S_ISSOCK(type)) return answer_error(EINVAL);
    PLACE(place);
    int error = place_make(request, 0, false, &place);
    if (error < 0) return place.dir < 0 ? answer_error(-error) : place_answer(place.mount, error);
    if (device) { /* as on Linux without privilege, once it is clear that the name could be made */
        struct stat status;
        if (fstatat(place.dir, place.name, &status, AT_SYMLINK_NOFOLLOW) == 0) return place_answer(place.mount, -EEXIST);
        if (errno != ENOENT) return place_answer(place.mount, -errno);
        error = place_parent_stands(&place);
        return place_answer(place.mount, error < 0 ? error : place.directory ? -ENOENT : -EPERM);
    }
    mode_t mode = place_mode(request, request->mode & 07777);
    if (place_kind(place.mount) == SBX_MOUNT_HOST) mode &= (mode_t)~(S_ISUID | S_ISGID);
    return place_answer(place.mount, mknodat(place.dir, place_slashed(&place), type | mode, 0) < 0 ? -errno : 0);
}

struct answer fs_symlink(struct request *request) {
    if (request->name[0] == 0) return answer_error(ENOENT);
    PLACE(place);
    int error = place_make(request, 0, false, &place);
    if (error < 0) return place.dir < 0 ? answer_error(-error) : place_answer(place.mount, error);
    return place_answer(place.mount, symlinkat(request->name, place.dir, place_slashed(&place)) < 0 ? -errno : 0);
}

/* An object that is to get another name. */
struct source {
    struct place place;
    int fd;          /* O_PATH, where it has no path in the view (O_TMPFILE, behind /proc/self/fd or by itself) */
    int mount;       /* -1: none holds it */
    bool directory;
};

/* By a descriptor of ours: only what a mount holds can be linked, and only in that mount. */
static int source_held(struct source *source) {
    PLACE(place);
    int error = walk_descriptor(gettid(), source->fd, &place);
    source->mount = error < 0 ? -1 : place.mount;
    return error == -EXDEV ? 0 : error;
}

static int source_find(struct request *request, struct source *source) {
    walk_none(&source->place);
    if ((request->flags & AT_EMPTY_PATH) && request->path[0][0] == 0 && !request->path_null[0]) {
        struct held held;
        int error = held_borrow(request, request->dirfd[0], &held);
        source->fd = held.fd;
        source->mount = held.mount;
        source->directory = S_ISDIR(held.status.st_mode);
        return error;
    }
    enum walk_last last = request->flags & AT_SYMLINK_FOLLOW ? WALK_FOLLOW : WALK_NOFOLLOW;
    int error = place_walk(request, 0, last, WALK_EXISTING, &source->place);
    if (error < 0) return error;
    source->mount = source->place.mount;
    struct stat status;
    if ((error = place_stat(request, &source->place, last, &status)) < 0) return error;
    source->directory = S_ISDIR(status.st_mode);
    if (!source->place.special || last == WALK_NOFOLLOW) return 0;
    source->fd = special_open(request, &source->place, O_PATH);
    return source->fd < 0 ? source->fd : source_held(source);
}

static struct answer link_to(struct request *request, struct source *source) {
    PLACE(to);
    int error = place_make(request, 1, false, &to);
    if (error < 0) return to.dir < 0 ? answer_error(-error) : place_answer(to.mount, error);
    bool apart = source->mount != to.mount || (source->fd < 0 && source->place.special);
    if (apart || source->directory) {
        struct stat status;
        if (fstatat(to.dir, to.name, &status, AT_SYMLINK_NOFOLLOW) == 0) return place_answer(to.mount, -EEXIST);
        if (errno != ENOENT) return place_answer(to.mount, -errno);
        error = place_parent_stands(&to);
        return place_answer(to.mount, error < 0 ? error : to.directory ? -ENOENT : apart ? -EXDEV : -EPERM);
    }
    if (source->fd >= 0) {
        char link[32];
        held_link(source->fd, link);
        return place_answer(to.mount, linkat(guest_proc(), link, to.dir, place_slashed(&to), AT_SYMLINK_FOLLOW) < 0 ? -errno : 0);
    }
    int flags; /* followed by the kernel only where it then says ELOOP */
    const char *name = place_at(&source->place, request->flags & AT_SYMLINK_FOLLOW ? WALK_FOLLOW : WALK_NOFOLLOW, &flags);
    flags = mounts_whole() && (request->flags & AT_SYMLINK_FOLLOW) ? AT_SYMLINK_FOLLOW : 0;
    return place_answer(to.mount, linkat(source->place.dir, name, to.dir, place_slashed(&to), flags) < 0 ? -errno : 0);
}

struct answer fs_link(struct request *request) {
    if (request->flags & ~(unsigned)(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH)) return answer_error(EINVAL);
    struct source source = {.fd = -1, .mount = -1};
    int error = source_find(request, &source);
    struct answer answer = error < 0 ? answer_error(-error) : link_to(request, &source);
    walk_done(&source.place);
    guest_close(&source.fd);
    return answer;
}

/* The answer for a name that is where a mount stands. */
static struct answer unlink_point(const struct place *place, int holder, bool directory) {
    bool is_directory = place_kind(place->mount) != SBX_MOUNT_LINK && !mounts_single_file(place->mount);
    if (!mounts_flag(holder, SBX_MOUNT_WRITABLE)) return place_answer(holder, -EROFS);
    if (directory && !is_directory) return place_answer(holder, -ENOTDIR);
    if (!directory && is_directory) return place_answer(holder, -EISDIR);
    return busy(holder);
}

struct answer fs_unlink(struct request *request) {
    if (request->flags & ~(unsigned)AT_REMOVEDIR) return answer_error(EINVAL);
    bool directory = request->flags & AT_REMOVEDIR;
    PLACE(place);
    enum place_last last;
    int error = place_parent(request, 0, &place, &last);
    if (error < 0) return answer_error(-error);
    if (last != PLACE_NAME) {
        static const int of_directory[] = {[PLACE_DOT] = EINVAL, [PLACE_DOTDOT] = ENOTEMPTY, [PLACE_ROOT] = EBUSY};
        return answer_error(directory ? of_directory[last] : EISDIR);
    }
    int holder = place_holder(&place);
    if (place.special) return place_answer(holder, -EPERM);
    if (place_is_point(&place)) return unlink_point(&place, holder, directory);
    if (place_read_only(&place)) {
        error = place_parent_stands(&place);
        return place_answer(place.mount, error < 0 ? error : -EROFS);
    }
    /* A mount point that the host does not have stands in it all the same. */
    if (directory && plan_has_below(mounts_plan(), place.guest)) {
        struct stat status;
        if (place_stat(request, &place, WALK_NOFOLLOW, &status) == 0 && S_ISDIR(status.st_mode)) return place_answer(place.mount, -ENOTEMPTY);
    }
    return place_answer(place.mount, unlinkat(place.dir, place_slashed(&place), directory ? AT_REMOVEDIR : 0) < 0 ? -errno : 0);
}

/* What moves, or is moved over, must not carry a mount point or a hidden name to another path. */
static bool pinned(const struct place *place) {
    struct stat status;
    if (!place_shelters(place)) return false;
    return fstatat(place->dir, place->name, &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(status.st_mode);
}

/* Why the kernel is not asked, in Linux's order; 0: it is. */
static int rename_refusal(const struct place *from, enum place_last last_from, const struct place *to, enum place_last last_to, unsigned flags) {
    int holder = last_from == PLACE_NAME ? place_holder(from) : from->mount;
    if (holder != (last_to == PLACE_NAME ? place_holder(to) : to->mount)) return -EXDEV;
    if (last_from != PLACE_NAME) return -EBUSY;
    if (last_to != PLACE_NAME) return flags & NOREPLACE ? -EEXIST : -EBUSY;
    if (from->special || to->special) return -EPERM;
    if (!mounts_flag(holder, SBX_MOUNT_WRITABLE)) return -EROFS;
    if (place_is_point(to) && (flags & NOREPLACE)) return -EEXIST;
    return place_is_point(from) || place_is_point(to) || pinned(from) || pinned(to) ? -EBUSY : 0;
}

struct answer fs_rename(struct request *request) {
    unsigned flags = request->flags;
    if (flags & ~(unsigned)(NOREPLACE | EXCHANGE)) return answer_error(EINVAL); /* whiteouts are device nodes */
    if ((flags & NOREPLACE) && (flags & EXCHANGE)) return answer_error(EINVAL);
    PLACE(from);
    PLACE(to);
    to.owned = false;
    enum place_last last_from, last_to;
    int error = place_parent(request, 0, &from, &last_from);
    if (error < 0) return answer_error(-error);
    if ((error = place_parent(request, 1, &to, &last_to)) < 0) {
        int first = place_parent_stands(&from); /* a text alone has not told yet (walk.c) */
        return answer_error(first < 0 ? -first : -error);
    }
    int holder = last_from == PLACE_NAME ? place_holder(&from) : from.mount, refusal = rename_refusal(&from, last_from, &to, last_to, flags);
    if (refusal < 0) {
        if ((error = place_parent_stands(&from)) == 0) error = place_parent_stands(&to);
        struct answer answer = place_answer(holder, error < 0 ? error : refusal);
        if (error == 0 && refusal == -EBUSY && last_from == PLACE_NAME && last_to == PLACE_NAME) answer.denied = true;
        return answer;
    }
    long did = syscall(SYS_renameat2, from.dir, place_slashed(&from), to.dir, place_slashed(&to), flags);
    return place_answer(holder, did < 0 ? -errno : 0);
}
