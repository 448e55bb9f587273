/* mounts_in_place.h: the plan's mounts where no mount can be made: host files opened where they are, the rest made in the
 * plan's scratch_host. */
#ifndef SBX_MOUNTS_IN_PLACE_H
#define SBX_MOUNTS_IN_PLACE_H

int mounts_in_place(const int *files); /* 0 or -errno; mount_table has why */
#endif
