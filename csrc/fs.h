/* fs.h: host files, looked at: every handler takes a decoded request and returns its answer. */
#ifndef SBX_FS_H
#define SBX_FS_H
#include "answer.h"
#include "walk.h"
struct answer fs_open(struct request *);
struct answer fs_stat(struct request *);
struct answer fs_statx(struct request *);
struct answer fs_access(struct request *);
struct answer fs_readlink(struct request *);
struct answer fs_getdents(struct request *);
struct answer fs_statfs(struct request *);
struct answer fs_chdir(struct request *);
struct answer fs_fchdir(struct request *);
struct answer fs_getcwd(struct request *);
struct answer fs_umask(struct request *);
struct answer fs_inotify_add(struct request *);
#endif
