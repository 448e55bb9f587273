/* walk_inner.h: what the files of walk.h share. walk_open.c alone may call openat2. */
#ifndef SBX_WALK_INNER_H
#define SBX_WALK_INNER_H
#include "mounts.h"
#include "walk.h"

/* Open `name` below `dir` with O_* `flags`: never outside, and no link is followed. A descriptor, or -errno. */
int walk_below(int dir, const char *name, int flags, mode_t mode);
/* Mount and guest path of a descriptor of ours. 0, -ENOENT: it has been removed; -EXDEV: no mount holds it. */
int walk_locate(int fd, int *mount, char guest[SBX_PATH_MAX]);
/* The same of one that has been removed: where it was. */
int walk_locate_removed(int fd, int *mount, char guest[SBX_PATH_MAX]);
/* Is the mount served otherwise than from a directory? */
bool walk_is_service(int mount);

/* ---- a walk in progress ---------------------------------------------------------------------------------------------------- */

#define LINKS_MAX 40                                 /* as the kernel's MAXSYMLINKS */
#define PENDING_MAX ((LINKS_MAX + 1) * SBX_PATH_MAX) /* a path plus the targets of all links that may be met */
#define PENDING_USUAL (3 * SBX_PATH_MAX)

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
    char *pending; /* `usual`, or where that has no room PENDING_MAX of its own */
    char usual[PENDING_USUAL];
    int links;
    int mount;         /* that holds `at` */
    enum walk_last last;
    enum walk_goal goal;
    struct start start;
};

static inline enum sbx_mount_kind walk_kind(int mount) { return (enum sbx_mount_kind)plan_mount(mounts_plan(), (uint32_t)mount)->kind; }
static inline const char *walker_at(const struct walker *walker) { return walker->at_length ? walker->at : "/"; }
/* Where `at` is looked up, which `mount` holds from `rest` on, and by which name. */
int walker_below(const struct walker *walker, int mount, uint32_t rest, const char **name);
void walker_drop_start(struct walker *walker);
void walker_end(struct walker *walker);
void walker_cut(struct walker *walker, size_t length);
/* The target of a link and what is pending after it become what is pending. 0, or -errno. */
int walker_expand(struct walker *walker, const char *target, const char *rest);
/* Append all that is pending, and find its mount. The mount, or -errno; -ELOOP where only a walk link by link will do. */
int walker_append(struct walker *walker, uint32_t *rest, bool *directory);
int walker_finish(struct walker *walker, int mount, uint32_t rest, bool directory, struct place *place);
/* Resolve the text alone, where no ".." is pending: right if no link is met, and then the kernel says ELOOP. */
int walker_try_text(struct walker *walker, struct place *place);
/* Link by link: every component is looked at below the mount that holds it. */
int walker_go_careful(struct walker *walker, struct place *place);

bool walk_has_dotdot(const char *path);
/* No text of a directory's own place is needed where no mount and nothing hidden can lie below it. */
bool walk_open_country(int mount, const char *guest);
/* The text alone below a directory that is held. False: not to be done this way. */
bool walk_try_held(const char *path, int dir, int mount, const char *guest, struct place *place);
#endif
