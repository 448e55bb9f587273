/* fs_place.h: what every file handler does first: find the object a call names, look at it, judge it. */
#ifndef SBX_FS_PLACE_H
#define SBX_FS_PLACE_H
#include <sys/stat.h>
#include "answer.h"
#include "walk.h"

/* walk(), and a link of the skeleton becomes a place in the directory that holds it. */
int place_walk(struct request *request, int which, enum walk_last last, enum walk_goal goal, struct place *place);

/* What stands last in a path, for calls that make or remove a name. */
enum place_last { PLACE_NAME, PLACE_DOT, PLACE_DOTDOT, PLACE_ROOT };
/* As Linux resolves the parent of a name that is to be made or removed: the last component is not followed, not even
 * where a slash stands after it. Where it is no name, the place is the directory before it. 0 or -errno. */
int place_parent(struct request *request, int which, struct place *place, enum place_last *last);
/* Is the parent of the place a directory that may be searched? For answers that the kernel is not asked for: a text alone
 * does not tell (walk.c). 0 or -errno. */
int place_parent_stands(const struct place *place);
/* The name as the kernel shall see it: with the slash that the guest wrote after it. Only for calls that never follow a
 * last link, or where every mount is whole. */
const char *place_slashed(struct place *place);

/* Status of the object. `last` as given to place_walk. -ELOOP where a link stands that is to be followed. */
int place_stat(const struct request *request, struct place *place, enum walk_last last, struct stat *status);
/* Flags and name for a call that takes AT_SYMLINK_NOFOLLOW and AT_EMPTY_PATH, so that no link is followed by the kernel
 * where it could leave the mount. */
const char *place_at(struct place *place, enum walk_last last, int *flags);

bool place_read_only(const struct place *place);
/* The place is where a mount stands: its own root. */
bool place_is_point(const struct place *place);
/* Mount of the directory that holds the place. */
int place_holder(const struct place *place);
/* A mount point or a hidden name lies at or below the place: it cannot move or go. */
bool place_shelters(const struct place *place);
enum sbx_mount_kind place_kind(int mount);
/* Find where a name is to be made, as a directory or not. 0: the kernel may be asked, and knows the rest; else the error
 * that Linux gives first. */
int place_make(struct request *request, int which, bool directory, struct place *place);

/* An object that a call names by descriptor, or by path, held by a descriptor of ours. */
struct held {
    int fd;
    bool path_only;  /* fd is O_PATH */
    int mount;       /* -1: no file of a mount (a pipe, a socket, a memfd) */
    bool foreign;    /* nor the guest's own: what the caller handed in is looked at, not changed */
    struct stat status;
};
void held_done(struct held *held);
#define cleanup_held __attribute__((cleanup(held_done)))
/* Does the call name a descriptor (fchmod, or an empty path with AT_EMPTY_PATH)? */
bool held_by_descriptor(const struct request *request);
/* By descriptor `fd` of the guest. AT_FDCWD is its working directory. 0 or -errno. */
int held_borrow(const struct request *request, int fd, struct held *held);
/* By path: opened for reading (or writing) where that can be, else O_PATH. */
int held_open(struct place *place, const struct stat *status, struct held *held);
/* The same for a call that changes attributes: found, and on a mount that may be changed. */
int held_change(struct request *request, enum walk_last last, struct held *held);
/* Text that names a descriptor of ours to the kernel, below mounts_proc(). */
void held_link(int fd, char link[32]);
/* The same for calls that take no directory. */
#define HELD_PATH "/proc/self/fd/"
void held_path(int fd, char path[40]);

/* The mode that a new file gets: the guest's umask applied. */
mode_t place_mode(const struct request *request, mode_t mode);
/* The answer to a call on `mount` with `result`, a value or -errno. */
struct answer place_answer(int mount, int64_t result);
#endif
