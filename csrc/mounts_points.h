/* mounts_points.h: the directories and files that mounts are made of and stand on: skeletons, scratch, mount points.
 * Makes them in directories of the sentry's own and touches nothing else. */
#ifndef SBX_MOUNTS_POINTS_H
#define SBX_MOUNTS_POINTS_H
#include "mounts_table.h"

/* Make them in these from now on: skeletons and files below `top`, scratch directories in `scratch`. 0 or -errno. */
int points_setup(int top, int scratch);
struct point { int directory; char name[32]; };
/* Make what the mount is to show: 1, and where it is; 0 where that is not ours to make; or -errno. */
int points_source(uint32_t mount, const int *files, struct point *source);
/* Make the mount point, in the skeleton or in the scratch that holds it, with its content where it is no mount of its own;
 * elsewhere it is only in the guest's view. 0 or -errno. */
int points_place(uint32_t mount, const int *files);
#endif
