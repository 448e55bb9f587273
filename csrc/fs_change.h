/* fs_change.h: host files, changed. INVARIANT read-only-means-it: every handler asks fs_change_allowed (or opens through
 * walk_open, which does) before it touches a mount. */
#ifndef SBX_FS_CHANGE_H
#define SBX_FS_CHANGE_H
#include "answer.h"
#include "walk.h"
struct answer fs_mkdir(struct request *);
struct answer fs_unlink(struct request *);
struct answer fs_rename(struct request *);
struct answer fs_link(struct request *);
struct answer fs_symlink(struct request *);
struct answer fs_mknod(struct request *);
struct answer fs_chmod(struct request *);
struct answer fs_chown(struct request *);
struct answer fs_truncate(struct request *);
struct answer fs_utimes(struct request *);
struct answer fs_getxattr(struct request *);
struct answer fs_setxattr(struct request *);
struct answer fs_listxattr(struct request *);
struct answer fs_removexattr(struct request *);
#endif
