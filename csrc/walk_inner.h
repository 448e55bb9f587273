/* walk_inner.h: what the files of walk.h share. walk_open.c alone may call openat2. */
#ifndef SBX_WALK_INNER_H
#define SBX_WALK_INNER_H
#include "walk.h"

/* Open `name` below `dir` with O_* `flags`: never outside, and no link is followed. A descriptor, or -errno. */
int walk_below(int dir, const char *name, int flags, mode_t mode);
/* Mount and guest path of a descriptor of ours. 0, -ENOENT: it has been removed; -EXDEV: no mount holds it. */
int walk_locate(int fd, int *mount, char guest[SBX_PATH_MAX]);
/* The same of one that has been removed: where it was. */
int walk_locate_removed(int fd, int *mount, char guest[SBX_PATH_MAX]);
/* Is the mount served otherwise than from a directory? */
bool walk_is_service(int mount);
#endif
