#include "fs_place.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "mounts.h"
#include "special.h"

enum sbx_mount_kind place_kind(int mount) {
    return (enum sbx_mount_kind)plan_mount(mounts_plan(), (uint32_t)mount)->kind;
}

/* Mount of the directory that holds the guest path, and the offset of the rest in it. */
static int holder_of(const char *guest, uint32_t *rest) {
    char parent[SBX_PATH_MAX];
    const char *slash = strrchr(guest, '/');
    size_t length = slash == guest ? 1 : (size_t)(slash - guest);
    memcpy(parent, guest, length);
    parent[length] = 0;
    return sbx_plan_find(mounts_plan(), parent, rest);
}

static enum place_last last_of(const char *path, size_t *length, bool *slash) {
    size_t end = strlen(path);
    *slash = end > 0 && path[end - 1] == '/';
    while (end > 0 && path[end - 1] == '/') end--;
    *length = end;
    size_t start = end;
    while (start > 0 && path[start - 1] != '/') start--;
    size_t size = end - start;
    if (size == 0) return PLACE_ROOT;
    if (size == 1 && path[start] == '.') return PLACE_DOT;
    if (size == 2 && path[start] == '.' && path[start + 1] == '.') return PLACE_DOTDOT;
    return PLACE_NAME;
}

/* Nothing can be looked up in a directory that may not be searched. */
static int may_search(struct place *place) {
    if (place->special) return 0;
    int flags;
    const char *name = place_at(place, WALK_FOLLOW, &flags);
    struct stat status;
    if (syscall(SYS_faccessat2, place->dir, name, X_OK, flags | AT_EACCESS) == 0 || errno != EACCES) return 0;
    return fstatat(place->dir, name, &status, flags) == 0 && S_ISDIR(status.st_mode) ? -EACCES : 0;
}

static bool ends_in_dot(const char *path) {
    size_t end = strlen(path);
    while (end > 0 && path[end - 1] == '/') end--;
    return end > 0 && path[end - 1] == '.' && (end == 1 || path[end - 2] == '/');
}

int place_walk(struct request *request, int which, enum walk_last last, enum walk_goal goal, struct place *place) {
    int error = walk(request, which, last, goal, place);
    if (error == 0 && ends_in_dot(request->path[which])) error = may_search(place);
    if (error < 0 || place_kind(place->mount) != SBX_MOUNT_LINK) return error;
    uint32_t rest = 0;
    int holder = holder_of(place->guest, &rest);
    if (holder < 0) return holder;
    walk_done(place);
    const char *point = plan_text(mounts_plan(), plan_mount(mounts_plan(), (uint32_t)holder)->guest);
    size_t skip = strcmp(point, "/") == 0 ? 1 : strlen(point) + 1;
    memmove(place->name, place->guest + skip, strlen(place->guest + skip) + 1);
    place->dir = mounts_fd(holder);
    return 0;
}

/* Where the last component is "." or "..", or there is none: the directory before it, which must be one. */
static int walk_to_parent(struct request *request, int which, enum place_last last, size_t length, struct place *place) {
    char *path = request->path[which], kept[SBX_PATH_MAX];
    strcpy(kept, path);
    size_t parent = last == PLACE_ROOT ? 1 : length - (last == PLACE_DOT ? 1 : 2);
    strcpy(path + parent, parent ? "" : ".");
    int error = place_walk(request, which, WALK_FOLLOW, WALK_EXISTING, place);
    strcpy(path, kept);
    if (error < 0) return error;
    struct stat status;
    place->directory = true;
    error = place_stat(request, place, WALK_FOLLOW, &status);
    return error < 0 ? error : may_search(place);
}

int place_parent(struct request *request, int which, struct place *place, enum place_last *last) {
    char *path = request->path[which];
    size_t length;
    bool slash;
    walk_none(place);
    *last = last_of(path, &length, &slash);
    if (request->path_null[which]) return -EFAULT;
    if (path[0] == 0) return -ENOENT;
    if (*last != PLACE_NAME) return walk_to_parent(request, which, *last, length, place);
    char kept = path[length];
    path[length] = 0;
    int error = place_walk(request, which, WALK_NOFOLLOW, WALK_MAY_CREATE, place);
    path[length] = kept;
    place->directory = slash;
    return error;
}

