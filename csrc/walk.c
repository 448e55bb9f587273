#include "walk.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "mounts.h"
#include "procfs.h"
#include "walk_inner.h"

#define LINKS_MAX 40                  /* as the kernel's MAXSYMLINKS */
#define PENDING_MAX (3 * SBX_PATH_MAX) /* a path plus the targets of links in it */

/* The directory that a relative path starts at, held: what it is looked up in, whether or not the directories above may be
 * searched. dir -1: there is none, or a mount or a hidden name may lie below, so that only the text from the mount will do. */
struct start {
    int dir;
    bool owned;
    struct context *context; /* that `dir` belongs to, held; or NULL */
    int mount;
    size_t length; /* of `at` when it is there */
};

/* A walk in progress. `at` is canonical: no links, no "..", no slash at its end; "" is "/". */
struct walker {
    const struct request *request;
    char at[SBX_PATH_MAX];
    size_t at_length;
    char pending[PENDING_MAX];
    int links;
    int mount;         /* that holds `at` */
    enum walk_last last;
    enum walk_goal goal;
    struct start start;
};

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

static enum sbx_mount_kind kind_of(int mount) { return (enum sbx_mount_kind)plan_mount(mounts_plan(), (uint32_t)mount)->kind; }
static const char *at_of(const struct walker *walker) { return walker->at_length ? walker->at : "/"; }

/* Where `at` is looked up, which `mount` holds from `rest` on, and by which name. */
static int below_of(const struct walker *walker, int mount, uint32_t rest, const char **name) {
    if (walker->start.dir < 0 || walker->start.mount != mount) {
        *name = at_of(walker) + rest;
        return mounts_fd(mount);
    }
    *name = at_of(walker) + walker->start.length;
    *name += strspn(*name, "/");
    return walker->start.dir;
}

static void start_drop(struct walker *walker) {
    if (walker->start.dir < 0) return;
    if (walker->start.owned) close(walker->start.dir);
    context_put(walker->start.context);
    walker->start = (struct start){.dir = -1};
}

