/* lock.h: flock and fcntl locks. A lock on a read-only grant would stop the host, so it is the guest's own, kept beside
 * the file. fcntl's classic locks belong to a process, and only the process itself could set them; but letting the kernel
 * go on with its call would read the guest's memory and descriptors again. So a process's locks on a file are borne by an
 * open file description of ours (F_OFD_SETLK), in the kernel's own table, where they meet those of other guests and of the
 * host.
 *
 * Not as on Linux: a lock whose process closed the file without unlocking it is noticed when it stands in the way of
 * another in this guest, and only once the process has no descriptor of the file left; F_GETLK
 * names no owner outside this guest; for flock on a read-only grant, descriptors of one process are told apart only where
 * kcmp works. */
#ifndef SBX_LOCK_H
#define SBX_LOCK_H
#include "answer.h"
struct answer lock_flock(struct request *);
struct answer lock_fcntl(struct request *); /* F_GETLK, F_SETLK, F_SETLKW and the F_OFD_ ones */
#endif
