/* mounts.h: the plan's mounts, opened. With a mount namespace the kernel root becomes an empty read-only tmpfs that holds a
 * clone of each grant at /m/<index>, and /proc; without one the grants are opened where they are. Alone may call mount,
 * open_tree, move_mount, mount_setattr, fsopen, pivot_root and chroot. */
#ifndef SBX_MOUNTS_H
#define SBX_MOUNTS_H
#include <stdbool.h>
#include <stddef.h>
#include "plan.h"

/* The one descriptor beside the control socket that spawn.c leaves to the sentry, where it made a pid namespace: the /proc of
 * that namespace, attached nowhere yet. */
#define MOUNTS_SPAWN_PROC 4

/* Can mounts be made in this mount namespace? 0 or -errno. A filter or a container may refuse it. */
int mounts_possible(void);
/* Make and open all mounts. `files` are the descriptors of the BYTES mounts; `stub` is moved into the root where one is
 * made. `own_root`: a mount namespace stands and may be used. 0 or -errno, with `why` telling on what. */
int mounts_setup(const struct sbx_plan *plan, const int *files, bool own_root, const char **why);
const struct sbx_plan *mounts_plan(void);
int mounts_fd(int mount);            /* directory, or O_PATH descriptor of a single file; -1 where a service serves it */
bool mounts_single_file(int mount);  /* the mount is one file */
bool mounts_has_below(int mount);    /* another mount's point lies below its own */
/* sbx_plan_find, but a file whose bytes stand in the skeleton itself belongs to mount 0. */
int mounts_find(const char *guest, uint32_t *rest);
/* Every mount is our own clone with MOUNT_ATTR_NOSYMFOLLOW: the kernel follows no link below it. */
bool mounts_whole(void);
int mounts_proc(void);               /* descriptor of the /proc whose pids notifications speak of */
int mounts_multiplexer(void);        /* O_PATH descriptor of the host's /dev/ptmx, where its /dev/pts is used; else -1 */
int mounts_scratch(void);            /* the host directory of all scratch, without a mount namespace; else -1 */
/* The mount that holds a path as the kernel shows it for one of our descriptors; *rest its offset. -1: none. */
int mounts_locate(const char *kernel_path, size_t *rest);
/* Is a file's mount nodev, or may devices be opened there? */
bool mounts_flag(int mount, enum sbx_mount_flag flag);
#endif