static int finish(struct walker *walker, int mount, uint32_t rest, bool directory, struct place *place) {
    const char *name;
    place->mount = mount;
    place->directory = directory;
    place->special = walk_is_service(mount);
    memcpy(place->guest, at_of(walker), walker->at_length ? walker->at_length + 1 : 2);
    place->dir = below_of(walker, mount, rest, &name);
    strcpy(place->name, name);
    if (walker->start.dir != place->dir) return 0;
    place->owned = walker->start.owned;
    place->context = walker->start.context;
    walker->start = (struct start){.dir = -1};
    return 0;
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

/* Append `path`, which has no "..", to `to` (which ends at `end`) without its dots and double slashes. Returns the new end,
 * or NULL where there is no room. */
static char *append_text(char *to, const char *end, const char *path, bool *directory) {
    *directory = false;
    while (*path) {
        path += strspn(path, "/");
        size_t length = strcspn(path, "/");
        if (length == 0) break;
        bool dot = length == 1 && path[0] == '.';
        *directory = path[length] == '/' || dot;
        if (!dot) {
            if ((size_t)(end - to) < length + 2) return NULL;
            *to++ = '/';
            memcpy(to, path, length);
            to += length;
        }
        path += length;
    }
    *to = 0;
    return to;
}

static bool has_dotdot(const char *path) {
    for (const char *at = path; *at; at += strspn(at, "/")) {
        size_t length = strcspn(at, "/");
        if (length == 2 && at[0] == '.' && at[1] == '.') return true;
        at += length;
    }
    return false;
}

static int expand(struct walker *walker, const char *target, const char *rest) {
    if (++walker->links > LINKS_MAX) return -ELOOP;
    char joined[PENDING_MAX];
    if (target[0] == 0) return -ENOENT;
    int length = snprintf(joined, sizeof joined, "%s%s", target, rest);
    if (length < 0 || length >= PENDING_MAX) return -ENAMETOOLONG;
    if (target[0] == '/') {
        start_drop(walker);
        walker->at_length = 0;
        walker->at[0] = 0;
    }
    memcpy(walker->pending, joined, (size_t)length + 1);
    return 0;
}

static void cut_to(struct walker *walker, size_t length) {
    walker->at_length = length;
    walker->at[length] = 0;
}

/* Append all that is pending, and find its mount. The mount, or -errno; -ELOOP where only a walk link by link will do. */
static int append_pending(struct walker *walker, uint32_t *rest, bool *directory) {
    char *end = append_text(walker->at + walker->at_length, walker->at + SBX_PATH_MAX, walker->pending, directory);
    if (end == NULL) return -ENAMETOOLONG;
    walker->at_length = (size_t)(end - walker->at);
    return mounts_find(at_of(walker), rest);
}

/* Where no ".." is pending, resolve the text alone: right if no link is met, and then the kernel says ELOOP. The links that
 * the plan itself holds are followed here. */
static int try_text(struct walker *walker, struct place *place) {
    for (;;) {
        bool directory;
        uint32_t rest = 0;
        int mount = append_pending(walker, &rest, &directory);
        if (mount < 0) return mount;
        const char *name = at_of(walker) + rest;
        enum sbx_mount_kind kind = kind_of(mount);
        if (kind == SBX_MOUNT_LINK && (name[0] || directory || walker->last == WALK_FOLLOW)) {
            const struct sbx_mount *link = plan_mount(mounts_plan(), (uint32_t)mount);
            const char *target = plan_text(mounts_plan(), link->source);
            char after[SBX_PATH_MAX + 2];
            snprintf(after, sizeof after, "%s%s%s", name[0] ? "/" : "", name, directory ? "/" : "");
            if (has_dotdot(target)) return -ELOOP;
            cut_to(walker, (size_t)(strrchr(plan_text(mounts_plan(), link->guest), '/') - plan_text(mounts_plan(), link->guest)));
            int error = expand(walker, target, after);
            if (error < 0) return error;
            continue;
        }
        if (kind == SBX_MOUNT_LINK || kind == SBX_MOUNT_PROC) return -ELOOP;
        if (mounts_single_file(mount) && (name[0] || directory)) return -ENOTDIR;
        return finish(walker, mount, rest, directory, place);
    }
}

/* No text of a directory's own place is needed where no mount and nothing hidden can lie below it. */
static bool open_country(int mount, const char *guest) {
    const struct sbx_plan *plan = mounts_plan();
    return !walk_is_service(mount) && !plan_mount(plan, (uint32_t)mount)->hide_count && !plan_has_below(plan, guest);
}

/* The same below a directory that is held. False: not to be done this way. */
static bool try_held(const char *path, int dir, int mount, const char *guest, struct place *place) {
    if (dir < 0 || !open_country(mount, guest)) return false;
    bool directory;
    char joined[SBX_PATH_MAX + 1];
    char *end = append_text(joined, joined + sizeof joined, path, &directory);
    size_t before = strcmp(guest, "/") == 0 ? 0 : strlen(guest);
    if (end == NULL || end == joined || before + (size_t)(end - joined) >= SBX_PATH_MAX) return false;
    memcpy(place->guest, guest, before);
    memcpy(place->guest + before, joined, (size_t)(end - joined) + 1);
    memcpy(place->name, joined + 1, (size_t)(end - joined));
    place->dir = dir;
    place->mount = mount;
    place->directory = directory;
    place->special = false;
    return true;
}

enum step { STEP_ON = 1, STEP_EXPANDED, STEP_LAST };

/* Look at walker->at, which has just grown by one component whose parent is known to be a directory. `rest` is what is
 * pending after it; `cut` the length of at without the component. */
static int look(struct walker *walker, size_t cut, const char *rest, bool final, bool trailing) {
    uint32_t offset = 0;
    const struct sbx_plan *plan = mounts_plan();
    int mount = mounts_find(walker->at, &offset);
    if (mount < 0) return mount;
    const char *name = walker->at + offset;
    bool follow = !final || trailing || walker->last == WALK_FOLLOW;
    char target[SBX_PATH_MAX];
    const char *leads = NULL;
    walker->mount = mount;
    if (kind_of(mount) == SBX_MOUNT_LINK && name[0] == 0) {
        if (follow) leads = plan_text(plan, plan_mount(plan, (uint32_t)mount)->source);
        else return STEP_LAST;
    } else if (kind_of(mount) == SBX_MOUNT_PROC) {
        enum procfs_kind kind;
        int error = procfs_look(walker->request, name, &kind, target);
        if (error < 0) return error;
        if (kind == PROCFS_LINK && follow) leads = target;
        else if (kind == PROCFS_MAGIC) return final && !trailing ? STEP_LAST : -ENOTDIR;
        else if (kind == PROCFS_FILE && (!final || trailing)) return -ENOTDIR;
    } else if (mounts_single_file(mount)) {
        return final && !trailing && name[0] == 0 ? STEP_LAST : -ENOTDIR;
    } else if (name[0]) {
        int dir = below_of(walker, mount, offset, &name);
        cleanup_close int fd = walk_below(dir, name, O_PATH | O_NOFOLLOW, 0);
        if ((fd == -ENOENT || fd == -ENAMETOOLONG) && final && walker->goal == WALK_MAY_CREATE) return STEP_LAST;
        if (fd < 0) return fd;
        struct stat status;
        if (fstat(fd, &status) < 0) return -errno;
        if (S_ISLNK(status.st_mode) && follow) {
            ssize_t length = readlinkat(fd, "", target, sizeof target - 1);
            if (length < 0) return -errno;
            target[length] = 0;
            leads = target;
        } else if (!S_ISDIR(status.st_mode) && (!final || (trailing && walker->goal == WALK_EXISTING))) { /* else the call knows */
            return -ENOTDIR;
        }
    }
    if (leads == NULL) return final ? STEP_LAST : STEP_ON;
    cut_to(walker, cut);
    int error = expand(walker, leads, rest);
    return error < 0 ? error : STEP_EXPANDED;
}

/* ".." of where the path starts is what it is now, found by its own "..": looked up from the mount it may lie below a directory
 * that cannot be searched. Taken only if it is what its text says, in the same mount. */
static void start_up(struct walker *walker) {
    int mount = -1;
    char guest[SBX_PATH_MAX];
    cleanup_close int up = openat(walker->start.dir, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
    bool same = up >= 0 && walk_locate(up, &mount, guest) == 0 && mount == walker->start.mount && strcmp(guest, at_of(walker)) == 0;
    start_drop(walker);
    if (same && open_country(mount, guest))
        walker->start = (struct start){.dir = take(&up), .owned = true, .mount = mount, .length = walker->at_length};
}

static void step_up(struct walker *walker) {
    char *slash = strrchr(walker->at, '/');
    if (slash == NULL) return; /* ".." of "/" is "/" */
    *slash = 0;
    walker->at_length = (size_t)(slash - walker->at);
    if (walker->start.dir >= 0 && walker->at_length < walker->start.length) start_up(walker);
}

/* open with O_CREAT: a name with a slash behind it is a directory's, whatever is there; it is not looked at. */
static bool opens_to_create(const struct walker *walker) { return walker->goal == WALK_MAY_CREATE && walker->last == WALK_FOLLOW; }

/* All that is pending in one look, which is enough where only the last component is a link: a library's name, most often.
 * STEP_LAST: it is there, and no link that is to be followed. STEP_EXPANDED: it was one. STEP_ON: look at each component. */
static int try_whole(struct walker *walker, bool *directory) {
    size_t before = walker->at_length;
    uint32_t rest = 0;
    size_t end = strlen(walker->pending);
    if (opens_to_create(walker) && end > 0 && walker->pending[end - 1] == '/') return STEP_ON;
    int mount = has_dotdot(walker->pending) ? -ELOOP : append_pending(walker, &rest, directory);
    const char *name;
    bool plain = mount >= 0 && !walk_is_service(mount) && kind_of(mount) != SBX_MOUNT_LINK && !mounts_single_file(mount) && walker->at_length > rest;
    int dir = plain ? below_of(walker, mount, rest, &name) : -1;
    cleanup_close int fd = plain ? walk_below(dir, name, O_PATH | O_NOFOLLOW, 0) : -ELOOP;
    struct stat status;
    if (fd < 0 || fstat(fd, &status) < 0) {
        cut_to(walker, before);
        bool unmade = (fd == -ENOENT || fd == -ENAMETOOLONG) && walker->goal == WALK_MAY_CREATE;
        return fd == -ELOOP || unmade ? STEP_ON : fd < 0 ? fd : -errno;
    }
    if (!S_ISLNK(status.st_mode) || (walker->last == WALK_NOFOLLOW && !*directory))
        return *directory && !S_ISDIR(status.st_mode) && walker->goal == WALK_EXISTING ? -ENOTDIR : STEP_LAST;
    char target[SBX_PATH_MAX];
    ssize_t length = readlinkat(fd, "", target, sizeof target - 1);
    if (length < 0) return -errno;
    target[length] = 0;
    cut_to(walker, (size_t)(strrchr(walker->at, '/') - walker->at));
    int error = expand(walker, target, *directory ? "/" : "");
    return error < 0 ? error : STEP_EXPANDED;
}

/* Both "." and ".." are looked up in the directory reached so far. */
static bool may_search(const struct walker *walker) {
    uint32_t offset = 0;
    int mount = mounts_find(at_of(walker), &offset);
    if (mount < 0 || walk_is_service(mount) || kind_of(mount) == SBX_MOUNT_LINK) return true;
    const char *name;
    int dir = below_of(walker, mount, offset, &name);
    cleanup_close int fd = name[0] ? walk_below(dir, name, O_PATH | O_DIRECTORY, 0) : -1;
    if (name[0] && fd < 0) return true;
    return syscall(SYS_faccessat2, name[0] ? fd : dir, "", X_OK, AT_EMPTY_PATH | AT_EACCESS) == 0 || errno != EACCES;
}

/* Link by link: every component is looked at below the mount that holds it. */
static int walk_careful(struct walker *walker, struct place *place) {
    bool directory = false, whole = true;
    for (;;) {
        int tried = whole ? try_whole(walker, &directory) : STEP_ON;
        if (tried < 0) return tried;
        if (tried == STEP_LAST) break;
        if (tried == STEP_EXPANDED) continue;
        whole = directory = false;
        char *at = walker->pending + strspn(walker->pending, "/");
        size_t length = strcspn(at, "/");
        if (length == 0) { /* ended in "/", "." or "..": `at` is a directory, resolved */
            directory = true;
            break;
        }
        char *rest = at + length;
        bool trailing = *rest == '/', final = rest[strspn(rest, "/")] == 0;
        if (length > 255 && !(final && walker->goal == WALK_MAY_CREATE)) return may_search(walker) ? -ENAMETOOLONG : -EACCES;
        if (length <= 2 && memcmp(at, "..", length) == 0) {
            if (!may_search(walker)) return -EACCES;
            if (length == 2) step_up(walker);
            memmove(walker->pending, rest, strlen(rest) + 1);
            if (final) directory = true;
            if (final) break;
            continue;
        }
        if (final && trailing && opens_to_create(walker)) return may_search(walker) ? -EISDIR : -EACCES;
        size_t cut = walker->at_length;
        if (cut + length + 2 > SBX_PATH_MAX) return -ENAMETOOLONG;
        walker->at[cut] = '/';
        memcpy(walker->at + cut + 1, at, length);
        walker->at_length = cut + 1 + length;
        walker->at[walker->at_length] = 0;
        int did = look(walker, cut, rest, final, trailing);
        if (did < 0) return did;
        whole = did == STEP_EXPANDED;
        if (whole) continue;
        if (did == STEP_LAST) {
            directory = trailing;
            break;
        }
        memmove(walker->pending, rest, strlen(rest) + 1);
    }
    uint32_t offset = 0;
    int mount = mounts_find(at_of(walker), &offset);
    if (mount < 0) return mount;
    return finish(walker, mount, offset, directory, place);
}

/* A relative path whose text needs no look at where it starts. */
static bool walk_held(const struct request *request, int which, struct place *place) {
    const char *path = request->path[which];
    if (!mounts_whole() || request->careful || has_dotdot(path)) return false;
    if (request->dirfd[which] == AT_FDCWD) {
        struct context *context = context_of(request->tid);
        if (context && try_held(path, context->cwd, context->cwd_mount, context->cwd_path, place)) {
            place->context = context;
            return true;
        }
        context_put(context);
        return false;
    }
    struct directory *kept = walk_kept(request->tid, request->dirfd[which]);
    if (kept && try_held(path, kept->fd, kept->mount, kept->guest, place)) {
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
    if (dir < 0 || !open_country(mount, guest)) return false;
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
    struct place *where = (struct place *)walker->pending; /* large enough, and not in use yet */
    _Static_assert(sizeof walker->pending >= sizeof(struct place), "pending holds a place");
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

static int resolve(struct walker *walker, const char *path, struct place *place) {
    size_t length = strlen(path);
    memcpy(walker->pending, path, length + 1);
    walker->links = 0;
    walk_none(place);
    char start[SBX_PATH_MAX];
    size_t start_length = walker->at_length;
    memcpy(start, walker->at, start_length + 1);
    if (mounts_whole() && !walker->request->careful && !has_dotdot(path)) {
        int error = try_text(walker, place);
        if (error != -ELOOP) return error;
    }
    walker->at_length = start_length;
    memcpy(walker->at, start, start_length + 1);
    int error = walk_careful(walker, place);
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
    walker->start = (struct start){.dir = -1};
    walker->at[walker->at_length = 0] = 0;
}

int walk(const struct request *request, int which, enum walk_last last, enum walk_goal goal, struct place *place) {
    const char *path = request->path[which];
    walk_none(place);
    if (request->path_null[which]) return -EFAULT;
    if (path[0] == 0) return -ENOENT;
    struct walker walker;
    begin(&walker, request, last, goal);
    if (path[0] != '/' && walk_held(request, which, place)) return 0;
    if (path[0] != '/') {
        int error = start_at(&walker, request->dirfd[which]);
        int held = error == -ENOENT ? hold_start(request, which) : error;
        if (error == -ENOENT && held >= 0) return walk_removed(&walker, held, path, place);
        if (error < 0) return error;
    }
    int error = resolve(&walker, path, place);
    start_drop(&walker);
    return error;
}

int walk_absolute(const struct request *request, const char *path, enum walk_last last, enum walk_goal goal,
                  struct place *place) {
    struct walker walker;
    begin(&walker, request, last, goal);
    walk_none(place);
    return path[0] == '/' ? resolve(&walker, path, place) : -ENOENT;
}
