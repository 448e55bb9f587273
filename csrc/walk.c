#include "walk.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "walk_inner.h"

void walk_none(struct place *place) {
    place->dir = -1;
    place->owned = false;
    place->context = NULL;
    place->kept = NULL;
}

void walk_done(struct place *place) {
    if (place->owned) close(place->dir);
    if (place->context) context_put(place->context);
    if (place->kept) directory_put(place->kept);
    walk_none(place);
}

/* Split the last component off, so that `name` is one component below a directory that the kernel has checked. */
static int settle_parent(struct place *place) {
    char *slash = strrchr(place->name, '/');
    if (place->special || mounts_whole() || slash == NULL) return 0;
    *slash = 0;
    int parent = walk_below(place->dir, place->name, O_PATH | O_DIRECTORY, 0);
    if (parent < 0) return parent;
    if (place->owned) close(place->dir);
    place->dir = parent;
    place->owned = true;
    memmove(place->name, slash + 1, strlen(slash + 1) + 1);
    return 0;
}

/* A relative path whose text needs no look at where it starts. */
static bool walk_held(const struct request *request, int which, struct place *place) {
    const char *path = request->path[which];
    if (!mounts_whole() || request->careful || walk_has_dotdot(path)) return false;
    if (request->dirfd[which] == AT_FDCWD) {
        struct context *context = context_of(request->tid);
        if (context && walk_try_held(path, context->cwd, context->cwd_mount, context->cwd_path, place)) {
            place->context = context;
            return true;
        }
        context_put(context);
        return false;
    }
    struct directory *kept = walk_kept(request->tid, request->dirfd[which]);
    if (kept && walk_try_held(path, kept->fd, kept->mount, kept->guest, place)) {
        place->kept = kept;
        return true;
    }
    if (kept) directory_put(kept);
    return false;
}

/* The path starts at `guest`: hold `dir` if it can be what names are looked up in. */
static bool start_hold(struct walker *walker, int dir, int mount, const char *guest) {
    walker->at_length = strcmp(guest, "/") == 0 ? 0 : strlen(guest);
    memmove(walker->at, guest, walker->at_length);
    walker->at[walker->at_length] = 0;
    if (dir < 0 || !walk_open_country(mount, guest)) return false;
    walker->start = (struct start){.dir = dir, .mount = mount, .length = walker->at_length};
    return true;
}

static int start_at_cwd(struct walker *walker, char guest[SBX_PATH_MAX]) {
    struct context *context = context_of(walker->request->tid);
    if (context == NULL) return -ESRCH;
    int mount = context->cwd_mount, error = 0;
    if (context->cwd < 0) strcpy(guest, context->cwd_path);
    else error = walk_locate(context->cwd, &mount, guest);
    if (error == 0 && start_hold(walker, context->cwd, mount, guest)) walker->start.context = context;
    else context_put(context);
    return error;
}

static int start_at(struct walker *walker, int dirfd) {
    struct place *where = (struct place *)(void *)walker->usual; /* large enough, and not in use yet */
    _Static_assert(sizeof walker->usual >= sizeof(struct place), "it holds a place");
    if (dirfd == AT_FDCWD) return start_at_cwd(walker, where->guest);
    int error = walk_descriptor(walker->request->tid, dirfd, where);
    if (error < 0) return error == -EXDEV ? -ENOTDIR : error;
    struct stat status;
    error = fstat(where->dir, &status) < 0 ? -errno : !S_ISDIR(status.st_mode) ? -ENOTDIR : status.st_nlink == 0 ? -ENOENT : 0;
    if (error == 0 && start_hold(walker, where->special ? -1 : where->dir, where->mount, where->guest)) {
        walker->start.owned = true;
        where->owned = false;
    }
    walk_done(where);
    return error;
}

static void begin_text(struct walker *walker, const char *path) {
    strcpy(walker->pending, path);
    walker->links = 0;
}

static int resolve(struct walker *walker, const char *path, struct place *place) {
    char start[SBX_PATH_MAX];
    size_t start_length = walker->at_length;
    memcpy(start, walker->at, start_length + 1);
    walk_none(place);
    if (mounts_whole() && !walker->request->careful && !walk_has_dotdot(path)) {
        begin_text(walker, path);
        int error = walker_try_text(walker, place);
        if (error != -ELOOP) return error;
    }
    walker->at_length = start_length;
    memcpy(walker->at, start, start_length + 1);
    begin_text(walker, path);
    int error = walker_go_careful(walker, place);
    if (error < 0) return error;
    return settle_parent(place);
}

/* A removed directory has no path, but itself and, as long as that stands, its parent. `held` is ours to give. */
static int walk_removed(struct walker *walker, int held, const char *path, struct place *place) {
    int error = walk_locate_removed(held, &place->mount, place->guest);
    while (path[0] == '.' && (path[1] == '/' || path[1] == 0)) path += 1 + strspn(path + 1, "/");
    if (!error && path[0] == 0) {
        place->dir = held;
        place->owned = true;
        place->name[0] = 0;
        place->special = place->directory = false;
        return 0;
    }
    close(held);
    if (error) return error;
    if (strncmp(path, "..", 2) != 0 || (path[2] != '/' && path[2] != 0)) return -ENOENT;
    walker->at_length = strlen(place->guest);
    memcpy(walker->at, place->guest, walker->at_length + 1);
    return resolve(walker, path, place);
}

/* A descriptor of the directory that a relative path starts at. */
static int hold_start(const struct request *request, int which) {
    if (request->dirfd[which] != AT_FDCWD) {
        char link[48];
        snprintf(link, sizeof link, "%d/fd/%d", request->tid, request->dirfd[which]);
        int fd = openat(mounts_proc(), link, O_PATH | O_CLOEXEC);
        return fd < 0 ? -EBADF : fd;
    }
    struct context *context = context_of(request->tid);
    int fd = context == NULL || context->cwd < 0 ? -1 : fcntl(context->cwd, F_DUPFD_CLOEXEC, 0);
    context_put(context);
    return fd < 0 ? -ENOENT : fd;
}

static void begin(struct walker *walker, const struct request *request, enum walk_last last, enum walk_goal goal) {
    walker->request = request;
    walker->last = last;
    walker->goal = goal;
    walker->pending = walker->usual;
    walker->start = (struct start){.dir = -1};
    walker->at[walker->at_length = 0] = 0;
}

int walk(const struct request *request, int which, enum walk_last last, enum walk_goal goal, struct place *place) {
    const char *path = request->path[which];
    walk_none(place);
    if (request->path_null[which]) return -EFAULT;
    if (path[0] == 0) return -ENOENT;
    __attribute__((cleanup(walker_end))) struct walker walker;
    begin(&walker, request, last, goal);
    if (path[0] != '/' && walk_held(request, which, place)) return 0;
    if (path[0] != '/') {
        int error = start_at(&walker, request->dirfd[which]);
        int held = error == -ENOENT ? hold_start(request, which) : error;
        if (error == -ENOENT && held >= 0) return walk_removed(&walker, held, path, place);
        if (error < 0) return error;
    }
    return resolve(&walker, path, place);
}

int walk_absolute(const struct request *request, const char *path, enum walk_last last, enum walk_goal goal,
                  struct place *place) {
    __attribute__((cleanup(walker_end))) struct walker walker;
    begin(&walker, request, last, goal);
    walk_none(place);
    return path[0] == '/' ? resolve(&walker, path, place) : -ENOENT;
}
