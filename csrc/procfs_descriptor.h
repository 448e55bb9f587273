/* procfs_descriptor.h: the descriptors of a guest process, as /proc/PID/fd shows them. The guest can put something else behind a number
 * at any time: what is looked at or opened is held first. */
#ifndef SBX_PROCFS_DESCRIPTOR_H
#define SBX_PROCFS_DESCRIPTOR_H
#include <fcntl.h>
#include "procfs.h"

/* Where descriptor `fd` of the process leads in the view, or what it is: as procfs_look, LINK or MAGIC. */
int procfs_descriptor_look(pid_t pid, long fd, enum procfs_kind *kind, char target[SBX_PATH_MAX]);
/* A pipe, memfd, deleted or foreign file behind fd/N or task/TID/fd/N of the directory `process`: opened anew, never with more than the
 * descriptor has. The guest may replace it at any time, so what is opened must be the file that the flags were told of. */
int procfs_descriptor_open(int process, const char *name, int flags);
/* What open flags allow, or ask for: reading 1, writing 2. */
static inline unsigned procfs_descriptor_rights(unsigned flags) { return flags & O_PATH ? 0 : ((flags & O_ACCMODE) + 1) & 3; }
/* May what was opened with the flags `has` be opened anew with `asked`? */
static inline bool procfs_descriptor_may(unsigned has, int asked) {
    unsigned wanted = procfs_descriptor_rights((unsigned)asked);
    return wanted && (wanted & ~procfs_descriptor_rights(has)) == 0;
}
/* An O_PATH descriptor of what is behind such a name, and the O_* flags of the descriptor there: both of one file. -errno. */
int procfs_descriptor_hold(int process, const char *name, unsigned *flags);
/* Open anew what a descriptor of ours holds: the guest cannot put something else in its place.
 * Where that may wait it does so as loop_block_open. */
int procfs_descriptor_reopen(int held, int flags);
#endif