int place_parent_stands(const struct place *place) {
    char parent[SBX_PATH_MAX + 2];
    const char *slash = strrchr(place->name, '/');
    if (place->special || place_is_point(place)) return 0; /* a point was reached by its directory */
    if (slash == NULL) return syscall(SYS_faccessat2, place->dir, "", X_OK, AT_EMPTY_PATH | AT_EACCESS) < 0 && errno == EACCES ? -EACCES : 0;
    snprintf(parent, sizeof parent, "%.*s/.", (int)(slash - place->name), place->name);
    struct stat status;
    return fstatat(place->dir, parent, &status, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

const char *place_slashed(struct place *place) {
    size_t length = strlen(place->name);
    if (place->directory && length > 0 && length + 1 < sizeof place->name && place->name[length - 1] != '/') {
        place->name[length] = '/';
        place->name[length + 1] = 0;
    }
    return place->name;
}

const char *place_at(struct place *place, enum walk_last last, int *flags) {
    *flags = AT_SYMLINK_NOFOLLOW;
    if (place->name[0] == 0) {
        *flags = AT_EMPTY_PATH;
        return "";
    }
    if (!mounts_whole()) return place->name;
    /* The kernel follows no link here: it says ELOOP, and the call is served again with care (serve.c). */
    if (last == WALK_FOLLOW) *flags = 0;
    return place_slashed(place);
}

int place_stat(const struct request *request, struct place *place, enum walk_last last, struct stat *status) {
    if (place->special) {
        int error = special_stat(request, place, status);
        return error < 0 ? error : place->directory && !S_ISDIR(status->st_mode) ? -ENOTDIR : 0;
    }
    int flags;
    const char *name = place_at(place, last, &flags);
    if (fstatat(place->dir, name, status, flags) < 0) return -errno;
    if (S_ISLNK(status->st_mode) && (last == WALK_FOLLOW || place->directory)) return -ELOOP;
    return place->directory && !S_ISDIR(status->st_mode) ? -ENOTDIR : 0;
}

/* INVARIANT read-only-means-it: asked by whatever changes a mount. */
bool place_read_only(const struct place *place) { return !mounts_flag(place->mount, SBX_MOUNT_WRITABLE); }
bool place_is_point(const struct place *place) { return place->name[0] == 0; }

int place_holder(const struct place *place) {
    uint32_t rest;
    return place_is_point(place) ? holder_of(place->guest, &rest) : place->mount;
}

/* Is `path` at or below `guest`? */
static bool below(const char *guest, const char *path) {
    size_t length = strlen(guest);
    if (length == 1) return true;
    return strncmp(path, guest, length) == 0 && (path[length] == 0 || path[length] == '/');
}

bool place_shelters(const struct place *place) {
    const struct sbx_plan *plan = mounts_plan();
    for (uint32_t i = 0; i < plan->mount_count; i++) {
        const struct sbx_mount *mount = plan_mount(plan, i);
        const char *point = plan_text(plan, mount->guest);
        if (i > 0 && below(place->guest, point)) return true;
        if (i != (uint32_t)place->mount) continue;
        const char *hidden = plan_text(plan, mount->hide);
        for (uint32_t n = 0; n < mount->hide_count; n++, hidden += strlen(hidden) + 1) {
            char path[2 * SBX_PATH_MAX];
            snprintf(path, sizeof path, "%s/%s", strcmp(point, "/") == 0 ? "" : point, hidden);
            if (below(place->guest, path)) return true;
        }
    }
    return false;
}

int place_make(struct request *request, int which, bool directory, struct place *place) {
    enum place_last last;
    int error = place_parent(request, which, place, &last);
    if (error < 0) return error;
    if (last != PLACE_NAME || place_is_point(place)) return -EEXIST;
    if (place->special) return -EEXIST; /* what is missing in /proc was not found */
    if (!place_read_only(place)) return 0;
    struct stat status;
    if (fstatat(place->dir, place->name, &status, AT_SYMLINK_NOFOLLOW) == 0) return -EEXIST;
    if (errno != ENOENT) return -errno;
    if ((error = place_parent_stands(place)) < 0) return error;
    return place->directory && !directory ? -ENOENT : -EROFS;
}

void held_done(struct held *held) { guest_close(&held->fd); }
void held_link(int fd, char link[32]) { snprintf(link, 32, "self/fd/%d", fd); }
void held_path(int fd, char path[40]) { snprintf(path, 40, HELD_PATH "%d", fd); }

bool held_by_descriptor(const struct request *request) {
    if (request->paths == 0) return true;
    return (request->flags & AT_EMPTY_PATH) && request->path[0][0] == 0;
}

/* Files without a path: pipe:[1], socket:[2], anon_inode:x, /memfd:x (deleted). They are the guest's own. */
static bool anonymous(int fd) {
    char link[32], text[64];
    held_link(fd, link);
    ssize_t length = readlinkat(mounts_proc(), link, text, sizeof text - 1);
    if (length <= 0) return false;
    text[length] = 0;
    return text[0] != '/' || strncmp(text, "/memfd:", 7) == 0;
}

static int hold_cwd(pid_t tid, struct held *held) {
    struct context *context = context_of(tid);
    if (context == NULL) return -ESRCH;
    held->fd = context->cwd < 0 ? -ENOENT : fcntl(context->cwd, F_DUPFD_CLOEXEC, 0);
    context_put(context);
    return held->fd < 0 ? -EACCES : 0;
}

int held_borrow(const struct request *request, int fd, struct held *held) {
    *held = (struct held){.fd = -1, .mount = -1};
    int error = 0;
    if (fd == AT_FDCWD) error = hold_cwd(request->tid, held);
    else if ((held->fd = guest_borrow_fd(request->tid, fd)) < 0) error = held->fd;
    if (error < 0) return error;
    int flags = fcntl(held->fd, F_GETFL);
    if (flags < 0 || fstat(held->fd, &held->status) < 0) return -errno;
    held->path_only = (flags & O_PATH) != 0;
    /* Judged by our own copy: the guest may put another file at its number meanwhile. */
    struct place place;
    error = walk_descriptor(gettid(), held->fd, &place);
    if (error == 0) held->mount = place.mount;
    walk_done(&place);
    held->foreign = error == -EXDEV && !anonymous(held->fd);
    return error == -EXDEV ? 0 : error;
}

int held_open(struct place *place, const struct stat *status, struct held *held) {
    *held = (struct held){.fd = -EACCES, .mount = place->mount};
    /* O_NONBLOCK: a file with a lease must not make us wait. */
    int flags = O_NONBLOCK | O_NOFOLLOW;
    if (S_ISREG(status->st_mode) || S_ISDIR(status->st_mode)) held->fd = walk_open(place, O_RDONLY | flags, 0);
    if (held->fd < 0 && S_ISREG(status->st_mode) && !place_read_only(place)) held->fd = walk_open(place, O_WRONLY | flags, 0);
    if (held->fd < 0) {
        held->path_only = true;
        held->fd = walk_open(place, O_PATH | O_NOFOLLOW, 0);
    }
    if (held->fd < 0) return held->fd;
    return fstat(held->fd, &held->status) < 0 ? -errno : 0;
}

/* INVARIANT read-only-means-it: attributes change through here. */
int held_change(struct request *request, enum walk_last last, struct held *held) {
    *held = (struct held){.fd = -1, .mount = -1};
    if (held_by_descriptor(request)) {
        int error = held_borrow(request, request->paths ? request->dirfd[0] : request->fd, held);
        if (error < 0) return error;
        if (request->paths == 0 && held->path_only) return -EBADF;
        if (held->foreign || (held->mount >= 0 && mounts_flag(held->mount, SBX_MOUNT_DEVICE))) return -EPERM;
        return held->mount >= 0 && !mounts_flag(held->mount, SBX_MOUNT_WRITABLE) ? -EROFS : 0;
    }
    PLACE(place);
    int error = place_walk(request, 0, last, WALK_EXISTING, &place);
    if (error < 0) return error;
    held->mount = place.mount;
    struct stat status;
    if ((error = place_stat(request, &place, last, &status)) < 0) return error;
    if (place.special || mounts_flag(place.mount, SBX_MOUNT_DEVICE)) return -EPERM; /* the host's: uid 0 owns them */
    return place_read_only(&place) ? -EROFS : held_open(&place, &status, held);
}

mode_t place_mode(const struct request *request, mode_t mode) {
    struct context *context = context_of(request->tid);
    mode_t umask = context ? context->umask : 077;
    context_put(context);
    return mode & ~umask;
}

struct answer place_answer(int mount, int64_t result) {
    struct answer answer = answer_result(result);
    answer.mount = mount;
    answer.denied = result == -EROFS && mount >= 0 && !mounts_flag(mount, SBX_MOUNT_WRITABLE);
    return answer;
}
