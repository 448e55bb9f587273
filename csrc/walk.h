/* walk.h: from a path in the guest's view to a place in one mount, never outside. */
#ifndef SBX_WALK_H
#define SBX_WALK_H
#include "context.h"
#include "directory.h"
#include "decode.h"
#include "plan.h"

enum walk_last { WALK_FOLLOW, WALK_NOFOLLOW };         /* what happens to a link in the last component */
enum walk_goal { WALK_EXISTING, WALK_MAY_CREATE };     /* MAY_CREATE: the last component need not exist */

/* Where a path leads. The object is `name` below `dir`, no component of which is a link that the kernel would follow
 * (see walk.c); name "" is `dir` itself. `guest` is the canonical path in the guest's view. */
struct place {
    int mount;                     /* index in the plan */
    int dir;                       /* descriptor; owned where `owned` */
    bool owned;
    struct context *context;       /* that `dir` belongs to, held; or NULL */
    struct directory *kept;        /* the same of a directory */
    bool directory;                /* the path ended in a slash: only a directory will do */
    bool special;                  /* served otherwise than from `dir`: proc, pts, tty, service file, a link of /proc */
    char guest[SBX_PATH_MAX];
    char name[SBX_PATH_MAX];
};
void walk_none(struct place *place);
void walk_done(struct place *place);
/* Declares a place that is given back at the end of its block. */
#define PLACE(name) struct place name __attribute__((cleanup(walk_done))); walk_none(&name)

/* Resolve path `which` of the request (its dirfd, or the working directory). 0, or -errno. */
int walk(const struct request *request, int which, enum walk_last last, enum walk_goal goal, struct place *place);
/* The same for an absolute guest path. */
int walk_absolute(const struct request *request, const char *path, enum walk_last last, enum walk_goal goal,
                  struct place *place);
/* A descriptor of the object at `place`, opened with O_* `flags` (never following a last link) and `mode`. -errno. */
int walk_open(const struct place *place, int flags, mode_t mode);
/* An O_PATH descriptor of `mount`, which a service serves and no file system has: walk_descriptor knows it again. -errno. */
int walk_open_name(int mount, mode_t mode);
/* Descriptor `fd` of a guest thread in the guest's view: mount and canonical guest path. -EBADF, or -EXDEV where it is
 * a file that no mount holds (a pipe, a socket, what the caller handed in). */
int walk_descriptor(pid_t tid, int fd, struct place *place);
/* Directory `fd` of the thread, kept between calls (directory.h); NULL where it cannot be. Give it back. */
struct directory *walk_kept(pid_t tid, int fd);
/* The guest path of a descriptor of ours, and of a context's working directory. -ENOENT: it has been removed. */
int walk_own(int fd, char guest[SBX_PATH_MAX]);
int walk_cwd(const struct context *context, char guest[SBX_PATH_MAX]);
#endif
