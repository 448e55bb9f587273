#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "mounts.h"
#include "procfs.h"
#include "walk_inner.h"

enum step { STEP_ON = 1, STEP_EXPANDED, STEP_LAST };

static int look_at(int dir, const char *name, bool follow, struct stat *status, char target[SBX_PATH_MAX]) {
    if (fstatat(dir, name, status, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0) return -errno;
    if (!follow || !S_ISLNK(status->st_mode)) return 0;
    ssize_t length = readlinkat(dir, name, target, SBX_PATH_MAX - 1);
    if (length < 0) return -errno;
    target[length] = 0;
    return 0;
}

/* What `name` is below `dir`; and if it is a link that is to be followed, where it leads. 0, or -errno. The kernel is asked by
 * name where no mount follows links; not where the link was replaced between its two answers (EINVAL). */
static int peek(int dir, const char *name, bool follow, struct stat *status, char target[SBX_PATH_MAX]) {
    int error = mounts_whole() ? look_at(dir, name, follow, status, target) : -EINVAL;
    if (error != -EINVAL) return error;
    cleanup_close int fd = walk_below(dir, name, O_PATH | O_NOFOLLOW, 0);
    return fd < 0 ? fd : look_at(fd, "", follow, status, target);
}

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
    if (walk_kind(mount) == SBX_MOUNT_LINK && name[0] == 0) {
        if (follow) leads = plan_text(plan, plan_mount(plan, (uint32_t)mount)->source);
        else return STEP_LAST;
    } else if (walk_kind(mount) == SBX_MOUNT_PROC) {
        enum procfs_kind kind;
        int error = procfs_look(walker->request, name, &kind, target);
        if (error < 0) return error;
        if (kind == PROCFS_LINK && follow) leads = target;
        else if (kind == PROCFS_MAGIC) return final && !trailing ? STEP_LAST : -ENOTDIR;
        else if (kind == PROCFS_FILE && (!final || trailing)) return -ENOTDIR;
    } else if (mounts_single_file(mount)) {
        return final && !trailing && name[0] == 0 ? STEP_LAST : -ENOTDIR;
    } else if (name[0]) {
        int dir = walker_below(walker, mount, offset, &name);
        struct stat status;
        int error = peek(dir, name, follow, &status, target);
        if ((error == -ENOENT || error == -ENAMETOOLONG) && final && walker->goal == WALK_MAY_CREATE) return STEP_LAST;
        if (error < 0) return error;
        if (S_ISLNK(status.st_mode) && follow) leads = target;
        else if (!S_ISDIR(status.st_mode) && (!final || (trailing && walker->goal == WALK_EXISTING))) return -ENOTDIR; /* else the call knows */
    }
    if (leads == NULL) return final ? STEP_LAST : STEP_ON;
    walker_cut(walker, cut);
    int error = walker_expand(walker, leads, rest);
    return error < 0 ? error : STEP_EXPANDED;
}

/* ".." of where the path starts is what it is now, found by its own "..": looked up from the mount it may lie below a directory
 * that cannot be searched. Taken only if it is what its text says, in the same mount. */
static void start_up(struct walker *walker) {
    int mount = -1;
    char guest[SBX_PATH_MAX];
    cleanup_close int up = openat(walker->start.dir, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
    bool same = up >= 0 && walk_locate(up, &mount, guest) == 0 && mount == walker->start.mount && strcmp(guest, walker_at(walker)) == 0;
    walker_drop_start(walker);
    if (same && walk_open_country(mount, guest))
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
    int mount = walk_has_dotdot(walker->pending) ? -ELOOP : walker_append(walker, &rest, directory);
    const char *name;
    bool plain = mount >= 0 && !walk_is_service(mount) && walk_kind(mount) != SBX_MOUNT_LINK && !mounts_single_file(mount) && walker->at_length > rest;
    int dir = plain ? walker_below(walker, mount, rest, &name) : -1;
    bool follow = walker->last == WALK_FOLLOW || *directory;
    char target[SBX_PATH_MAX];
    struct stat status;
    int error = plain ? peek(dir, name, follow, &status, target) : -ELOOP;
    if (error < 0) {
        walker_cut(walker, before);
        bool unmade = (error == -ENOENT || error == -ENAMETOOLONG) && walker->goal == WALK_MAY_CREATE;
        return error == -ELOOP || unmade ? STEP_ON : error;
    }
    if (!S_ISLNK(status.st_mode) || !follow)
        return *directory && !S_ISDIR(status.st_mode) && walker->goal == WALK_EXISTING ? -ENOTDIR : STEP_LAST;
    walker_cut(walker, (size_t)(strrchr(walker->at, '/') - walker->at));
    error = walker_expand(walker, target, *directory ? "/" : "");
    return error < 0 ? error : STEP_EXPANDED;
}

/* Both "." and ".." are looked up in the directory reached so far. */
static bool may_search(const struct walker *walker) {
    uint32_t offset = 0;
    int mount = mounts_find(walker_at(walker), &offset);
    if (mount < 0 || walk_is_service(mount) || walk_kind(mount) == SBX_MOUNT_LINK) return true;
    const char *name;
    int dir = walker_below(walker, mount, offset, &name);
    cleanup_close int fd = name[0] ? walk_below(dir, name, O_PATH | O_DIRECTORY, 0) : -1;
    if (name[0] && fd < 0) return true;
    return syscall(SYS_faccessat2, name[0] ? fd : dir, "", X_OK, AT_EMPTY_PATH | AT_EACCESS) == 0 || errno != EACCES;
}

int walker_go_careful(struct walker *walker, struct place *place) {
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
    int mount = mounts_find(walker_at(walker), &offset);
    if (mount < 0) return mount;
    return walker_finish(walker, mount, offset, directory, place);
}
